"""unrolled.cuda from Python to the kernels: against the reference, and what it refuses.

Everything runs on an emulated device (cuda_devices.py) and, where there is a GPU, on that one
through CuPy and through torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import unrolled
from cuda_devices import InterfaceArray
from cuda_runs import HostRun, Run, check, make
from problems import NARROW_CELLS, Problem, present
from processes import run_python
from tolerances import assert_close, assert_same_bits
from unrolled import cuda

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree"
)


@pytest.fixture(params=["steps", "persistent"])
def path(request: pytest.FixtureRequest) -> str:
    return request.param


class TestAgainstTheReference:
    def test_plain(self, device: Any, cell: str, path: str) -> None:
        problem = make(cell, 4, 3, 5, 9)
        check(problem, Run(device, problem, path=path).vjp())

    def test_ragged_with_resets(self, device: Any, cell: str, path: str) -> None:
        problem = make(cell, 5, 6, 3, 7, ragged=True, resets=True)
        check(problem, Run(device, problem, path=path).vjp())

    def test_reverse_without_bias_and_states(self, device: Any, cell: str, path: str) -> None:
        problem = make(
            cell, 5, 4, 3, 8, ragged=True, reverse=True, states=False, biases=(False, False)
        )
        check(problem, Run(device, problem, path=path).vjp())

    def test_inference_equals_training(self, device: Any, cell: str, path: str) -> None:
        run = Run(device, make(cell, 5, 4, 3, 8, ragged=True), path=path)
        trained = run.vjp()
        y, states = run.scan()
        assert_same_bits(y, trained["y"])
        assert_same_bits(states, trained["states"])

    @pytest.mark.parametrize("dims", [(0, 3, 2, 4), (3, 0, 2, 4), (1, 1, 1, 1)], ids=str)
    def test_no_steps_no_rows_and_one_of_each(self, device: Any, dims: Any, path: str) -> None:
        problem = make("lstm", *dims)
        check(problem, Run(device, problem, path=path).vjp())

    def test_any_path_by_itself(self, device: Any, cell: str) -> None:
        problem = make(cell, 4, 3, 5, 9)
        check(problem, Run(device, problem).vjp())

    def test_updates_and_steps_out(self, device: Any, path: str) -> None:
        """As on the CPU, in float64: shares of new states, and the states after every step."""
        problem = make("lstm_peephole", 5, 4, 3, 6, ragged=True, resets=True)
        rng = np.random.default_rng(5)
        updates = [(rng.random((5, 4, 6)) < 0.7).astype(np.float32) for _ in range(2)]
        dsteps = rng.standard_normal((5, 4, 6)).astype(np.float32)
        results = []
        for run in (HostRun(problem), Run(device, problem, path=path)):
            steps = run.put(np.full((5, 4, 6), np.nan))
            y, states, saved = run.functions.scan_vjp(
                run.weights,
                run.x,
                run.states,
                **problem.options,
                steps_out=[steps],
                updates=[run.put(update) for update in updates],
            )
            dx, dstates = run.functions.scan_backward(
                saved, run.dy, run.dstates, grads=run.grads, dsteps=[run.put(dsteps)]
            )
            results.append([*run.get_some((y, steps, *states)), *run.get_some((dx, *dstates))])
            results[-1] += present(run.get_some(run.grads))
        for expected, actual in zip(*results, strict=True):
            assert_close(actual, expected, K=problem.gradient_roundings, kind="gradient")

    @pytest.mark.parametrize("clip", [None, 0.2, ("norm", 0.5)], ids=str)
    def test_limits_and_factors(self, device: Any, path: str, clip: Any) -> None:
        problem = make("lstm", 5, 4, 3, 6, ragged=True, resets=True)
        factors = 2.0 * (np.random.default_rng(8).random((4, 6)) < 0.5)
        problem.options.update(cell_clip=0.4, recurrent_factors=factors.astype(np.float32))
        results = Run(device, problem, path=path).vjp(clip_gradient=clip)
        check(problem, results, clip_gradient=clip)

    def test_saved_serves_two_pullbacks(self, device: Any) -> None:
        problem = make("gru", 4, 3, 5, 6)
        run = Run(device, problem)
        _, _, saved = cuda.scan_vjp(run.weights, run.x, run.states)
        for _ in range(2):
            cuda.scan_backward(saved, run.dy, run.dstates, grads=run.grads)
        once = problem.reference()["grads"]
        for grad, expected in zip(present(run.get_some(run.grads)), once, strict=True):
            assert_close(grad, 2 * expected, K=2 * problem.gradient_roundings, kind="gradient")
        assert saved.nbytes > 0

    def test_tf32_rounds_factors(self, device: Any) -> None:
        """Its eps is 2**-10, and rounding to it differs from not rounding."""
        problem = make("lstm", 4, 3, 16, 16)
        y, _ = Run(device, problem, precision="tf32", path="steps").scan()
        full, _ = Run(device, problem, path="steps").scan()
        scale = float(np.finfo(np.float32).eps / 2.0**-10)
        expected, _ = problem.reference_scan()
        assert not np.array_equal(y, full)
        assert_close(y * scale, expected * scale, K=problem.forward_roundings, kind="forward")

    @pytest.mark.parametrize("cell", NARROW_CELLS)
    def test_bf16_is_that_of_the_reference(self, device: Any, cell: str, path: str) -> None:
        """One step: later a rounding that turns makes two runs part."""
        problem = make(cell, 1, 4, 6, 9)
        run = Run(device, problem, precision="bf16", path=path)
        results, expected = run.vjp(), problem.but(precision="bf16").reference()
        assert_close(results["y"], expected["y"], K=problem.forward_roundings, kind="forward")
        for actual, truth in zip(results["grads"], expected["grads"], strict=True):
            assert np.abs(actual - truth).max() <= 2.0**-8 * max(1.0, np.abs(truth).max())

    def test_bf16_of_another_cell(self, device: Any) -> None:
        with pytest.raises(ValueError, match="expected precision 'full' or 'tf32' for this cell"):
            Run(device, make("lstm_peephole", 1, 2, 3, 4), precision="bf16")


class TestLayouts:
    @pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)], ids=str)
    def test_x_that_repeats(self, device: Any, path: str, axes: tuple[int, ...]) -> None:
        """An axis of x without a stride."""
        problem = make("gru", 4, 3, 5, 6)
        shape = tuple(1 if axis in axes else size for axis, size in enumerate((4, 3, 5)))
        once = problem.x[: shape[0], : shape[1]]
        problem = problem.but(x=np.broadcast_to(once, (4, 3, 5)))
        run = Run(device, problem, path=path)
        run.x = device.repeat(device.put(once), (4, 3, 5))
        check(problem, run.vjp())

    def test_halves_of_an_array_and_batch_first(self, device: Any, path: str) -> None:
        """Both directions of a layer write one array, whose axes are (B, T, 2*H)."""
        problem = make("lstm", 5, 4, 3, 6, ragged=True)
        run = Run(device, problem, path=path)
        whole = device.put(np.full((4, 5, 12), 7, np.float32))
        x = device.put(np.ascontiguousarray(problem.x.swapaxes(0, 1))).swapaxes(0, 1)
        for half in (slice(0, 6), slice(6, 12)):
            out = whole.swapaxes(0, 1)[:, :, half]
            y, _ = cuda.scan(run.weights, x, run.states, out=out, **problem.options)
            assert y is out
        expected, _ = problem.reference_scan()
        for half in (slice(0, 6), slice(6, 12)):
            actual = device.get(whole).swapaxes(0, 1)[:, :, half]
            assert_close(actual, expected, K=problem.forward_roundings, kind="forward")
        dead = np.arange(5)[:, None] >= problem.options["lengths"]
        assert not device.get(whole).swapaxes(0, 1)[dead].any()

    def test_dx_is_added_to(self, device: Any, path: str) -> None:
        problem = make("gru", 4, 3, 5, 6, ragged=True)
        run = Run(device, problem, path=path)
        _, _, saved = cuda.scan_vjp(run.weights, run.x, run.states, **problem.options)
        before = np.ones_like(problem.x)
        dx = device.put(before)
        given, _ = cuda.scan_backward(
            saved, run.dy, run.dstates, grads=run.grads, dx=dx, accumulate_dx=True
        )
        assert given is dx
        assert_close(
            device.get(dx),
            problem.reference()["dx"] + before,
            K=problem.gradient_roundings + 1,
            kind="gradient",
        )

    def test_dx_is_not_needed(self, device: Any) -> None:
        problem = make("rnn_tanh", 4, 3, 5, 6)
        run = Run(device, problem)
        _, _, saved = cuda.scan_vjp(run.weights, run.x, run.states)
        dx, _ = cuda.scan_backward(saved, None, None, grads=run.grads, needs_dx=False)
        assert dx is None
        assert not any(grad.any() for grad in present(run.get_some(run.grads)))

    def test_arguments_are_left_as_they_are(self, device: Any, path: str) -> None:
        problem = make("lstm", 4, 3, 5, 6, ragged=True, resets=True)
        run = Run(device, problem, path=path)
        run.vjp()
        assert_same_bits(device.get(run.x), problem.x)
        assert_same_bits(device.get(run.dy), problem.dy)
        assert_same_bits(run.get_some(run.states), problem.states)
        assert_same_bits(run.get_some(run.dstates), problem.dstates)


class KeptMemory:
    """Gives the same memory at every round, as a caching allocator does."""

    def __init__(self, empty: Callable[..., Any]) -> None:
        self.empty, self.kept, self.round = empty, [], iter(())

    def again(self) -> None:
        self.round = iter(list(self.kept))

    def __call__(self, shape: Any, dtype: Any) -> Any:
        array = next(self.round, None)
        if array is None:
            array = self.empty(shape, dtype)
            self.kept.append(array)
        assert array.shape == tuple(shape)
        return array


def test_a_scan_that_comes_again_is_a_graph(emulated_device: Any) -> None:
    """With what the arrays hold by then; captured at the second call, launched from then on."""
    memory = KeptMemory(emulated_device.cupy.empty)
    emulated_device.cupy.empty = memory
    problem = make("lstm", 5, 3, 4, 6, ragged=True)
    run = Run(emulated_device, problem, path="steps")
    before = {what: emulated_device.count(what) for what in ("graphs_made", "graphs_launched")}

    def counted() -> tuple[int, int]:
        made, launched = (emulated_device.count(what) - n for what, n in before.items())
        return made, launched

    def call(problem: Problem) -> None:
        for grad in present(run.grads):
            grad[...] = 0
        check(problem, run.vjp())

    for repeats in range(4):
        memory.again()
        problem = problem.but(x=problem.x + np.float32(0.25))
        run.x[...] = problem.x
        call(problem)
        assert counted() == ((0, 0) if repeats == 0 else (2, 2 * repeats))

    made = counted()[0]
    other = make("lstm", 5, 3, 4, 6, ragged=True, seed=1).options["lengths"]
    assert not np.array_equal(np.sort(other), np.sort(problem.options["lengths"]))
    problem.options["lengths"] = other  # the same object that `run` has
    memory.kept.clear()
    memory.again()
    call(problem)
    assert counted()[0] == made


class TestWhatIsMissing:
    """Every call says what to do."""

    def test_a_build_without_cuda(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "unrolled._cuda", None)
        monkeypatch.delattr(unrolled, "_cuda", raising=False)
        cuda._library.require.cache_clear()
        weight = InterfaceArray(np.zeros((4, 4), np.float32))
        with pytest.raises(ImportError, match=r"-Ccmake.define.UNROLLED_CUDA=ON"):
            cuda.pack("rnn_tanh", weight, weight)
        assert not cuda.is_available()

    def test_cublas(self, emulated: tuple[ModuleType, Path]) -> None:
        result = run_python(
            f"""
            import sys
            sys.path.insert(0, {str(ROOT / "tests")!r})
            import cuda_devices, pathlib, unrolled.cuda
            unrolled._cuda = cuda_devices.load(pathlib.Path({str(emulated[1])!r}))
            unrolled.cuda._library._candidates = lambda: ["/nowhere/libcublas.so.13"]
            try:
                unrolled.cuda._library.require()
            except ImportError as error:
                print(error)
            """
        )
        assert result.returncode == 0, result.stderr
        assert "/nowhere/libcublas.so.13: cannot open" in result.stdout
        assert 'pip install "unrolled[cuda]"' in result.stdout

    def test_a_driver(self) -> None:
        """The built module is imported without one, and says so."""
        result = run_python(
            """
            import unrolled.cuda
            try:
                unrolled.cuda._library.require()
            except (ImportError, RuntimeError) as error:
                print(error)
            """
        )
        assert result.returncode == 0, result.stderr
        if "UNROLLED_CUDA=ON" in result.stdout:
            pytest.skip("needs a build with UNROLLED_CUDA=ON")
        if not result.stdout:
            pytest.skip("there is a GPU")
        assert "expected a CUDA device with NVIDIA's driver, got cudaError" in result.stdout


def test_what_is_too_large_for_the_emulation(device: Any, cell: str, path: str) -> None:
    """Sizes at which a GPU is full, on one."""
    if device.name == "emulated":
        pytest.skip("needs a GPU and a build with UNROLLED_CUDA=ON")
    for dims in ((50, 1, 64, 1024), (25, 64, 200, 512), (20, 33, 100, 1760)):
        problem = make(cell, *dims, ragged=dims[1] > 1, resets=True)
        check(problem, Run(device, problem, path=path).vjp())
