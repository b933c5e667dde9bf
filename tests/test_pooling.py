"""Pooling is torch's, and its gradients go where values came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerances import assert_close, assert_same_bits
from unrolled import functional, reference
from unrolled.layers import AvgPool2d, GlobalAvgPool2d, MaxPool2d

# x (N, H, W, C), kernel, stride, padding
CASES: list[tuple[tuple[int, ...], Any, Any, Any]] = [
    ((1, 1, 1, 1), 1, None, 0),
    ((2, 7, 6, 15), 2, None, 0),
    ((2, 9, 8, 16), 3, 2, 1),
    ((1, 8, 5, 17), (3, 2), (1, 3), (1, 0)),
    ((2, 7, 7, 67), 3, 2, "same"),
    ((2, 5, 40, 32), 3, 1, 1),
    ((0, 4, 4, 3), 2, None, 0),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_largest_values_are_the_references(
    case: tuple[Any, ...], isa: str, dtype: Any, rng: np.random.Generator
) -> None:
    shape, *sizes = case
    layer, x = MaxPool2d(*sizes), rng.integers(-3, 4, shape).astype(dtype)  # with equal values
    y, pullback = layer.vjp(x)
    dy = rng.standard_normal(y.shape).astype(dtype)
    windows = layer.windows
    expected, dx = reference.max_pool_vjp(
        x,
        dy.astype(np.float64),
        kernel=windows.kernel,
        stride=windows.stride,
        padding=windows.around(*shape[1:3]),
    )
    assert y.shape[1:3] == layer.output_shape(*shape[1:3])
    assert_same_bits(y.astype(np.float64), expected)
    assert_close(pullback(dy), dx, K=9, kind="gradient")


@pytest.mark.parametrize("case", CASES[:4] + CASES[5:6], ids=str)
def test_both_are_torchs(case: tuple[Any, ...], dtype: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason='pip install "unrolled[peers]"')
    shape, *sizes = case
    x = rng.standard_normal(shape).astype(dtype)
    for ours, theirs in (
        (MaxPool2d(*sizes), torch.nn.MaxPool2d(*sizes)),
        (AvgPool2d(*sizes), torch.nn.AvgPool2d(*sizes)),
    ):
        images = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        expected = theirs(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y, pullback = ours.vjp(x)
        dy = rng.standard_normal(y.shape).astype(dtype)
        expected.backward(torch.tensor(dy, dtype=torch.float64))
        assert_close(y, expected.detach().numpy(), K=10, kind="peer")
        assert_close(pullback(dy), images.grad.numpy(), K=10, kind="peer")


def test_threads_change_no_bit(isa: str, threads: None, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 40, 41, 20)).astype(np.float32)
    for layer in (MaxPool2d(3, 2, 1), AvgPool2d(3, 2, 1)):
        results = []
        for count in (1, 2, 5):
            functional.set_num_threads(count)
            y, pullback = layer.vjp(x)
            results.append((y, pullback(y)))
            assert_same_bits(results[-1], results[0], f"{count} threads")
        assert_same_bits(layer(x[:1]), results[0][0][:1])


def test_a_nan_always_wins_and_stays_in_its_image(isa: str, rng: np.random.Generator) -> None:
    layer, x = MaxPool2d(2), rng.standard_normal((2, 4, 4, 17)).astype(np.float32)
    clean = layer(x)
    for place in np.ndindex(2, 2):
        broken = x.copy()
        broken[(0, *place)] = np.nan
        y, pullback = layer.vjp(broken)
        assert np.isnan(y[0, 0, 0]).all()
        assert_same_bits(y[1], clean[1])
        dx = pullback(np.ones_like(y))
        assert (dx[(0, *place)] == 1).all()
        assert not np.isnan(dx).any()


def test_the_mean_over_all_places(dtype: Any, rng: np.random.Generator) -> None:
    layer, x = GlobalAvgPool2d(), rng.standard_normal((2, 3, 5, 4)).astype(dtype)
    y, pullback = layer.vjp(x)
    assert_close(y, x.astype(np.float64).mean((1, 2)), K=15, kind="forward")
    dy = rng.standard_normal(y.shape).astype(dtype)
    expected = np.broadcast_to(dy.astype(np.float64)[:, None, None] / 15, x.shape)
    dx = pullback(dy)
    assert dx.dtype == dtype
    assert_close(dx, expected, K=2, kind="gradient")


def test_errors() -> None:
    assert repr(MaxPool2d(3, 2, 1)) == "MaxPool2d((3, 3), stride=(2, 2), padding=(1, 1))"
    assert repr(AvgPool2d(2, padding="same")) == "AvgPool2d((2, 2), padding='same')"
    assert repr(GlobalAvgPool2d()) == "GlobalAvgPool2d()"
    for kind in (MaxPool2d, AvgPool2d):
        with pytest.raises(ValueError, match=rf"\[{kind.__name__}\] expected stride >= 1, got 0"):
            kind(2, 0)
        with pytest.raises(ValueError, match="at least the kernel's size"):
            kind(3)(np.zeros((1, 2, 2, 1)))
        with pytest.raises(ValueError, match=r"x of shape \(N, H, W, C\)"):
            kind(3)(np.zeros((2, 2, 1)))
    x = np.zeros((1, 4, 4, 1))
    with pytest.raises(MemoryError):
        MaxPool2d(2**30, 1, 2**29)(x)
    with pytest.raises(ValueError, match="kernel, strides and padding of at most 2147483648"):
        MaxPool2d(2**32, 1, 2**31)(x)
    with pytest.raises(ValueError, match="images with places"):
        GlobalAvgPool2d()(np.zeros((1, 0, 2, 1)))
