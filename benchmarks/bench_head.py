"""What surrounds the recurrent layer in training: softmax head, embedding, optimizer.

Ours beside NumPy and torch. The head is measured at a character model's vocabulary and at a word
model's, where the logits no longer fit into a cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shapes import CHAR_LM_SHAPE
from unrolled import bench, functional, reference

ROWS, HIDDEN = CHAR_LM_SHAPE.tokens, CHAR_LM_SHAPE.hidden
VOCABULARIES = (100, 10_000)
PARAMETERS = 400_000  # about as many as the character model has
SCALE = 1 / ROWS


def _head_arrays(vocabulary: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, HIDDEN), np.float32)
    weight = rng.standard_normal((vocabulary, HIDDEN), np.float32) / np.float32(HIDDEN**0.5)
    return x, weight, np.zeros(vocabulary, np.float32), rng.integers(0, vocabulary, ROWS)


def _ours_head(vocabulary: int, threads: int) -> Callable[[], tuple[Any, ...]]:
    x, weight, bias, targets = _head_arrays(vocabulary)
    return lambda: functional.linear_cross_entropy_vjp(x, weight, bias, targets, SCALE)


def _ours_head_bf16(vocabulary: int, threads: int) -> Callable[[], tuple[Any, ...]]:
    x, weight, bias, targets = _head_arrays(vocabulary)
    return lambda: functional.linear_cross_entropy_vjp(
        x, weight, bias, targets, SCALE, precision="bf16"
    )


def _numpy_head(vocabulary: int, threads: int) -> Callable[[], tuple[Any, ...]]:
    x, weight, bias, targets = _head_arrays(vocabulary)
    rows = np.arange(ROWS)

    def run() -> tuple[Any, ...]:
        logits = x @ weight.T + bias
        logits -= logits.max(axis=1, keepdims=True)
        exps = np.exp(logits)
        sums = exps.sum(axis=1, keepdims=True)
        losses = np.log(sums[:, 0]) - logits[rows, targets]
        exps /= sums
        exps[rows, targets] -= 1
        exps *= np.float32(SCALE)
        return losses, exps @ weight, exps.T @ x, exps.sum(axis=0)

    return run


def _torch_head(vocabulary: int, threads: int) -> Callable[[], tuple[Any, ...]]:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(threads)
    x, weight, bias, targets = (torch.from_numpy(array) for array in _head_arrays(vocabulary))
    wanted = [array.requires_grad_() for array in (x, weight, bias)]

    def run() -> tuple[Any, ...]:
        logits = torch.nn.functional.linear(x, weight, bias)
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        return (losses.detach(), *torch.autograd.grad(losses.sum() * SCALE, wanted))

    return run


def _torch_head_bf16(vocabulary: int, threads: int) -> Callable[[], tuple[Any, ...]]:
    """With the products in bfloat16, as under `torch.autocast`."""
    full = _torch_head(vocabulary, threads)
    torch = pytest.importorskip("torch")

    def run() -> tuple[Any, ...]:
        with torch.autocast("cpu", torch.bfloat16):
            return full()

    return run


HEADS = [_ours_head, _ours_head_bf16, _numpy_head, _torch_head, _torch_head_bf16]


@pytest.mark.parametrize("make", HEADS)
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def bench_softmax_head(
    benchmark: Any, vocabulary: int, make: Callable[..., Any], threads: int
) -> None:
    run = make(vocabulary, threads)
    arrays = _head_arrays(vocabulary)
    expected = reference.linear_cross_entropy_vjp(*arrays, SCALE)
    for actual, truth in zip(run(), expected, strict=True):
        scale = float(np.abs(truth).max())
        bound = 4 * max(ROWS, HIDDEN) * np.finfo(np.float32).eps * scale
        if "bf16" in make.__name__:
            bound = 2.0**-5 * scale
        assert np.abs(np.asarray(actual) - truth).max() <= bound
    benchmark.group = f"softmax head, {ROWS} rows, {vocabulary} words"
    bench.wait_until_quiet()
    benchmark(run)


def _ours_adamw(threads: int) -> Callable[[], object]:
    params, grads, m, v = np.random.default_rng(0).random((4, PARAMETERS), np.float32)
    constants = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01}

    def run() -> object:
        return functional.adam_step(params, grads, m, v, **constants, decoupled=True, step=10)

    return run


def _torch_adamw(threads: int) -> Callable[[], object]:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(threads)
    params = torch.nn.Parameter(torch.rand(PARAMETERS))
    params.grad = torch.rand(PARAMETERS)
    return torch.optim.AdamW([params], lr=1e-3, weight_decay=0.01, fused=True).step


@pytest.mark.parametrize("make", [_ours_adamw, _torch_adamw])
def bench_adamw(benchmark: Any, make: Callable[..., Any], threads: int) -> None:
    benchmark.group = f"AdamW, {PARAMETERS} parameters"
    run = make(threads)
    bench.wait_until_quiet()
    benchmark(run)


@pytest.mark.parametrize("which", ["unrolled", "numpy"])
def bench_embedding_backward(benchmark: Any, which: str, threads: int) -> None:
    rng = np.random.default_rng(0)
    vocabulary, size = VOCABULARIES[0], CHAR_LM_SHAPE.inputs
    indices = rng.integers(0, vocabulary, ROWS)
    dy = rng.standard_normal((ROWS, size), np.float32)
    ours, numpys = np.zeros((2, vocabulary, size), np.float32)
    functional.embedding_backward(indices, dy, dweight=ours)
    np.add.at(numpys, indices, dy)
    # Both add in float32, each word's rows in some order.
    assert np.abs(ours - numpys).max() <= ROWS * np.finfo(np.float32).eps * np.abs(dy).max()
    benchmark.group = f"embedding backward, {ROWS} rows of {size}"
    bench.wait_until_quiet()
    if which == "unrolled":
        benchmark(functional.embedding_backward, indices, dy, dweight=ours)
    else:
        benchmark(np.add.at, numpys, indices, dy)
