"""Linear maps, losses, tables, dropout and optimizers on a CUDA device: the functions of the host.

In float64 on the host, except where the results have the same bits. As test_cuda_host.py, on an
emulated device and on a GPU where there is one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuda_cases import draw
from tolerances import assert_close, assert_same_bits
from unrolled import cuda, functional

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree"
)


def wide(*arrays: np.ndarray | None) -> list[Any]:
    return [None if array is None else array.astype(np.float64) for array in arrays]


def put(device: Any, *arrays: np.ndarray | None) -> list[Any]:
    return [None if array is None else device.put(array) for array in arrays]


def test_signatures_are_those_of_the_host() -> None:
    """So that a layer calls the one or the other; `pack` has a path beside, which has a default."""
    shared = {
        name
        for name in set(dir(cuda)) & set(dir(functional)) - {"pack", "empty", "zero"}
        if inspect.isfunction(getattr(cuda, name))
    }
    assert len(shared) >= 14
    for name in shared:
        own, host = (inspect.signature(getattr(of, name)) for of in (cuda, functional))
        described = [
            [(p.name, p.kind, p.default) for p in s.parameters.values()] for s in (own, host)
        ]
        assert described[0] == described[1], name


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7), (7,), (0, 7)], ids=str)
def test_linear(device: Any, shape: tuple[int, ...], bias: bool) -> None:
    x, weight, b = draw(*shape), draw(4, 7), draw(4) if bias else None
    dy, dweight, dbias = draw(*shape[:-1], 4), draw(4, 7, seed=1), draw(4, seed=1)
    expected = functional.linear(*wide(x, weight, b))
    truth_weight, truth_bias = wide(dweight, dbias)
    truth_x = functional.linear_backward(
        *wide(x, weight, dy), dweight=truth_weight, dbias=truth_bias if bias else None
    )
    given = put(device, x, weight, b)
    assert_close(device.get(cuda.linear(*given)), expected, K=8, kind="forward")
    grads = put(device, dweight, dbias)
    dx = cuda.linear_backward(
        *put(device, x, weight, dy), dweight=grads[0], dbias=grads[1] if bias else None
    )
    assert_close(device.get(dx), truth_x, K=4, kind="gradient")
    assert_close(device.get(grads[0]), truth_weight, K=len(dy) + 1, kind="gradient")
    assert_close(device.get(grads[1]), truth_bias, K=x.size // 7 + 1, kind="gradient")
    again = cuda.linear_backward(
        *put(device, x, weight, dy), dweight=grads[0], dbias=None, needs_dx=False
    )
    assert again is None


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("N", "H", "V", "bias"),
    [(6, 5, 300, True), (3, 4, 1, True), (7, 9, 17, False), (0, 4, 5, True)],
)
def test_cross_entropy(device: Any, N: int, H: int, V: int, bias: bool, smoothing: float) -> None:
    """Rows longer than a block of threads, and of one class; one target does not count."""
    x, weight, b = draw(N, H), draw(V, H), draw(V) if bias else None
    targets = np.random.default_rng(3).integers(0, V, N)
    targets[:1] = -1
    truth = functional.linear_cross_entropy_vjp(
        *wide(x, weight, b), targets, 0.5, smoothing=smoothing
    )
    given = put(device, x, weight, b)
    results = cuda.linear_cross_entropy_vjp(*given, targets, 0.5, smoothing=smoothing)
    for actual, expected, what in zip(results, truth, ["losses", "dx", "dW", "db"], strict=True):
        assert (actual is None) == (expected is None)
        if actual is not None:
            assert_close(device.get(actual), expected, K=H + V + N, kind="gradient", what=what)
    if not smoothing:
        losses = cuda.linear_cross_entropy(*given, targets)
        assert_same_bits(device.get(losses), device.get(results[0]))


def test_cross_entropy_in_blocks(device: Any) -> None:
    """More rows than the logits of a block have: 2**24 / V of them, but 256 at least."""
    N, H, V = 300, 2, 65_600
    x, weight = draw(N, H), draw(V, H)
    targets = np.full(N, -1)
    targets[[0, 255, 256, 299]] = [0, 5, V - 1, 7]
    truth = functional.linear_cross_entropy_vjp(*wide(x, weight), None, targets)
    results = cuda.linear_cross_entropy_vjp(*put(device, x, weight), None, targets)
    for actual, expected in zip(results[:3], truth[:3], strict=True):
        assert_close(device.get(actual), expected, K=H + 300, kind="gradient")


@pytest.mark.parametrize("V", [6, 7])
def test_cross_entropy_in_bf16(device: Any, V: int) -> None:
    """As on the CPU: x, weight and the gradient of the logits are rounded where they multiply."""
    x, weight, bias = draw(5, 9), draw(V, 9), draw(V)
    targets = np.array([0, 3, -1, 5, 1])
    truth = functional.linear_cross_entropy_vjp(x, weight, bias, targets, precision="bf16")
    results = cuda.linear_cross_entropy_vjp(
        *put(device, x, weight, bias), targets, precision="bf16"
    )
    full = cuda.linear_cross_entropy_vjp(*put(device, x, weight, bias), targets)
    assert not np.array_equal(device.get(results[0]), device.get(full[0]))
    for actual, expected in zip(results, truth, strict=True):
        # Where logits differ by a rounding, their gradients may round to neighbours.
        np.testing.assert_allclose(device.get(actual), expected, rtol=2**-7, atol=2**-7)


def test_logits_that_are_not_finite(device: Any) -> None:
    x = np.eye(4, dtype=np.float32)
    weight = np.zeros((3, 4), np.float32)
    weight[1] = [0.0, np.nan, np.inf, -np.inf]
    targets = np.array([0, 0, 0, 0])
    losses = cuda.linear_cross_entropy(*put(device, x[[0]], weight[:, [0, 0, 0, 0]]), None, [0])
    assert device.get(losses)[0] == pytest.approx(np.log(3.0), rel=1e-6)
    losses = device.get(cuda.linear_cross_entropy(*put(device, x, weight), None, targets))
    assert not np.isfinite(losses[1:]).any()


@pytest.mark.parametrize("shape", [(6,), (3, 4), (0,)], ids=str)
def test_embedding(device: Any, shape: tuple[int, ...]) -> None:
    """To the bit: rows are added in the order of the tokens, as on the CPU."""
    indices = np.random.default_rng(1).integers(0, 5, shape)
    weight, dy, dweight = draw(5, 130), draw(*shape, 130), draw(5, 130, seed=1)
    table, gradient = put(device, weight, dweight)
    assert_same_bits(device.get(cuda.embedding(indices, table)), weight[indices])
    cuda.embedding_backward(indices, device.put(dy), dweight=gradient)
    functional.embedding_backward(indices, dy, dweight=dweight)
    assert_same_bits(device.get(gradient), dweight)


@pytest.mark.parametrize("offset", [0, 1, 6, 2**40 + 3])
@pytest.mark.parametrize("shape", [(1,), (700,), (3, 5, 7), (0,)], ids=str)
def test_dropout(device: Any, shape: tuple[int, ...], offset: int) -> None:
    """The same bits as on the CPU, which stand for those of any other device."""
    x = draw(*shape)
    expected = functional.dropout(x, 0.3, seed=2**63 + 5, offset=offset)
    actual = cuda.dropout(device.put(x), 0.3, seed=2**63 + 5, offset=offset)
    assert_same_bits(device.get(actual), expected)


def test_dropout_of_all_steps_alike(device: Any) -> None:
    x = draw(4, 3, 5)
    expected = functional.dropout(x, 0.5, seed=9, variational=True)
    assert_same_bits(
        device.get(cuda.dropout(device.put(x), 0.5, seed=9, variational=True)), expected
    )


GRADIENT = {"grad_scale": 0.5, "clip_value": 0.6}
STEPS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "sgd": ("sgd_step", 1, {"momentum": 0.9, "nesterov": False}),
    "nesterov": ("sgd_step", 1, {"momentum": 0.9, "nesterov": True}),
    "plain sgd": ("sgd_step", 0, {"momentum": 0.0, "nesterov": False}),
    "adam": (
        "adam_step",
        2,
        {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "decoupled": False, "step": 3},
    ),
    "adamw": (
        "adam_step",
        2,
        {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "decoupled": True, "step": 1},
    ),
    "rmsprop": ("rmsprop_step", 1, {"alpha": 0.9, "eps": 1e-6, "momentum": 0.0}),
    "centered": ("rmsprop_step", 3, {"alpha": 0.9, "eps": 1e-6, "momentum": 0.9}),
}


@pytest.mark.parametrize("which", STEPS)
def test_steps_of_optimizers(device: Any, which: str) -> None:
    name, kept, options = STEPS[which]
    options = {**options, **GRADIENT, "lr": 0.01, "weight_decay": 0.1}
    arrays = [draw(1000), draw(1000, seed=1)]
    arrays += [np.abs(draw(1000, seed=2 + i)) * 4.0**-i for i in range(kept)]
    # Mean square, mean, velocity: the square of a mean is no larger than the mean square.
    if which == "centered":
        arrays[3] = 0.5 * np.sqrt(arrays[2])
    expected, given = wide(*arrays), put(device, *arrays)
    missing = [None] * {"sgd_step": 1 - kept, "adam_step": 0, "rmsprop_step": 3 - kept}[name]
    getattr(functional, name)(*expected, *missing, **options)
    getattr(cuda, name)(*given, *missing, **options)
    for actual, truth in zip(given, expected, strict=True):
        assert_close(device.get(actual), truth, K=2, kind="elementwise")
    assert_same_bits(device.get(given[1]), arrays[1])


def test_average_and_norm(device: Any) -> None:
    values, average = draw(40_000), draw(40_000, seed=1)
    expected, given = wide(values, average), put(device, values, average)
    functional.average_step(*expected, 0.25)
    cuda.average_step(*given, 0.25)
    assert_close(device.get(given[1]), expected[1], K=4, kind="forward")
    norm = cuda.global_norm(given[0])
    assert norm == pytest.approx(functional.global_norm(expected[0]), rel=1e-12)
    assert cuda.global_norm(device.put(np.full(3, 1e30, np.float32))) == pytest.approx(
        3**0.5 * 1e30, rel=1e-6
    )
    assert cuda.global_norm(device.put(np.zeros(0, np.float32))) == 0.0


WRONG: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "width": (
        lambda put: cuda.linear(put(draw(2, 3)), put(draw(4, 5))),
        ValueError,
        r"\[linear\] expected x of shape \(..., I\) = \(2, 5\), got \(2, 3\)",
    ),
    "host": (
        lambda put: cuda.linear(draw(2, 3), put(draw(4, 3))),
        TypeError,
        r"\[linear\] expected an array of a CUDA device, got a ndarray",
    ),
    "dtype": (
        lambda put: cuda.linear(put(draw(2, 3)), put(draw(4, 3).astype(np.float64))),
        TypeError,
        "expected weight of dtype float32, got float64",
    ),
    "order": (
        lambda put: cuda.linear(put(draw(3, 2)).T, put(draw(4, 3))),
        ValueError,
        "expected x to be C-contiguous",
    ),
    "target": (
        lambda put: cuda.linear_cross_entropy(put(draw(2, 3)), put(draw(4, 3)), None, [1, 4]),
        ValueError,
        r"expected targets in 0 .. 3 \(negative: ignored\), got 4 at position 1",
    ),
    "targets": (
        lambda put: cuda.linear_cross_entropy(put(draw(2, 3)), put(draw(4, 3)), None, [1]),
        ValueError,
        r"expected targets of shape \(N,\) = \(2,\), got \(1,\)",
    ),
    "precision": (
        lambda put: cuda.linear_cross_entropy(
            put(draw(2, 3)), put(draw(4, 3)), None, [1, 2], precision="int8"
        ),
        ValueError,
        "expected precision full or bf16, got int8",
    ),
    "smoothing": (
        lambda put: cuda.linear_cross_entropy_vjp(
            put(draw(2, 3)), put(draw(4, 3)), None, [1, 2], smoothing=1.0
        ),
        ValueError,
        r"expected smoothing in \[0, 1\), got 1",
    ),
    "index": (
        lambda put: cuda.embedding([2, -1], put(draw(4, 3))),
        ValueError,
        r"\[embedding\] expected indices in 0 .. 3, got -1 at position 1",
    ),
    "floats": (
        lambda put: cuda.embedding([0.5], put(draw(4, 3))),
        TypeError,
        "expected indices of an integer dtype",
    ),
    "dy": (
        lambda put: cuda.embedding_backward([1, 2], put(draw(3, 3)), dweight=put(draw(4, 3))),
        ValueError,
        r"expected dy of shape \(..., E\) for indices \(2,\), got \(3, 3\)",
    ),
    "probability": (
        lambda put: cuda.dropout(put(draw(3)), 1.0, seed=0),
        ValueError,
        r"\[dropout\] expected p in \[0, 1\), got 1",
    ),
    "velocity": (
        lambda put: cuda.sgd_step(
            put(draw(3)), put(draw(3)), None, lr=1.0, momentum=0.9, nesterov=False, weight_decay=0.0
        ),
        ValueError,
        "expected velocity for momentum != 0, got None",
    ),
    "size": (
        lambda put: cuda.average_step(put(draw(3)), put(draw(4)), 0.5),
        ValueError,
        r"expected average of shape \(P,\) = \(3,\), got \(4,\)",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arguments(device: Any, wrong: str) -> None:
    call, error, text = WRONG[wrong]
    with pytest.raises(error, match=text):
        call(device.put)
