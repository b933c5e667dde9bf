"""Adam, AdamW, SGD, RMSprop, averages and the global norm, each one pass over a flat buffer."""

from __future__ import annotations

import numpy as np
import pytest

from tolerances import FACTORS, assert_same_bits, eps
from unrolled import functional, reference


def normal(rng: np.random.Generator, dtype: type, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def optimizer_arrays(dtype: type, size: int, *, zero: bool) -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    arrays = [normal(rng, dtype, size) for _ in range(3)]
    arrays.append(rng.random(size).astype(dtype))
    if zero:
        arrays[0][:] = 0.0
    return arrays


def assert_relative(actual: np.ndarray, expected: np.ndarray, terms: np.ndarray, what: str) -> None:
    """Element by element, relative to the size of the terms that were added up."""
    bound = FACTORS["elementwise"] * eps(actual.dtype) * terms
    error = np.abs(actual - expected)
    assert (error <= bound).all(), f"{what}: {np.max(error / terms):.3g} of the terms"


@pytest.mark.parametrize("size", [0, 1, 15, 17, 1000])
@pytest.mark.parametrize("decoupled", [True, False], ids=["adamw", "adam"])
@pytest.mark.parametrize("zero", [True, False], ids=["update", "params"])
def test_adam(isa: str, dtype: type, size: int, decoupled: bool, zero: bool) -> None:
    """From zero parameters the update itself is seen to full relative precision."""
    params, grads, m, v = optimizer_arrays(dtype, size, zero=zero)
    options = {
        "lr": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.05,
        "decoupled": decoupled, "step": 3, "grad_scale": 0.25,
    }  # fmt: skip
    expected = reference.adam_step(params, grads, m, v, **options)
    gradient = 0.25 * np.abs(grads) + 0.05 * np.abs(params)
    m_terms = 0.9 * np.abs(m) + 0.1 * gradient
    update = 1e-2 * m_terms / 0.271 / np.sqrt(expected[2] / (1 - 0.999**3)) if size else m_terms
    v_terms, p_terms = 0.999 * v + 0.001 * gradient**2, np.abs(params) + update
    untouched = grads.copy()
    functional.adam_step(params, grads, m, v, **options)
    assert_relative(m, expected[1], m_terms, "m")
    assert_relative(v, expected[2], v_terms, "v")
    assert_relative(params, expected[0], p_terms, "params")
    assert_same_bits(grads, untouched)


def test_adam_first_step_is_the_sign_of_the_gradient(isa: str, dtype: type) -> None:
    grads = np.array([1e-3, -2.0, 30.0], dtype)
    params, m, v = (np.zeros(3, dtype) for _ in range(3))
    functional.adam_step(
        params, grads, m, v, lr=0.5, beta1=0.9, beta2=0.999, eps=0.0, weight_decay=0.0,
        decoupled=True, step=1,
    )  # fmt: skip
    assert_relative(params, np.array([-0.5, 0.5, -0.5]), np.full(3, 0.5), "params")


@pytest.mark.parametrize("size", [0, 1, 17, 1000])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd(isa: str, dtype: type, size: int, momentum: float, nesterov: bool) -> None:
    params, grads, velocity, _ = optimizer_arrays(dtype, size, zero=False)
    state = velocity if momentum else None
    options = {
        "lr": 0.1, "momentum": momentum, "nesterov": nesterov, "weight_decay": 0.05,
        "grad_scale": 0.5,
    }  # fmt: skip
    expected = reference.sgd_step(params, grads, state, **options)
    terms = np.abs(params) + np.abs(grads) + np.abs(velocity)
    functional.sgd_step(params, grads, state, **options)
    assert_relative(params, expected[0], terms, "params")
    if state is not None:
        assert_relative(state, expected[1], terms, "velocity")


@pytest.mark.parametrize("size", [0, 1, 17, 1000])
@pytest.mark.parametrize("centered", [False, True], ids=["plain", "centered"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop(isa: str, dtype: type, size: int, centered: bool, momentum: float) -> None:
    params, grads, velocity, square = optimizer_arrays(dtype, size, zero=False)
    square += dtype(1.0)  # well above the square of the mean: the variance is well conditioned
    mean = grads[::-1].copy() * dtype(0.1) if centered else None
    state = velocity if momentum else None
    options = {
        "lr": 0.1, "alpha": 0.9, "eps": 1e-3, "momentum": momentum, "weight_decay": 0.05,
        "grad_scale": 0.5, "clip_value": 0.7,
    }  # fmt: skip
    expected = reference.rmsprop_step(params, grads, square, mean, state, **options)
    terms = np.abs(params) + np.abs(grads) + np.abs(velocity) + square
    functional.rmsprop_step(params, grads, square, mean, state, **options)
    assert_relative(params, expected[0], terms, "params")
    assert_relative(square, expected[1], terms, "square")
    if mean is not None and expected[2] is not None:
        assert_relative(mean, expected[2], terms, "mean")
    if state is not None:
        assert_relative(state, expected[3], terms, "velocity")


def test_centered_rmsprop_of_a_constant_gradient_is_finite(isa: str, dtype: type) -> None:
    """The variance is zero then, and rounding must not take it below."""
    params, square, mean = np.zeros(40, dtype), np.zeros(40, dtype), np.zeros(40, dtype)
    grads = np.linspace(-3, 3, 40).astype(dtype)
    for _ in range(200):
        functional.rmsprop_step(
            params, grads, square, mean, None, lr=1e-3, alpha=0.9, eps=1e-2, momentum=0.0,
            weight_decay=0.0,
        )  # fmt: skip
        assert np.isfinite(params).all()


@pytest.mark.parametrize("size", [0, 1, 17, 1000])
@pytest.mark.parametrize("weight", [0.0, 0.001, 1.0])
def test_average(isa: str, dtype: type, size: int, weight: float) -> None:
    params, average, *_ = optimizer_arrays(dtype, size, zero=False)
    expected = average + weight * (params.astype(np.float64) - average)
    functional.average_step(params, average, weight)
    assert_relative(average, expected, np.abs(params) + np.abs(average) + 1.0, "average")


@pytest.mark.parametrize("kind", ["adam", "sgd", "rmsprop"])
def test_gradients_are_scaled_then_clamped(isa: str, dtype: type, kind: str) -> None:
    """The same bits as clamping beforehand; NaN is not hidden."""
    size = 37
    grads = normal(np.random.default_rng(2), dtype, size)
    clamped = np.clip(grads * dtype(0.5), dtype(-0.25), dtype(0.25))

    def step(grads: np.ndarray, **gradient: float) -> np.ndarray:
        params, first, second = (np.full(size, value, dtype) for value in (1.0, 0.1, 0.2))
        shared = {"lr": 0.1, "weight_decay": 0.0, **gradient}
        if kind == "adam":
            functional.adam_step(
                params, grads, first, second, beta1=0.9, beta2=0.99, eps=1e-8, decoupled=True,
                step=2, **shared,
            )  # fmt: skip
        elif kind == "sgd":
            functional.sgd_step(params, grads, first, momentum=0.9, nesterov=True, **shared)
        else:
            functional.rmsprop_step(
                params, grads, second, None, first, alpha=0.9, eps=1e-8, momentum=0.9, **shared
            )
        return params

    assert_same_bits(step(grads, grad_scale=0.5, clip_value=0.25), step(clamped))
    grads[5] = np.nan
    assert np.isnan(step(grads, clip_value=0.25)).nonzero()[0].tolist() == [5]


def test_optimizers_work_on_slices(isa: str, dtype: type) -> None:
    """Weight decay acts on one slice of the flat buffer and leaves the rest alone."""
    flat, grads, m, v = (np.ones(40, dtype) for _ in range(4))
    part = slice(3, 20)
    functional.adam_step(
        flat[part], grads[part], m[part], v[part], lr=0.1, beta1=0.9, beta2=0.9, eps=1e-8,
        weight_decay=0.1, decoupled=True, step=1,
    )  # fmt: skip
    functional.sgd_step(
        flat[part], grads[part], None, lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.0
    )
    outside = np.r_[0:3, 20:40]
    assert (flat[outside] == 1).all()
    assert (flat[part] < 1).all()
    assert (m[outside] == 1).all()


@pytest.mark.parametrize("size", [0, 1, 15, 4097, 300_000])
def test_zero(dtype: type, size: int, rng: np.random.Generator) -> None:
    flat = np.full(size + 2, np.nan, dtype)
    functional.zero(flat[1:-1])
    assert not flat[1:-1].any()
    assert np.isnan(flat[[0, -1]]).all()


@pytest.mark.parametrize("size", [0, 1, 15, 17, 4097, 50_000])
def test_global_norm(isa: str, dtype: type, size: int, rng: np.random.Generator) -> None:
    flat = normal(rng, dtype, size)
    norm = functional.global_norm(flat)
    assert isinstance(norm, float)
    assert norm == pytest.approx(np.linalg.norm(flat.astype(np.float64)), rel=1e-13)
    if size:
        flat[size // 2] = np.nan
        assert np.isnan(functional.global_norm(flat))


def test_global_norm_of_large_float32(isa: str) -> None:
    """The squares overflow float32; the norm does not."""
    assert functional.global_norm(np.full(4, 1e30, np.float32)) == pytest.approx(2e30, rel=1e-6)
