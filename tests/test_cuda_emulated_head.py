"""Linear maps, losses, tables, dropout and optimizers of src/cuda under AddressSanitizer and UBSan.

As test_cuda_emulation.py, with the functions of the host as what is expected; test_cuda_head.py
tells of many more arguments, without the sanitizers.
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
LINEAR, CROSS_ENTROPY, TABLE, DROPOUT, OPTIMIZERS = range(5)  # as in tests/cuda/run_head.cpp
SEEDS = [0, 1]  # of the order of threads

pytestmark = pytest.mark.skipif(
    not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree"
)


def run(program: Path, which: int, seed: int, sizes: list[int], *arrays: Any) -> Any:
    return run_numbered(program, "head", which, seed, sizes, arrays)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("N", "I", "O", "bias"), [(5, 7, 33, True), (1, 1, 1, False)])
def test_linear(program: Path, N: int, I: int, O: int, bias: bool, seed: int) -> None:  # noqa: E741
    x, weight, dy = draw(N, I), draw(O, I), draw(N, O)
    b = draw(O) if bias else None
    take = run(program, LINEAR, seed, [N, I, O], x, weight, optional(b), dy)
    x, weight, dy = (array.astype(np.float64) for array in (x, weight, dy))
    y = functional.linear(x, weight, None if b is None else b.astype(np.float64))
    assert_close(take(N, O), y, K=I + 1, kind="forward")
    assert_close(take(N, I), dy @ weight, K=O, kind="gradient")
    assert_close(take(O, I), 1.0 + dy.T @ x, K=N + 1, kind="gradient")
    assert_close(take(O), 1.0 + dy.sum(axis=0), K=N + 1, kind="gradient")


@pytest.mark.parametrize("precision", ["full", "bf16"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("N", "I", "V", "seed"), [(5, 3, 300, 0), (4, 5, 17, 1), (2, 1, 1, 2)])
def test_cross_entropy(
    program: Path,
    precision: Any,
    smoothing: float,
    N: int,
    I: int,  # noqa: E741
    V: int,
    seed: int,
) -> None:
    x, weight, bias = draw(N, I), draw(V, I), draw(V)
    targets = np.random.default_rng(3).integers(0, V, N)
    targets[0] = -1
    options = np.array([0.5, smoothing], np.float32)
    sizes = [["full", "bf16"].index(precision), N, I, V, True]
    arrays = [options, x, weight, optional(bias), targets]
    take = run(program, CROSS_ENTROPY, seed, sizes, *arrays)
    wide = [array.astype(np.float64) for array in (x, weight, bias)]
    given = wide if precision == "full" else [x, weight, bias]
    truth = functional.linear_cross_entropy_vjp(
        *given, targets, 0.5, smoothing=smoothing, precision=precision
    )
    begins = [0.0, 0.0, 1.0, 1.0]
    for expected, begin in zip(truth, begins, strict=True):
        actual = take(*np.shape(expected))
        if precision == "full":
            assert_close(actual, expected + begin, K=I + V + N, kind="gradient")
        else:  # where logits differ by a rounding, their gradients may round to neighbours
            np.testing.assert_allclose(actual, expected + begin, rtol=2**-7, atol=2**-7)
    if not smoothing:  # the losses alone
        sizes[-1] = False
        alone = run(program, CROSS_ENTROPY, seed, sizes, *arrays)(N)
        again = run(program, CROSS_ENTROPY, seed + 5, [*sizes[:-1], True], *arrays)(N)
        np.testing.assert_array_equal(alone, again)


@pytest.mark.parametrize("seed", SEEDS)
def test_tables(program: Path, seed: int) -> None:
    """The width is no multiple of a block of threads; a row comes thrice, another one never."""
    V, E = 4, 131
    indices = np.array([2, 0, 2, 3, 2])
    table, dy = draw(V, E), draw(5, E)
    order = np.argsort(indices, kind="stable")
    places, begin = np.unique(indices[order], return_index=True)
    sizes = [5, V, E, len(places)]
    arrays = [table, dy, indices, places, np.append(begin, 5), order]
    take = run(program, TABLE, seed, sizes, *arrays)
    np.testing.assert_array_equal(take(5, E), table[indices])
    functional.embedding_backward(indices, dy, dweight=table)
    np.testing.assert_array_equal(take(V, E), table)


@pytest.mark.parametrize("offset", [0, 3, 2**33 + 2])
@pytest.mark.parametrize("size", [1, 6, 1030])
def test_dropout(program: Path, size: int, offset: int) -> None:
    x = draw(size)
    y = run(program, DROPOUT, 0, [size, 77, offset], x)(size)
    np.testing.assert_array_equal(y, functional.dropout(x, 0.5, seed=77, offset=offset))


@pytest.mark.parametrize("size", [1, 300, 20_000])
def test_optimizers(program: Path, size: int) -> None:
    grads, *kept = (draw(size, seed=i) for i in range(11))
    kept[2] = kept[2] ** 2  # mean squares; the square of a mean is no larger
    kept[6], kept[7] = kept[6] ** 2, 0.5 * np.abs(kept[6])
    take = run(program, OPTIMIZERS, 0, [size], grads, *kept)
    wide, *state = (array.astype(np.float64) for array in (grads, *kept))
    options: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1, "grad_scale": 0.5}
    options["clip_value"] = 0.6
    adam = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "decoupled": True, "step": 2}
    functional.adam_step(state[0], wide, state[1], state[2], **adam, **options)
    functional.sgd_step(state[3], wide, state[4], momentum=0.9, nesterov=True, **options)
    rmsprop = {"alpha": 0.9, "eps": 1e-6, "momentum": 0.5}
    functional.rmsprop_step(state[5], wide, *state[6:9], **rmsprop, **options)
    functional.average_step(state[0], state[9], 0.25)
    for i, expected in enumerate(state):
        assert_close(take(size), expected, K=2, kind="elementwise", what=f"array {i}")
    assert take(1)[0] == pytest.approx(np.square(wide).sum(), rel=1e-6)
