"""Batch normalisation is torch's, its running statistics too, and nothing else changes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerances import assert_close, assert_same_bits
from unrolled import functional, reference, training
from unrolled.layers import BatchNorm2d

SHAPES = [(2, 1, 1, 1), (3, 5, 4, 15), (1, 7, 9, 16), (2, 3, 5, 17), (4, 40, 41, 3)]


def make(
    shape: tuple[int, ...], dtype: Any, rng: np.random.Generator, activation: Any = "none"
) -> tuple[BatchNorm2d, np.ndarray]:
    layer = BatchNorm2d(shape[3], eps=1e-3, momentum=0.3, activation=activation, dtype=dtype)
    for name, array in layer.parameters.items():
        array[:] = rng.standard_normal(shape[3]) + 2
        if name == "running_var":
            array[:] = rng.random(shape[3]) + 0.5
    return layer, (rng.standard_normal(shape) * 2 + 1).astype(dtype)


@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
@pytest.mark.parametrize("frozen", [False, True], ids=["batch", "frozen"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_reference(
    shape: tuple[int, ...],
    frozen: bool,
    activation: Any,
    isa: str,
    dtype: Any,
    rng: np.random.Generator,
) -> None:
    layer, x = make(shape, dtype, rng, activation)
    weight, bias, mean, variance = (a.astype(np.float64) for a in layer.parameters.values())
    y, pullback = layer.vjp(x, frozen=frozen)
    dy = rng.standard_normal(shape).astype(dtype)
    dx = pullback(dy)
    kept = {"none": y == y, "relu": y > 0, "relu6": (y > 0) & (y < 6)}[activation]
    options: dict[str, Any] = {"eps": 1e-3, "running": (mean, variance) if frozen else None}
    wide = x.astype(np.float64)
    expected, *_ = reference.batch_norm_vjp(
        wide, weight, bias, dy * 0.0, **options, activation=activation
    )
    _, *grads = reference.batch_norm_vjp(
        wide, weight, bias, dy * kept, **options, activation="none"
    )
    # Sums over places, and a few roundings more; a division by the deviation enlarges them.
    count = x.size // shape[3]
    enlarged = 1 / np.sqrt((variance if frozen else wide.var((0, 1, 2))).min() + 1e-3)
    K = int((count + 12) * max(1.0, enlarged) ** 2)
    assert_close(y, expected, K=K, kind="forward", what="y")
    for actual, truth, what in zip(
        (dx, layer.grads["weight"], layer.grads["bias"]),
        grads,
        ("dx", "weight", "bias"),
        strict=True,
    ):
        assert_close(actual, truth, K=K, kind="gradient", what=what)
    if frozen:
        assert_same_bits(layer(x), y)
    for name, was, fresh in (
        ("running_mean", mean, wide.mean((0, 1, 2))),
        ("running_var", variance, wide.var((0, 1, 2), ddof=1)),
    ):
        now = was if frozen else 0.7 * was + 0.3 * fresh
        assert_close(layer.parameters[name], now, K=0 if frozen else count + 8, kind="forward")
        assert not layer.grads[name].any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_torchs(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason='pip install "unrolled[peers]"')
    layer, x = make(shape, np.float64, rng)
    module = torch.nn.BatchNorm2d(shape[3], eps=1e-3, momentum=0.3, dtype=torch.float64)
    state = {name: torch.tensor(array) for name, array in layer.parameters.items()}
    module.load_state_dict({**state, "num_batches_tracked": torch.tensor(0)})
    for frozen in (False, True):
        module.train(not frozen)
        module.zero_grad()
        layer.zero_grads()
        images = torch.tensor(x, requires_grad=True)
        expected = module(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y, pullback = layer.vjp(x, frozen=frozen)
        dy = rng.standard_normal(shape)
        expected.backward(torch.tensor(dy))
        K = 100 * x.size
        assert_close(y, expected.detach().numpy(), K=K, kind="peer")
        assert_close(pullback(dy), images.grad.numpy(), K=K, kind="peer")
        for name, array in module.state_dict().items():
            if name != "num_batches_tracked":
                assert_close(layer.parameters[name], array.numpy(), K=K, kind="peer", what=name)


def test_a_large_mean_costs_no_variance(rng: np.random.Generator) -> None:
    """The statistics are taken around means of blocks, not from sums of squares."""
    x = (rng.standard_normal((2, 40, 40, 5)) + 1000).astype(np.float32)
    mean, variance = functional.moments(x)
    wide = x.astype(np.float64)
    # x itself is rounded to 1000 * eps / 2, and a block's mean to as much.
    assert_close(mean, wide.mean((0, 1, 2)), K=4, kind="elementwise")
    assert_close(variance, wide.var((0, 1, 2)), K=64, kind="elementwise")


def test_threads_change_no_bit(isa: str, threads: None, rng: np.random.Generator) -> None:
    layer, x = make((7, 31, 30, 20), np.float32, rng, "relu")
    dy = rng.standard_normal(x.shape).astype(np.float32)
    start = layer.flat.values.copy()
    results = []
    for count in (1, 2, 5):
        functional.set_num_threads(count)
        layer.flat.values[:] = start
        layer.zero_grads()
        y, pullback = layer.vjp(x)
        results.append((y, pullback(dy), layer.flat.values.copy(), layer.flat.grads.copy()))
        assert_same_bits(results[-1], results[0], f"{count} threads")


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda m: training.SGD(m, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda m: training.RMSprop(m, lr=0.1, momentum=0.9, centered=True, weight_decay=0.1),
        lambda m: training.Adam(m, lr=0.1, weight_decay=0.1),
        lambda m: training.AdamW(m, lr=0.1, weight_decay=0.1),
    ],
    ids=["sgd", "rmsprop", "adam", "adamw"],
)
def test_optimizers_leave_running_statistics_alone(
    optimizer: Any, rng: np.random.Generator
) -> None:
    layer, x = make(SHAPES[1], np.float32, rng)
    optimizer = optimizer(layer)
    for _ in range(3):
        y, pullback = layer.vjp(x)
        pullback(y)
        before = {name: a.copy() for name, a in layer.parameters.items()}
        optimizer.step()
        for name in ("running_mean", "running_var"):
            assert_same_bits(layer.parameters[name], before[name])
        assert (layer.parameters["weight"] != before["weight"]).all()


def test_dx_is_optional_and_an_empty_batch_frozen(rng: np.random.Generator) -> None:
    layer, x = make(SHAPES[1], np.float32, rng)
    y, pullback = layer.vjp(x)
    assert pullback(y, needs_dx=False) is None
    assert layer.grads["weight"].all()
    y, pullback = layer.vjp(x[:0], frozen=True)
    assert pullback(y).shape == y.shape == (0, 5, 4, 15)


def test_errors(rng: np.random.Generator) -> None:
    for options, text in (
        ({"num_features": 0}, "num_features >= 1, got 0"),
        ({"eps": 0.0}, "eps > 0, got 0.0"),
        ({"momentum": 0.0}, "0 < momentum <= 1, got 0.0"),
        ({"activation": "tanh"}, "activation to be one of none, relu, relu6"),
    ):
        with pytest.raises(ValueError, match=rf"\[BatchNorm2d\] expected {text}"):
            BatchNorm2d(**{"num_features": 3, **options})
    layer = BatchNorm2d(3)
    assert repr(layer) == "BatchNorm2d(3, eps=1e-05, momentum=0.1, dtype=float32)"
    with pytest.raises(ValueError, match="at least two places in all"):
        layer.vjp(np.zeros((1, 1, 1, 3), np.float32))
    with pytest.raises(ValueError, match=r"x of shape \(N, H, W, C\)"):
        layer(np.zeros((1, 4, 4, 2), np.float32))
    with pytest.raises(TypeError, match="x of dtype float32, got float64"):
        layer(np.zeros((1, 4, 4, 3)))
