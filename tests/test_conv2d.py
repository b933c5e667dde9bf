"""A convolution is torch's, its gradient is the slope, and what else is there changes no bit."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from tolerances import STEP, assert_close, assert_same_bits, assert_slope
from unrolled.layers import Conv2d

# (N, H, W, C, O) with kernel, stride and padding: one tap, uneven everything, strides that leave
# pixels over or jump across some, padding wider than needed, a kernel as large as the image.
CASES: list[tuple[tuple[int, ...], Any, Any, Any]] = [
    ((1, 1, 1, 1, 1), 1, 1, 0),
    ((2, 7, 5, 3, 4), (3, 2), 1, 0),
    ((3, 9, 8, 2, 17), (5, 3), (2, 3), (0, 1)),
    ((2, 6, 11, 1, 5), (2, 4), (3, 5), (1, 3)),
    ((1, 4, 6, 7, 3), (4, 6), 2, 0),
    ((0, 5, 5, 2, 3), 3, 1, 1),
]


def make(case: tuple[Any, ...], dtype: Any, rng: np.random.Generator) -> tuple[Conv2d, np.ndarray]:
    (n, h, w, c, o), kernel, stride, padding = case
    layer = Conv2d(c, o, kernel, stride, padding, dtype=dtype, rng=rng)
    layer.parameters["bias"][:] = rng.standard_normal(o)
    return layer, rng.standard_normal((n, h, w, c)).astype(dtype)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_torchs(case: tuple[Any, ...], dtype: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason='pip install "unrolled[peers]"')
    layer, x = make(case, dtype, rng)
    _, kernel, stride, padding = case
    module = torch.nn.Conv2d(
        layer.in_channels, layer.out_channels, kernel, stride, padding, dtype=torch.float64
    )
    module.load_state_dict(
        {name: torch.tensor(a, dtype=torch.float64) for name, a in layer.parameters.items()}
    )
    images = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    expected = module(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert expected.shape[1:3] == layer.output_shape(*x.shape[1:3])

    y, pullback = layer.vjp(x)
    weight = layer.parameters["weight"]
    taps, places = weight[0].size, expected[..., 0].numel()
    assert y.dtype == dtype
    assert_close(y, expected.detach().numpy(), K=taps + 1, kind="peer")
    assert_same_bits(layer(x), y)
    dy = rng.standard_normal(y.shape).astype(dtype)
    dx = pullback(dy)
    expected.backward(torch.tensor(dy, dtype=torch.float64))
    K = taps * layer.out_channels + 1
    assert_close(dx, images.grad.numpy(), K=K, kind="peer", what="dx")
    for name, parameter in module.named_parameters():
        assert_close(
            layer.grads[name], parameter.grad.numpy(), K=places + 1, kind="peer", what=name
        )


@pytest.mark.parametrize("case", CASES[:5], ids=str)
def test_gradient_is_the_slope(case: tuple[Any, ...], rng: np.random.Generator) -> None:
    layer, x = make(case, np.float64, rng)
    y, pullback = layer.vjp(x)
    dy = rng.standard_normal(y.shape)
    dx = pullback(dy)
    values, centre = layer.flat.values, layer.flat.values.copy()
    along, along_x = rng.standard_normal(values.shape), rng.standard_normal(x.shape)

    def loss(sign: float) -> float:
        values[:] = centre + sign * STEP * along
        return float((layer(x + sign * STEP * along_x) * dy).sum())

    difference = (loss(1.0) - loss(-1.0)) / (2 * STEP)
    terms = np.concatenate([layer.flat.grads * along, (dx * along_x).ravel()])
    assert_slope(float(terms.sum()), difference, float(np.abs(terms).sum()))


def test_gradients_add_up_and_dx_is_optional(rng: np.random.Generator) -> None:
    layer, x = make(CASES[2], np.float32, rng)
    y, pullback = layer.vjp(x)
    pullback(y)
    once = layer.flat.grads.copy()
    assert layer.vjp(x)[1](y, needs_dx=False) is None
    assert_same_bits(layer.flat.grads, 2 * once)


def test_bits_depend_on_what_is_seen_alone(isa: str, rng: np.random.Generator) -> None:
    """Of one image among others, and of a part of an image."""
    layer, x = make(((5, 12, 9, 3, 20), (3, 2), (2, 1), 0), np.float32, rng)
    y = layer(x)
    assert_same_bits(layer(x[3:4])[0], y[3])
    assert_same_bits(layer(np.ascontiguousarray(x[:, 4:9, 2:]))[:, :, :], y[:, 2:4, 2:])
    assert_same_bits(layer(x.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3)), y)


def test_copies_and_no_bias(rng: np.random.Generator) -> None:
    layer = Conv2d(2, 3, (3, 1), padding=(1, 0), bias=False, rng=rng)
    x = rng.standard_normal((2, 4, 5, 2)).astype(np.float32)
    assert set(layer.parameters) == {"weight"}
    assert_same_bits(copy.deepcopy(layer)(x), layer(x))
    layer.vjp(x)[1](layer(x))
    assert repr(layer) == "Conv2d(2, 3, (3, 1), padding=(1, 0), bias=False, dtype=float32)"


def test_errors(rng: np.random.Generator) -> None:
    for options, text in (
        ({"kernel_size": 0}, r"\[Conv2d\] expected kernel_size >= 1, got 0"),
        ({"stride": (1, 0)}, r"expected stride >= 1, got \(1, 0\)"),
        ({"padding": -1}, r"expected padding >= 0, got -1"),
        ({"in_channels": 0}, r"expected in_channels >= 1"),
        ({"kernel_size": (1, 2, 3)}, r"expected kernel_size to be one number or two"),
    ):
        with pytest.raises(ValueError, match=text):
            Conv2d(**{"in_channels": 2, "out_channels": 3, "kernel_size": 3, **options})
    layer = Conv2d(2, 3, 3, rng=rng)
    for shape in ((2, 4, 4), (1, 4, 4, 3)):
        with pytest.raises(ValueError, match=r"x of shape \(N, H, W, C\)"):
            layer(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=r"at least the kernel's size \(3, 3\).*got \(4, 2\)"):
        layer(np.zeros((1, 4, 2, 2), np.float32))
    with pytest.raises(TypeError, match="expected x of dtype float32, got float64"):
        layer(np.zeros((1, 4, 4, 2)))
    with pytest.raises(TypeError, match="got list"):
        layer([1.0])
