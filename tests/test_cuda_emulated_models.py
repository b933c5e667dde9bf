"""CTC, attention and images of src/cuda under AddressSanitizer and UBSan.

As test_cuda_emulated_head.py; test_cuda_functions.py tells of more arguments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuda_cases import draw, optional
from cuda_devices import run_numbered
from tolerances import assert_close
from unrolled import functional

ROOT = Path(__file__).resolve().parents[1]
CTC, ATTENTION, CONV, POOL, NORM = range(5)  # as in tests/cuda/run_models.cpp
SEEDS = [0, 1]  # of the order of threads

pytestmark = pytest.mark.skipif(
    not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree"
)


def run(program: Path, which: int, seed: int, sizes: list[int], *arrays: Any) -> Any:
    return run_numbered(program, "models", which, seed, sizes, arrays)


@pytest.mark.parametrize("seed", SEEDS)
def test_ctc(program: Path, seed: int) -> None:
    """Labels that come again, a sequence without a path, one without frames."""
    T, B, V, S = 7, 4, 40, 3
    logits = 2 * draw(T, B, V)
    labels = np.array([[3, 5, 3], [9, 9, 9], [1, 39, 0], [2, 2, 2]])
    frames, counts = np.array([7, 4, 5, 0]), np.array([3, 3, 2, 1])
    next_place = np.array([[2, -1, -1], [1, 2, -1], [-1, -1, -1], [-1, -1, -1]])
    first = np.array([[1, 1, 0], [1, 0, 0], [1, 1, -1], [1, -1, -1]])
    take = run(program, CTC, seed, [T, B, V, S], logits, frames, counts, labels, next_place, first)
    truth, slopes = functional.ctc_loss_vjp(
        logits.astype(np.float64), labels, input_lengths=frames, label_lengths=counts
    )
    losses = take(B)
    np.testing.assert_array_equal(np.isposinf(losses), np.isposinf(truth))
    finite = np.isfinite(truth)
    assert finite.tolist() == [True, False, True, False]
    assert_close(losses[finite], truth[finite], K=200, kind="head")
    assert_close(take(T, B, V), slopes, K=400, kind="gradient")


@pytest.mark.parametrize("additive", [False, True], ids=["dot", "additive"])
@pytest.mark.parametrize("seed", SEEDS)
def test_attention(program: Path, seed: int, additive: bool) -> None:
    T, B, S, K, M = 2, 3, 9, 33, 5
    arrays = [draw(T, B, K), draw(S, B, K, seed=1), draw(S, B, M), draw(T, B, M, seed=1)]
    vector = draw(K, seed=2) if additive else None
    lengths, places = np.array([2, 1, 2]), np.array([9, 4, 0])
    take = run(
        program, ATTENTION, seed, [T, B, S, K, M], *arrays, optional(vector), lengths, places,
        np.arange(B),
    )  # fmt: skip
    queries, keys, values, dcontexts = (array.astype(np.float64) for array in arrays)
    wide = None if vector is None else vector.astype(np.float64)
    memory = functional.AttentionMemory(keys, values, wide, lengths=places)
    contexts, weights = memory.attend(queries, lengths=lengths)
    dvector = None if vector is None else np.ones(K)
    gradients = memory.pull(queries, weights, dcontexts, lengths=lengths, dvector=dvector)
    for expected in (contexts, weights, *gradients):
        assert_close(take(*expected.shape), expected, K=250, kind="gradient")
    assert_close(take(K), np.ones(K) if dvector is None else dvector, K=250, kind="gradient")


SHAPES: list[tuple[tuple[int, ...], int, int, functional.Windows]] = [
    ((2, 4, 5, 3), 4, 1, functional.Windows((3, 2), (2, 1), ((1, 1), (0, 1)))),
    ((2, 3, 3, 5), 2, 1, functional.Windows((1, 1))),
    ((1, 5, 4, 6), 6, 6, functional.Windows((3, 3), (1, 2), "same")),
    ((1, 4, 4, 4), 6, 2, functional.Windows((2, 2), (2, 2))),
]


def sizes_of(shape: tuple[int, ...], windows: functional.Windows) -> list[int]:
    down, right, top, left = windows.steps(*shape[1:3])
    places = windows.places("test", *shape[1:3])
    return [*shape, *windows.kernel, down, right, top, left, *places]


@pytest.mark.parametrize("case", SHAPES, ids=str)
@pytest.mark.parametrize("activation", ["none", "relu6"])
def test_convolution(program: Path, case: Any, activation: Any) -> None:
    shape, O, groups, windows = case  # noqa: E741
    x, bias = draw(*shape), 3 * draw(O)
    weight = draw(O, shape[3] // groups, *windows.kernel)
    places = windows.places("test", *shape[1:3])
    residual, dy = draw(shape[0], *places, O), draw(shape[0], *places, O, seed=1)
    sizes = [*sizes_of(shape, windows), O, groups, ["none", "relu", "relu6"].index(activation)]
    take = run(program, CONV, 0, sizes, x, weight, bias, residual, dy)
    wide = [array.astype(np.float64) for array in (x, weight, bias)]
    z = functional.conv2d(*wide, windows, groups=groups) + residual
    y = z if activation == "none" else np.clip(z, 0.0, 6.0)
    K = 1 + weight.size + y.size
    assert_close(take(*y.shape), y, K=K, kind="forward")
    options: dict[str, Any] = {"groups": groups, "activation": activation}
    dweight, dbias = np.ones(weight.shape), np.ones(O)
    dx = functional.conv2d_backward(
        *wide[:2], y, dy.astype(np.float64), windows, **options, dweight=dweight, dbias=dbias
    )
    for expected in (dx, dweight, dbias):
        assert_close(take(*expected.shape), expected, K=K, kind="gradient")


@pytest.mark.parametrize("case", SHAPES[::2], ids=str)
def test_max_pool(program: Path, case: Any) -> None:
    shape, _, _, windows = case
    x = np.round(draw(*shape))
    y = functional.max_pool(x, windows)
    dy = np.round(8 * draw(*y.shape))
    take = run(program, POOL, 0, sizes_of(shape, windows), x, dy)
    np.testing.assert_array_equal(take(*y.shape), y)
    np.testing.assert_array_equal(take(*shape), functional.max_pool_backward(x, y, dy, windows))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("rows", "C"), [(2, 1), (21, 35)])
def test_batch_norm(program: Path, rows: int, C: int, seed: int) -> None:
    x, dy, weight, bias = draw(rows, C), draw(rows, C, seed=1), draw(C), draw(C, seed=1)
    take = run(program, NORM, seed, [rows, C], x, dy, weight, bias)
    wide_x, wide_dy, wide_weight, wide_bias = (a.astype(np.float64) for a in (x, dy, weight, bias))
    moments = functional.moments(wide_x)
    options: dict[str, Any] = {"eps": 1e-3, "activation": "relu"}
    y = functional.normalise(wide_x, *moments, wide_weight, wide_bias, **options)
    dweight, dbias = np.ones((2, C))
    dx = functional.normalise_backward(
        wide_x, *moments, wide_weight, y, wide_dy, **options, of_batch=True,
        dweight=dweight, dbias=dbias,
    )  # fmt: skip
    for expected in (y, dx, dweight, dbias):
        assert_close(take(*expected.shape), expected, K=rows + 40, kind="gradient")
