"""float32 products in three bfloat16 parts are as exact as multiply-adds, and keep their promises.

The kernels of `avx512_amx` take them for layers of 256 units and more from 16 rows on, of 128 and
more from 64 rows on, and for heads; see src/cpp/kernels/chosen.hpp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from problems import NARROW_CELLS, Dims, Problem, make_problem
from stacks import as_tuple
from tolerances import assert_close, assert_same_bits
from unrolled import functional
from unrolled.layers import Recurrent

# Inputs and units fill the blocks of 32 along k in part, in whole, and beyond a pass of 512; rows
# fill tiles of 16 and 32 in part.
SIZES = [
    Dims(4, 16, 40, 270),
    Dims(3, 32, 256, 256),
    Dims(2, 49, 1, 257),
    Dims(2, 65, 550, 300),
    Dims(12, 30, 33, 288),
    Dims(9, 70, 600, 130),
    Dims(8, 18, 20, 520),
]


# Where the CPU has tile registers; the fixture is that of all tests.
pytestmark = pytest.mark.parametrize(
    "isa", [isa for isa in functional.available_isas() if isa == "avx512_amx"], indirect=True
)


@pytest.fixture(params=[*NARROW_CELLS, "lstm_peephole", "lstm_norm"])
def split_cell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def problem_of(cell: str, size: Dims, **options: Any) -> Problem:
    return make_problem(cell, size, np.float32, **options)


@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_all_results(split_cell: str, isa: str, size: Dims, ragged: bool) -> None:
    problem = problem_of(split_cell, size, ragged=ragged, reverse=ragged, resets=ragged)
    got, truth = problem.vjp(), problem.reference()
    assert_close(got["y"], truth["y"], K=problem.forward_roundings, kind="forward")
    assert_same_bits(problem.scan()[0], got["y"])
    for key in ("states", "dstates", "grads"):
        for actual, expected in zip(got[key], truth[key], strict=True):
            kind = "forward" if key == "states" else "gradient"
            K = problem.forward_roundings if key == "states" else problem.gradient_roundings
            assert_close(actual, expected, K=K, kind=kind, what=key)
    assert_close(got["dx"], truth["dx"], K=problem.gradient_roundings, kind="gradient", what="dx")


def in_isa(isa: str, run: Callable[[], Any]) -> Any:
    before = functional.isa()
    functional._force_isa(isa)
    try:
        return run()
    finally:
        functional._force_isa(before)


def test_errors_are_not_those_of_a_reduced_precision(split_cell: str, isa: str) -> None:
    """Parts of parts that are left out would show here long before a tolerance does."""
    problem = problem_of(split_cell, Dims(3, 48, 700, 320))
    truth = problem.reference()

    def errors(which: str) -> list[float]:
        got = in_isa(which, problem.vjp)
        pairs = [(got[key], truth[key]) for key in ("y", "dx")]
        pairs += zip(got["grads"][:2], truth["grads"][:2], strict=True)
        return [float(np.sqrt(np.mean((a - b) ** 2))) for a, b in pairs]

    for split, added in zip(errors(isa), errors("avx512"), strict=True):
        assert split <= 1.1 * added


def test_the_choice_is_by_rows_and_units(split_cell: str, isa: str) -> None:
    """What is smaller has the bits of the base."""
    same = []
    for size in (
        Dims(2, 15, 20, 260),
        Dims(2, 63, 20, 255),
        Dims(2, 70, 20, 127),
        Dims(2, 16, 20, 256),
        Dims(2, 64, 20, 128),
    ):
        problem = problem_of(split_cell, size)
        results = [in_isa(which, problem.scan)[0] for which in ("avx512", isa)]
        same.append(bool(np.array_equal(*results)))
    assert same == [True, True, True, False, False]


@pytest.mark.parametrize("rows", [16, 17, 31, 32, 33, 65])
def test_a_row_has_the_same_bits_in_all_batches_from_16_rows_on(
    split_cell: str, isa: str, rows: int
) -> None:
    problem = problem_of(split_cell, Dims(9, 70, 45, 260), ragged=True, resets=True)
    y, states = problem.scan()
    whole = problem.vjp()
    chosen = np.arange(70 - rows, 70)[::-1]
    part = problem.but(
        x=np.ascontiguousarray(problem.x[:, chosen]),
        states=tuple(s[chosen] for s in problem.states or ()),
        dy=np.ascontiguousarray(problem.dy[:, chosen]),
        dstates=tuple(d[chosen] for d in problem.dstates),
        options={
            **problem.options,
            "lengths": problem.options["lengths"][chosen],
            "resets": np.ascontiguousarray(problem.options["resets"][:, chosen]),
        },
    )
    assert_same_bits(part.scan(), (y[:, chosen], tuple(s[chosen] for s in states)))
    pulled = part.vjp()
    assert_same_bits(pulled["dx"], whole["dx"][:, chosen])
    assert_same_bits(pulled["dstates"], tuple(d[chosen] for d in whole["dstates"]))


def test_same_bits_for_any_number_of_threads(split_cell: str, isa: str, threads: None) -> None:
    problem = problem_of(split_cell, Dims(8, 66, 65, 300), ragged=True)
    results = []
    for count in (1, 2, 3):
        functional.set_num_threads(count)
        results.append(tuple(problem.vjp().values()))
    assert_same_bits(results[1], results[0])
    assert_same_bits(results[2], results[0])


@pytest.mark.parametrize("recompute", ["gates", 1])
def test_recomputing_gives_the_same_bits(split_cell: str, isa: str, recompute: Any) -> None:
    problem = problem_of(split_cell, Dims(30, 25, 9, 256), ragged=True)
    assert_same_bits(problem.recomputed(recompute), problem.recomputed("none"))


@pytest.mark.parametrize("batch", [15, 16])
def test_stream_and_lookup_equal_the_sequence(
    split_cell: str, isa: str, batch: int, rng: np.random.Generator
) -> None:
    layer = Recurrent(split_cell, 6, 256, 2, rng=rng)
    table = rng.standard_normal((11, 6), np.float32)
    tokens = rng.integers(0, 11, (9, batch))
    y, final = layer(table[tokens])
    stream = layer.stream(batch)
    assert_same_bits(np.stack([stream(table[t]) for t in tokens]), y)
    assert_same_bits(as_tuple(stream.state), as_tuple(final))
    assert_same_bits(layer(functional.Lookup(tokens, table))[0], y)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_row(isa: str, bad: float) -> None:
    problem = problem_of("gru", Dims(3, 33, 40, 256))
    clean, _ = problem.scan()
    x = problem.x.copy()
    x[1, 7, 3] = bad
    y, _ = problem.but(x=x).scan()
    others = np.arange(33) != 7
    assert_same_bits(y[:, others], clean[:, others])
    assert_same_bits(y[:1], clean[:1])
    if np.isnan(bad):
        assert np.isnan(y[1:, 7]).all()


@pytest.mark.parametrize("factor", [1e-30, 1e-20, 1e20, 1e30])
def test_magnitudes(isa: str, factor: float) -> None:
    """Powers of two apart, products are the same: x grows as its weights shrink."""
    problem = problem_of("lstm", Dims(2, 24, 64, 256))
    w_ih, *others = problem.weights
    assert w_ih is not None
    power = np.float32(2.0 ** np.round(np.log2(factor)))
    moved = problem.but(x=problem.x * power, weights=(w_ih / power, *others))
    truth, _ = problem.reference_scan()
    assert_close(moved.scan()[0], truth, K=problem.forward_roundings, kind="forward")


def test_subnormal_neighbours(isa: str) -> None:
    """What is too small for a part does not touch the number that shares its word."""
    problem = problem_of("rnn_tanh", Dims(1, 24, 64, 256))
    w_ih, *others = problem.weights
    assert w_ih is not None
    small = np.where(np.arange(64) % 32 < 16, w_ih, np.float32(1e-39)).astype(np.float32)
    x = np.where(np.arange(64) % 32 < 16, problem.x, np.float32(1e-39)).astype(np.float32)
    changed = problem.but(weights=(small, *others), x=x)
    truth, _ = changed.reference_scan()
    assert_close(changed.scan()[0], truth, K=problem.forward_roundings, kind="forward")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("sizes", [(64, 128, 256), (97, 150, 700), (300, 256, 1100)], ids=str)
def test_cross_entropy(
    isa: str, sizes: tuple[int, int, int], smoothing: float, rng: np.random.Generator
) -> None:
    """Beside the base's multiply-adds: other bits, and no larger errors."""
    rows, inputs, classes = sizes
    x, weight = (rng.standard_normal((n, inputs)).astype(np.float32) for n in (rows, classes))
    bias = rng.standard_normal(classes).astype(np.float32)
    targets = rng.integers(-1, classes, rows)

    def errors(which: str) -> tuple[list[np.ndarray], list[float]]:
        def run(dtype: type) -> list[np.ndarray]:
            arrays = (a.astype(dtype) for a in (x, weight / np.float32(8), bias))
            found = functional.linear_cross_entropy_vjp(*arrays, targets, smoothing=smoothing)
            return [np.asarray(a) for a in found]

        got, truth = in_isa(which, lambda: run(np.float32)), in_isa(which, lambda: run(np.float64))
        pairs = zip(got, truth, strict=True)
        return got, [float(np.sqrt(np.mean((a - b) ** 2))) for a, b in pairs]

    (split, split_errors), (base, base_errors) = errors(isa), errors("avx512")
    assert not np.array_equal(split[0], base[0])
    for of_split, of_base in zip(split_errors, base_errors, strict=True):
        assert of_split <= 1.1 * of_base


def test_rows_of_a_head_do_not_see_each_other(isa: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((200, 130)).astype(np.float32)
    weight = rng.standard_normal((300, 130)).astype(np.float32)
    targets = rng.integers(0, 300, 200)
    losses, dx, *_ = functional.linear_cross_entropy_vjp(x, weight, None, targets)
    some = slice(60, 140)
    part_losses, part_dx, *_ = functional.linear_cross_entropy_vjp(
        x[some], weight, None, targets[some]
    )
    assert_same_bits((part_losses, part_dx), (losses[some], dx[some]))
