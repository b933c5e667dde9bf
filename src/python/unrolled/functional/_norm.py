"""Batch normalisation over the last axis."""

from __future__ import annotations

import numpy as np

from .. import _core
from ._conv import Activation
from ._types import Array, empty, rows_of


def moments(x: Array) -> tuple[Array, Array]:
    """Returns the mean and the (biased) variance (C,) of each channel of x (..., C)."""
    mean, variance = np.empty((2, x.shape[-1]), x.dtype)
    _core.moments(rows_of("moments", "x", x), mean, variance)
    return mean, variance


def normalise(
    x: Array,
    mean: Array,
    variance: Array,
    weight: Array,
    bias: Array,
    *,
    eps: float,
    activation: Activation = "none",
) -> Array:
    """y = activation((x - mean) / sqrt(variance + eps) * weight + bias).

    Shapes: x and y (..., C), all others (C,).
    """
    y = empty(x.shape, x.dtype)
    scale = weight * _inverse(variance, eps)
    rows, to = rows_of("normalise", "x", x), rows_of("normalise", "y", y)
    _core.normalise(rows, mean, scale, bias, to, activation)
    return y


def normalise_backward(
    x: Array,
    mean: Array,
    variance: Array,
    weight: Array,
    y: Array,
    dy: Array,
    *,
    eps: float,
    activation: Activation = "none",
    of_batch: bool,
    dweight: Array,
    dbias: Array,
    needs_dx: bool = True,
) -> Array | None:
    """Pullback of `normalise`: adds to dweight and dbias (C,), returns dx (..., C).

    Args:
        of_batch: mean and variance are `moments` of x, and gradients flow through them too.
    """
    dx = empty(x.shape, x.dtype) if needs_dx else None
    inverse = _inverse(variance, eps)
    where = "normalise_backward"
    _core.normalise_backward(
        rows_of(where, "x", x),
        mean,
        weight * inverse,
        inverse,
        rows_of(where, "y", y),
        rows_of(where, "dy", dy),
        dweight,
        dbias,
        None if dx is None else rows_of(where, "dx", dx),
        activation,
        of_batch,
    )
    return dx


def _inverse(variance: Array, eps: float) -> Array:
    """One over the deviation, rounded once."""
    inverse: Array = 1 / np.sqrt(variance.astype(np.float64) + eps)
    return inverse.astype(variance.dtype)
