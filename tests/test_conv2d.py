"""A convolution is torch's, its gradient is the slope, and what else is there changes no bit."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from tolerances import STEP, assert_close, assert_same_bits, assert_slope
from unrolled import functional, reference
from unrolled.layers import BatchNorm2d, Conv2d

# (N, H, W, C, O) with kernel, stride, padding and groups: one tap, uneven everything, strides that
# leave pixels over or jump across some, padding wider than needed, wider than the kernel and on one
# side alone, a kernel as large as the image, as many channels as a vector has lanes, one more and
# one less, groups of one channel and of several, no image.
CASES: list[tuple[tuple[int, ...], Any, Any, Any, int]] = [
    ((1, 1, 1, 1, 1), 1, 1, 0, 1),
    ((2, 7, 5, 3, 4), (3, 2), 1, 0, 1),
    ((3, 9, 8, 2, 17), (5, 3), (2, 3), (0, 1), 1),
    ((2, 6, 11, 1, 5), (2, 4), (3, 5), (1, 3), 1),
    ((1, 4, 6, 7, 3), (4, 6), 2, 0, 1),
    ((0, 5, 5, 2, 3), 3, 1, 1, 1),
    ((2, 13, 7, 15, 33), 1, 1, 0, 1),
    ((2, 7, 9, 17, 16), 1, 2, 0, 1),
    ((1, 1, 1, 16, 31), 3, 1, 1, 1),
    ((2, 11, 13, 16, 67), 3, 1, ((0, 2), (1, 0)), 1),
    ((2, 8, 7, 5, 40), 3, 2, "same", 1),
    ((2, 5, 4, 2, 3), 2, 3, ((4, 1), (0, 5)), 1),
    ((2, 6, 7, 1, 1), 3, 1, 1, 1),
    ((2, 9, 7, 15, 15), 3, 1, 1, 15),
    ((2, 9, 10, 16, 16), 5, 2, "same", 16),
    ((1, 7, 8, 17, 17), 3, 2, ((0, 1), (1, 0)), 17),
    ((1, 6, 5, 67, 67), (1, 7), 3, (2, 4), 67),
    ((3, 14, 3, 5, 5), 2, 1, 0, 5),
    ((2, 7, 6, 6, 9), (3, 2), (1, 2), 1, 3),
    ((2, 5, 6, 34, 4), 3, 1, 1, 2),
    ((2, 4, 5, 4, 8), 1, 1, 0, 4),
    ((2, 5, 6, 3, 3), 1, 1, 0, 3),
    # Wide enough for what lies between the sides of an image to be read in place.
    ((2, 5, 40, 32, 32), 3, 1, 1, 32),
    ((1, 9, 45, 16, 16), 5, 2, "same", 16),
    ((2, 6, 37, 16, 24), (3, 1), 1, (1, 0), 1),
]


def make(
    case: tuple[Any, ...], dtype: Any, rng: np.random.Generator, activation: Any = "none"
) -> tuple[Conv2d, np.ndarray]:
    (n, h, w, c, o), kernel, stride, padding, groups = case
    options = {"groups": groups, "activation": activation, "dtype": dtype, "rng": rng}
    layer = Conv2d(c, o, kernel, stride, padding, **options)
    layer.parameters["bias"][:] = rng.standard_normal(o)
    return layer, rng.standard_normal((n, h, w, c)).astype(dtype)


@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_the_reference(
    case: tuple[Any, ...], activation: Any, isa: str, dtype: Any, rng: np.random.Generator
) -> None:
    layer, x = make(case, dtype, rng, activation)
    if activation == "relu6":
        layer.parameters["bias"][:] += 5
    y, pullback = layer.vjp(x)
    dy = rng.standard_normal(y.shape).astype(dtype)
    dx = pullback(dy)
    weight = layer.parameters["weight"]
    shape = {
        "stride": layer.windows.stride,
        "padding": layer.windows.around(*x.shape[1:3]),
        "groups": layer.groups,
    }
    given = [a.astype(np.float64) for a in (x, weight, layer.parameters["bias"])]
    # Which outputs are cut off is decided by y as it was rounded.
    kept = {"none": y == y, "relu": y > 0, "relu6": (y > 0) & (y < 6)}[activation]
    expected, *_ = reference.conv2d_vjp(*given, dy * 0.0, **shape, activation=activation)
    _, *grads = reference.conv2d_vjp(*given, dy * kept, **shape, activation="none")
    taps, places = weight[0].size, y[..., 0].size
    assert y.dtype == dtype
    assert_close(y, expected, K=taps + 1, kind="forward", what="y")
    assert_same_bits(layer(x), y)
    K = taps * layer.out_channels // layer.groups + 1
    assert_close(dx, grads[0], K=K, kind="gradient", what="dx")
    for name, expected in zip(("weight", "bias"), grads[1:], strict=True):
        assert_close(layer.grads[name], expected, K=places + 1, kind="gradient", what=name)
    assert_same_bits(layer.packed()(x), y)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case[3] != "same" and np.ndim(case[3]) < 2], ids=str
)
def test_it_is_torchs(case: tuple[Any, ...], dtype: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason='pip install "unrolled[peers]"')
    layer, x = make(case, dtype, rng)
    _, kernel, stride, padding, groups = case
    module = torch.nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        kernel,
        stride,
        padding,
        groups=groups,
        dtype=torch.float64,
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
    assert_close(y, expected.detach().numpy(), K=taps + 1, kind="peer")
    dy = rng.standard_normal(y.shape).astype(dtype)
    dx = pullback(dy)
    expected.backward(torch.tensor(dy, dtype=torch.float64))
    K = taps * layer.out_channels // groups + 1
    assert_close(dx, images.grad.numpy(), K=K, kind="peer", what="dx")
    for name, parameter in module.named_parameters():
        assert_close(
            layer.grads[name], parameter.grad.numpy(), K=places + 1, kind="peer", what=name
        )


@pytest.mark.parametrize("case", [case for case in CASES if case[0][0] > 0], ids=str)
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


def test_a_stride_may_reach_beyond_the_image(isa: str, rng: np.random.Generator) -> None:
    """Then there is one place, and the gradient's work is that of the image, not of the stride."""
    near, x = make(((2, 7, 6, 3, 4), 3, (7, 6), 1, 1), np.float32, rng)
    far = Conv2d(3, 4, 3, (2**31, 2**30), 1, rng=rng)
    far.flat.values[:] = near.flat.values
    (y, pullback), (y_far, pullback_far) = near.vjp(x), far.vjp(x)
    assert y.shape == (2, 1, 1, 4)
    assert_same_bits(y_far, y)
    assert_same_bits(pullback_far(y), pullback(y))
    assert_same_bits(far.flat.grads, near.flat.grads)


def test_bits_depend_on_what_is_seen_alone(isa: str, rng: np.random.Generator) -> None:
    """Of one image among others, and of a part of an image."""
    layer, x = make(((5, 12, 9, 3, 20), (3, 2), (2, 1), 0, 1), np.float32, rng)
    y = layer(x)
    assert_same_bits(layer(x[3:4])[0], y[3])
    assert_same_bits(layer(np.ascontiguousarray(x[:, 4:9, 2:]))[:, :, :], y[:, 2:4, 2:])
    assert_same_bits(layer(x.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3)), y)


# Large enough for several threads, parts of the gradient, pieces of a line and blocks of lines.
LARGE: list[tuple[tuple[int, ...], Any, Any, Any, int]] = [
    ((3, 40, 48, 5, 20), 3, 1, 1, 1),
    ((4, 31, 33, 40, 24), 1, 1, 0, 1),
    ((3, 64, 50, 33, 33), 3, 2, "same", 33),
    ((1, 7, 7, 96, 200), 1, 1, 0, 1),
    ((3, 40, 50, 48, 48), 5, 1, 2, 48),
    ((5, 30, 31, 8, 24), 3, 2, 1, 4),
]


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_threads_and_other_images_change_no_bit(
    case: tuple[Any, ...], isa: str, threads: None, rng: np.random.Generator
) -> None:
    layer, x = make(case, np.float32, rng, "relu")
    dy = rng.standard_normal(layer(x).shape).astype(np.float32)
    results = []
    for count in (1, 2, 3, 7):
        functional.set_num_threads(count)
        layer.zero_grads()
        y, pullback = layer.vjp(x)
        results.append((y, pullback(dy), layer.flat.grads.copy()))
        assert_same_bits(results[-1], results[0], f"{count} threads")
    y, pullback = layer.vjp(x[:1])
    assert_same_bits(y, results[0][0][:1])
    assert_same_bits(pullback(dy[:1]), results[0][1][:1])


@pytest.mark.parametrize("case", [CASES[9], CASES[6], CASES[13], CASES[18]], ids=str)
def test_nan_stays_in_its_image(case: tuple[Any, ...], isa: str, rng: np.random.Generator) -> None:
    layer, x = make(case, np.float32, rng, "relu6")
    clean, pullback = layer.vjp(x)
    dy = rng.standard_normal(clean.shape).astype(np.float32)
    clean_dx = pullback(dy)
    x[0] = np.nan
    y, pullback = layer.vjp(x)
    assert np.isnan(y[0]).any()
    assert_same_bits(y[1:], clean[1:])
    assert_same_bits(pullback(dy)[1:], clean_dx[1:])


def test_a_large_gradient_is_the_adjoint(isa: str, rng: np.random.Generator) -> None:
    """<dy, J dx> = <J^T dy, dx> in float64, where the compiled code sums parts and blocks."""
    for case in LARGE:
        layer, x = make(case, np.float64, rng)
        y, pullback = layer.vjp(x)
        dy = rng.standard_normal(y.shape)
        dx = pullback(dy)
        layer.parameters["bias"][:] = 0
        ahead = float((layer(x) * dy).sum())
        places, taps = y[..., 0].size, layer.parameters["weight"][0].size
        scale = float(np.abs(layer(x) * dy).sum())
        weights = float((layer.grads["weight"] * layer.parameters["weight"]).sum())
        for back, name in ((float((dx * x).sum()), "dx"), (weights, "dweight")):
            error = abs(back - ahead)
            assert error <= (places + taps) * np.finfo(np.float64).eps * scale, (case, name, error)


def test_a_norm_that_follows_is_part_of_the_packed_layer(rng: np.random.Generator) -> None:
    for groups, bias in ((1, True), (6, False)):
        layer = Conv2d(6, 12, 3, 1, 1, bias, groups=groups, dtype="float64", rng=rng)
        norm = BatchNorm2d(12, activation="relu6", dtype="float64")
        for name, array in norm.parameters.items():
            array[:] = rng.random(12) if name == "running_var" else rng.standard_normal(12)
        x = rng.standard_normal((2, 5, 4, 6))
        packed = layer.packed(norm)
        assert_close(packed(x), norm(layer(x)), K=60, kind="forward")
        residual = rng.standard_normal((2, 5, 4, 12))
        plain = Conv2d(6, 12, 3, 1, 1, bias, groups=groups, dtype="float64", init="zeros")
        for name, array in plain.parameters.items():
            array[:] = layer.parameters[name]
        assert_same_bits(plain.packed()(x, residual), plain(x) + residual)
        with pytest.raises(ValueError, match="a norm of 12 features after a convolution without"):
            layer.packed(BatchNorm2d(11, dtype="float64"))


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
        ({"padding": ((1, 1), (-1, 0))}, r"expected padding >= 0, got \(-1, 0\)"),
        ({"padding": ((1, 1), (0, 0), (1, 1))}, r"expected padding \(\(top, bottom\)"),
        ({"padding": "valid"}, r"expected padding to be numbers or \"same\", got 'valid'"),
        ({"groups": 2}, r"expected groups that divide in_channels 2 and out_channels 3, got 2"),
        ({"groups": 0}, r"expected groups >= 1, got 0"),
        ({"activation": "tanh"}, r"activation to be one of none, relu, relu6, got 'tanh'"),
    ):
        with pytest.raises(ValueError, match=text):
            Conv2d(**{"in_channels": 2, "out_channels": 3, "kernel_size": 3, **options})
    layer = Conv2d(2, 3, 3, rng=rng)
    for shape in ((2, 4, 4), (1, 4, 4, 3)):
        with pytest.raises(ValueError, match=r"x of shape \(N, H, W, C\)"):
            layer(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=r"at least the kernel's size \(3, 3\).*got \(4, 2\)"):
        layer(np.zeros((1, 4, 2, 2), np.float32))
    with pytest.raises(ValueError, match="strides and padding of at most 2147483648 places, got"):
        Conv2d(2, 3, 3, (1, 2**31 + 1), rng=rng)(np.zeros((1, 4, 4, 2), np.float32))
    with pytest.raises(TypeError, match="expected x of dtype float32, got float64"):
        layer(np.zeros((1, 4, 4, 2)))
    with pytest.raises(TypeError, match="got list"):
        layer([1.0])
