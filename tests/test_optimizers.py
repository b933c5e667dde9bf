"""Optimizers and clipping against their equations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from unrolled import Layer
from unrolled.training import SGD, Adam, AdamW, RMSprop, clip_scale

# Adam's quotient m / sqrt(v) is of order 1 and a dozen operations long.
TOLERANCE = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-14}


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def model(request: pytest.FixtureRequest) -> Layer:
    rng = np.random.default_rng(3)
    shapes = {"bias": (7,), "weight": (5, 7), "gain": (3,), "other": (2, 3, 2)}
    return Layer({name: rng.normal(size=s).astype(request.param) for name, s in shapes.items()})


KINDS = [SGD, RMSprop, Adam, AdamW]


def options_of(kind: Any) -> dict[str, Any]:
    if kind is SGD:
        return {"momentum": 0.9, "nesterov": True}
    return {"momentum": 0.9, "centered": True} if kind is RMSprop else {}


def give_gradients(model: Layer, seed: int) -> None:
    model.flat.grads[:] = np.random.default_rng(seed).normal(size=model.flat.grads.shape)


def close(model: Layer, expected: dict[str, np.ndarray]) -> None:
    for name, parameter in model.parameters.items():
        tolerance = TOLERANCE[parameter.dtype]
        np.testing.assert_allclose(parameter, expected[name], rtol=tolerance, atol=tolerance)


def in_float64(model: Layer) -> dict[str, np.ndarray]:
    return {name: np.array(array, np.float64) for name, array in model.parameters.items()}


@pytest.mark.parametrize("decoupled", [False, True], ids=["adam", "adamw"])
def test_adam_follows_its_equations(model: Layer, decoupled: bool) -> None:
    lr, decay, (beta1, beta2), eps = 0.01, 0.1, (0.8, 0.95), 1e-6
    kind = AdamW if decoupled else Adam
    optimizer = kind(model, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=decay)
    p = in_float64(model)
    m = {name: np.zeros_like(array) for name, array in p.items()}
    v = {name: np.zeros_like(array) for name, array in p.items()}
    for step in range(1, 6):
        give_gradients(model, step)
        scale, factor = 0.5, 1.0 / step
        optimizer.step(lr_scale=factor, grad_scale=scale)
        for name, gradient in model.grads.items():
            g = gradient.astype(np.float64) * scale
            own_decay = decay if p[name].ndim >= 2 else 0.0
            if decoupled:
                p[name] *= 1.0 - lr * factor * own_decay
            else:
                g = g + own_decay * p[name]
            m[name] = beta1 * m[name] + (1.0 - beta1) * g
            v[name] = beta2 * v[name] + (1.0 - beta2) * g * g
            corrected = m[name] / (1.0 - beta1**step)
            p[name] -= lr * factor * corrected / (np.sqrt(v[name] / (1.0 - beta2**step)) + eps)
    assert optimizer.steps == 5
    close(model, p)


@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)], ids=str
)
def test_sgd_follows_its_equations(model: Layer, momentum: float, nesterov: bool) -> None:
    lr, decay = 0.05, 0.01
    optimizer = SGD(model, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay)
    p = in_float64(model)
    velocity = {name: np.zeros_like(array) for name, array in p.items()}
    for step in range(4):
        give_gradients(model, step)
        optimizer.step(grad_scale=2.0)
        for name, gradient in model.grads.items():
            own_decay = decay if p[name].ndim >= 2 else 0.0
            g = gradient.astype(np.float64) * 2.0 + own_decay * p[name]
            velocity[name] = momentum * velocity[name] + g
            p[name] -= lr * (g + momentum * velocity[name] if nesterov else velocity[name])
    close(model, p)


@pytest.mark.parametrize(
    ("momentum", "centered"), [(0.0, False), (0.9, False), (0.9, True)], ids=str
)
def test_rmsprop_follows_its_equations(model: Layer, momentum: float, centered: bool) -> None:
    lr, decay, alpha, eps = 0.01, 0.1, 0.9, 1e-4
    optimizer = RMSprop(
        model,
        lr=lr,
        alpha=alpha,
        eps=eps,
        momentum=momentum,
        centered=centered,
        weight_decay=decay,
    )
    p = in_float64(model)
    square = {name: np.zeros_like(array) for name, array in p.items()}
    mean = {name: np.zeros_like(array) for name, array in p.items()}
    velocity = {name: np.zeros_like(array) for name, array in p.items()}
    for step in range(5):
        give_gradients(model, step)
        optimizer.step(grad_scale=0.5)
        for name, gradient in model.grads.items():
            own_decay = decay if p[name].ndim >= 2 else 0.0
            g = gradient.astype(np.float64) * 0.5 + own_decay * p[name]
            square[name] = alpha * square[name] + (1.0 - alpha) * g * g
            mean[name] = alpha * mean[name] + (1.0 - alpha) * g
            variance = square[name] - mean[name] ** 2 if centered else square[name]
            velocity[name] = momentum * velocity[name] + g / (np.sqrt(variance) + eps)
            p[name] -= lr * velocity[name]
    close(model, p)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_clipped(model: Layer, kind: Any) -> None:
    """Clamping in the fused pass is clamping before it."""
    values = model.flat.values.copy()
    give_gradients(model, 1)
    kind(model, lr=0.1).step(grad_scale=0.5, clip_value=0.25)
    clamped = model.flat.values.copy()
    model.flat.values[:] = values
    model.flat.grads[:] = np.clip(model.flat.grads * model.dtype.type(0.5), -0.25, 0.25)
    kind(model, lr=0.1).step()
    np.testing.assert_array_equal(clamped, model.flat.values)
    with pytest.raises(ValueError, match="clip_value > 0, got 0"):
        kind(model, lr=0.1).step(clip_value=0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_torch(model: Layer, kind: Any) -> None:
    torch = pytest.importorskip("torch", reason="torch comes with the extra [peers]")
    theirs = {
        name: torch.tensor(array, requires_grad=True) for name, array in model.parameters.items()
    }
    matrices = [p for p in theirs.values() if p.ndim >= 2]
    vectors = [p for p in theirs.values() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    options = options_of(kind)
    mine = kind(model, lr=0.02, weight_decay=0.1, **options)
    other = getattr(torch.optim, kind.__name__)(groups, lr=0.02, **options)
    for step in range(5):
        give_gradients(model, step)
        for name, gradient in model.grads.items():
            theirs[name].grad = torch.tensor(gradient.copy())
        mine.step()
        other.step()
    close(model, {name: p.detach().numpy() for name, p in theirs.items()})


@pytest.mark.parametrize("kind", KINDS)
def test_state_goes_to_another_optimizer(model: Layer, kind: Any) -> None:
    options = options_of(kind)
    first = kind(model, lr=0.1, **options)
    give_gradients(model, 0)
    first.step()
    state = {name: array.copy() for name, array in first.state().items()}
    values = model.flat.values.copy()
    first.step()
    after = model.flat.values.copy()

    model.flat.values[:] = values
    second = kind(model, lr=0.1, **options)
    second.load_state(state)
    assert second.steps == 1
    second.step()
    np.testing.assert_array_equal(model.flat.values, after)


def test_foreign_state_is_refused(model: Layer) -> None:
    adam = Adam(model)
    with pytest.raises(ValueError, match="expected a state with m, steps, v, got steps"):
        adam.load_state(SGD(model, lr=0.1).state())
    state = adam.state()
    with pytest.raises(ValueError, match="expected m of shape"):
        adam.load_state({**state, "m": state["m"][:-1]})
    assert adam.steps == 0


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SGD, {"lr": -1.0}),
        (SGD, {"lr": math.nan}),
        (SGD, {"lr": 0.1, "momentum": 1.0}),
        (SGD, {"lr": 0.1, "nesterov": True}),
        (RMSprop, {"alpha": 1.0}),
        (RMSprop, {"eps": 0.0}),
        (RMSprop, {"momentum": -0.1}),
        (Adam, {"betas": (0.9, 1.0)}),
        (Adam, {"eps": 0.0}),
        (AdamW, {"weight_decay": -0.1}),
    ],
)
def test_bad_options_are_refused(model: Layer, kind: type[SGD], options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=kind.__name__):
        kind(model, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_learns_more_slowly(model: Layer, kind: Any) -> None:
    start = in_float64(model)
    ends = {}
    for factor in (1.0, 0.25):
        model.load_parameters({n: a.astype(model.dtype) for n, a in start.items()})
        optimizer = kind(model, lr=0.01, weight_decay=0.1, **options_of(kind))
        if factor != 1.0:
            for name in ("weight", "gain"):
                optimizer.slow_down(name, factor)
        give_gradients(model, 1)
        optimizer.step(lr_scale=0.5)
        ends[factor] = in_float64(model)
    for name in start:
        moved, slower = (ends[factor][name] - start[name] for factor in (1.0, 0.25))
        factor = 0.25 if name in ("weight", "gain") else 1.0
        tolerance = 4 * np.finfo(model.dtype).eps  # of the values, which are of order 1
        np.testing.assert_allclose(slower, factor * moved, atol=tolerance, rtol=1e-4)
        assert np.abs(moved).max() > 100 * tolerance


def test_what_cannot_be_slowed_down_is_refused(model: Layer) -> None:
    optimizer = Adam(model)
    with pytest.raises(ValueError, match="no parameter's name begins with 'head'"):
        optimizer.slow_down("head", 0.1)
    with pytest.raises(ValueError, match="factor >= 0"):
        optimizer.slow_down("weight", -1.0)


def test_clipping_scales_only_what_is_too_long() -> None:
    grads = np.array([3.0, -4.0], np.float32)
    assert clip_scale(grads, None) == (5.0, 1.0)
    assert clip_scale(grads, 5.0) == (5.0, 1.0)
    norm, scale = clip_scale(grads, 1.0)
    assert norm == 5.0
    assert scale == pytest.approx(0.2)
    assert clip_scale(grads, 1.0, 5) == (1.0, 0.2), "of the mean over five targets"
    norm, scale = clip_scale(grads, 0.5, 5)
    assert (norm, scale) == (1.0, pytest.approx(0.1))
    norm, _ = clip_scale(np.array([1.0, np.nan], np.float32), 1.0)
    assert math.isnan(norm)
