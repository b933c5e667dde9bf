"""The device code of src/cuda, run on the CPU, equals the reference: forward and back.

The kernels are compiled as plain C++ with AddressSanitizer and UBSan against tests/cuda, where the
threads of CUDA are fibers that run in a drawn order. What that cannot show stands in
tests/cuda/emulation.hpp.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuda_cases import BARRIERS, GRADS_BEFORE, PATHS, Case
from cuda_runs import make
from problems import CELLS, FUSED_CELLS, NARROW_CELLS, Problem
from stacks import as_tuple
from test_gate_functions import FUNCTIONS, choice
from tolerances import assert_close
from unrolled import functional

ROOT = Path(__file__).resolve().parents[1]
CLIPS: list[functional.GradientClip] = [0.2, ("norm", 0.5)]  # below what reaches these steps
RECURRENT = [info.name for info in CELLS if info.recurrent]
CLIPPING = [info.name for info in CELLS if info.clips]
#: Of the others all steps are one kernel, or kernels of their own.
PERSISTENT = [name for name in FUSED_CELLS if functional.cell_info(name).recurrent]
PERSISTENT += ["rnn_functions", "lstm_functions", "gru_functions"]

pytestmark = [
    pytest.mark.skipif(not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree"),
    pytest.mark.skipif(sys.platform != "linux", reason="the fibers are those of glibc"),
]


def on_paths(cells: Sequence[str]) -> Any:
    """Each cell on the paths that are its own."""
    paths = [(name, "steps") for name in cells]
    paths += [(name, "persistent") for name in cells if name in PERSISTENT]
    return pytest.mark.parametrize(("cell", "path"), paths)


@on_paths([info.name for info in CELLS])
class TestEveryCell:
    """What the shapes are for: a last block with fewer units (17 over 3), weight rows that fill no
    group, rows of the batch that fill no tile, a batch of one row with its own kernels."""

    def test_plain(self, program: Path, cell: str, path: str) -> None:
        Case(make(cell, 4, 5, 4, 17), path).check(program)

    def test_ragged_with_resets(self, program: Path, cell: str, path: str) -> None:
        problem = make(cell, 5, 6, 3, 7, ragged=True, resets=True)
        Case(problem, path, batch_first=True, accumulate_dx=True).check(program)

    def test_reverse_ragged_with_resets(self, program: Path, cell: str, path: str) -> None:
        problem = make(cell, 5, 6, 3, 10, ragged=True, resets=True, reverse=True, states=False)
        Case(problem, path).check(program)

    def test_one_row(self, program: Path, cell: str, path: str) -> None:
        problem = make(cell, 6, 1, 2, 35, resets=True, reverse=True, biases=(False, False))
        Case(problem, path, multiprocessors=4).check(program)

    def test_inference(self, program: Path, cell: str, path: str) -> None:
        problem = make(cell, 6, 5, 3, 8, ragged=True, biases=(True, False))
        Case(problem, path, training=False).check(program)

    def test_zoneout(self, program: Path, cell: str, path: str) -> None:
        problem = make(cell, 4, 3, 2, 9, ragged=True, resets=True)
        rng, (steps, batch, _) = np.random.default_rng(0), problem.dy.shape
        problem.options["updates"] = [
            rng.random((steps, batch, state.shape[1]), np.float32) for state in problem.dstates
        ]
        Case(problem, path, batch_first=True).check(program)

    @pytest.mark.parametrize("clip", CLIPS, ids=str)
    def test_clipped_gradients(
        self, program: Path, cell: str, path: str, clip: functional.GradientClip
    ) -> None:
        """And what is clipped is not what it would be."""
        problem = make(cell, 5, 6, 3, 9, ragged=True, resets=True, reverse=True)
        Case(problem, path, clip=clip).check(program)
        plain, clipped = (Case(problem, path, clip=c).expected()["dstates"] for c in (None, clip))
        assert not np.allclose(plain[0], clipped[0], atol=1e-3)


def with_factors(problem: Problem, **options: Any) -> Problem:
    """As dropout of half of h draws them."""
    factors = 2.0 * (np.random.default_rng(8).random(problem.dstates[0].shape) < 0.5)
    given = {"recurrent_factors": factors.astype(np.float32), **options}
    return problem.but(options={**problem.options, **given})


class TestOptions:
    @on_paths(RECURRENT)
    def test_recurrent_factors(self, program: Path, cell: str, path: str) -> None:
        problem = with_factors(make(cell, 5, 6, 3, 7, ragged=True, resets=True))
        Case(problem, path).check(program)
        Case(problem, path, training=False).check(program)

    @on_paths(CLIPPING)
    def test_cell_clip(self, program: Path, cell: str, path: str) -> None:
        """Some units meet the limit, others do not."""
        problem = make(cell, 5, 6, 3, 9, ragged=True, resets=True)
        problem.options["cell_clip"] = 0.4
        results = Case(problem, path).run(program)
        c = np.abs(results["others"][0])
        assert 0 < np.mean(c == np.float32(0.4)) < 1
        Case(problem, path).check(program)

    @pytest.mark.parametrize("path", PATHS[1:])
    @pytest.mark.parametrize("clip", CLIPS, ids=str)
    def test_all_of_them_at_once(
        self, program: Path, path: str, clip: functional.GradientClip
    ) -> None:
        """With more units than a block has threads."""
        problem = make("lstm", 3, 2, 3, 137, ragged=True, reverse=True)
        Case(with_factors(problem, cell_clip=0.4), path, clip=clip).check(program)

    @pytest.mark.parametrize("path", PATHS[1:])
    def test_a_norm_whose_square_is_no_float(self, program: Path, path: str) -> None:
        problem = make("rnn_relu", 2, 3, 2, 9)
        huge = problem.but(dstates=(problem.dstates[0] * np.float32(1e25),))
        case = Case(huge, path, clip=("norm", 0.5))
        actual, truth = case.run(program)["dstates"][0], case.expected()["dstates"][0]
        assert_close(actual, truth, K=problem.gradient_roundings, kind="gradient")
        assert np.abs(truth).max() > 0


@on_paths([info.name for info in functional.cells() if info.functions])
class TestGateFunctions:
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_function(self, program: Path, cell: str, path: str, name: str) -> None:
        problem = make(cell, 4, 3, 3, 9, ragged=True, resets=True)
        Case(problem.but(gates=choice(cell, name)), path).check(program)

    def test_clipped(self, program: Path, cell: str, path: str) -> None:
        gates = choice(cell, "hard_sigmoid", clip=0.5)
        problem = make(cell, 4, 3, 3, 9, biases=(False, True)).but(gates=gates)
        Case(problem, path, clip=0.2).check(program)


@pytest.mark.parametrize("path", PATHS[1:])
def test_coupled_gates_without_peepholes(program: Path, path: str) -> None:
    problem = make("lstm_functions", 4, 3, 3, 9, ragged=True)
    gates = choice(problem.cell, "tanh", coupled=True)
    problem = problem.but(gates=gates, weights=(*problem.weights[:4], None, None))
    problem.options["cell_clip"] = 0.4
    Case(problem, path).check(program)


@pytest.mark.parametrize("path", PATHS[1:])
class TestAnyCell:
    cell = "gru"  # its recurrent gradient is an array of its own

    def test_states_after_every_step(self, program: Path, path: str) -> None:
        """At a row's last step they are its final states, and have the same gradients."""
        problem = make("slstm", 4, 5, 2, 9, ragged=True)
        last = problem.options["lengths"] - 1
        rows = np.flatnonzero(last >= 0)
        zeros = tuple(np.zeros_like(d) for d in problem.dstates[1:])
        dothers = tuple(np.zeros_like(problem.dy) for _ in zeros)
        for to, d in zip(dothers, problem.dstates[1:], strict=True):
            to[last[rows], rows] = d[rows]
        after = Case(problem.but(dstates=(problem.dstates[0], *zeros)), path, dothers=dothers)
        at_end, after_steps = Case(problem, path).run(program), after.run(program)
        for state, final in zip(after_steps["others"], at_end["states"][1:], strict=True):
            np.testing.assert_array_equal(state[last[rows], rows], final[rows])
        np.testing.assert_array_equal(at_end["dx"], after_steps["dx"])
        for a, b in zip(at_end["grads"], after_steps["grads"], strict=True):
            np.testing.assert_array_equal(a, b)

    def test_no_steps(self, program: Path, path: str) -> None:
        Case(make(self.cell, 0, 3, 2, 4), path).check(program)

    def test_rows_without_steps(self, program: Path, path: str) -> None:
        problem = make(self.cell, 3, 4, 2, 5)
        problem.options["lengths"] = np.zeros(4, np.int64)
        Case(problem, path).check(program)

    def test_no_gradient_from_behind(self, program: Path, path: str) -> None:
        problem = make(self.cell, 3, 4, 2, 5, ragged=True, biases=(False, True))
        Case(problem, path, zeros=True).check(program)

    def test_dx_is_added_to_in_place(self, program: Path, path: str) -> None:
        Case(make(self.cell, 3, 4, 2, 5), path, accumulate_dx=True).check(program)

    @pytest.mark.parametrize("seed", range(3))
    def test_any_order_of_threads_gives_the_same_bits(
        self, program: Path, path: str, seed: int
    ) -> None:
        problem = make(self.cell, 3, 5, 2, 9, ragged=True)
        first = Case(problem, path).run(program)
        again = Case(problem, path, seed=seed + 1).run(program)
        for key, value in first.items():
            for a, b in zip(value, again[key], strict=True):
                np.testing.assert_array_equal(a, b, err_msg=key)


@pytest.mark.parametrize(
    "cell", ["mgu", "min_gru", "lstm_projected", "gru_reset_before", "lstm_norm", "gru_norm"]
)
def test_more_units_and_inputs_than_a_block_has_threads(program: Path, cell: str) -> None:
    Case(make(cell, 2, 3, 131, 137, ragged=True), "steps").check(program)


def test_more_weight_rows_than_warps_take_at_once(program: Path) -> None:
    """17 units of 4 gates are 9 groups for 8 warps."""
    Case(make("lstm", 2, 2, 2, 34), "persistent", multiprocessors=2).check(program)


def test_forward_and_backward_choose_their_path(program: Path) -> None:
    """Forward is persistent here, backward is not; each alone has to leave what the other reads."""
    Case(make("gru", 3, 9, 2, 7, ragged=True), "auto").check(program)


@pytest.mark.parametrize("path", PATHS[1:])
@pytest.mark.parametrize("cell", NARROW_CELLS)
class TestBf16:
    """As tests/test_precision.py checks it of the kernels for CPUs: step by step, since a rounding
    that turns makes two runs part."""

    def test_steps(self, program: Path, cell: str, path: str) -> None:
        """From the same states the roundings are the same, so that sums alone differ."""
        problem = make(cell, 4, 5, 6, 19).but(precision="bf16")
        results = Case(problem, path).run(program)
        entering = problem.states
        for t, h in enumerate(results["y"]):
            one = problem.but(x=problem.x[t : t + 1], states=entering)
            y, _ = one.reference_scan()
            assert_close(h, y[0], K=one.forward_roundings, kind="forward", what=f"y of step {t}")
            entering = (h, *(other[t] for other in results["others"]))

    @pytest.mark.parametrize("factors", [False, True])
    def test_gradients_of_a_step(self, program: Path, cell: str, path: str, factors: bool) -> None:
        problem = make(cell, 1, 6, 5, 19, ragged=True).but(precision="bf16")
        if factors:
            problem = with_factors(problem)
        case = Case(problem, path, batch_first=True)
        results, expected = case.run(program), case.expected()
        for key in ("dx", "dstates", "grads"):
            for actual, truth in zip(as_tuple(results[key]), as_tuple(expected[key]), strict=True):
                scale = max(1.0, float(np.abs(truth).max()))
                error = np.abs(actual - truth)
                assert error.max() <= 2.0**-8 * scale, key  # one rounding of a gradient turned
                tight = (problem.gradient_roundings + 1) * np.finfo(np.float32).eps * scale
                assert np.mean(error <= tight) >= 0.5, key  # ... which is rare

    def test_gradients_point_where_those_of_full_precision_do(
        self, program: Path, cell: str, path: str
    ) -> None:
        full = make(cell, 6, 4, 5, 21, ragged=True, resets=True, reverse=True)
        exact = Case(full, path).run(program)["grads"]
        rounded = Case(full.but(precision="bf16"), path).run(program)["grads"]
        for a, b in zip(exact, rounded, strict=True):
            a, b = a - GRADS_BEFORE, b - GRADS_BEFORE
            assert np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)) > 1 - 2.0**-8
            assert not np.array_equal(a, b)


@pytest.mark.parametrize("cell", [info.name for info in CELLS if info.name not in PERSISTENT])
def test_what_is_not_persistent_takes_steps(program: Path, cell: str) -> None:
    Case(make(cell, 3, 2, 2, 5), "persistent").check(program)


def test_too_little_shared_memory_falls_back(program: Path) -> None:
    """W_hh of this layer does not fit into one block."""
    Case(make("gru", 2, 2, 2, 80), "persistent", multiprocessors=1).check(program)


@pytest.mark.parametrize(
    ("cell", "barriers"),
    [*(("gru", name) for name in BARRIERS if name != "all"), ("lstm_norm", "no block barriers")],
)
def test_a_missing_barrier_is_seen(program: Path, cell: str, barriers: str) -> None:
    """The emulation lets threads run ahead: without a kind of barrier, results are wrong."""
    problem = make(cell, 3, 5, 2, 9)
    results = Case(problem, "persistent", barriers=barriers).run(program)
    expected = Case(problem, "persistent").expected()
    assert not np.allclose(results["y"], expected["y"], atol=1e-3)
