"""Batch normalisation over the last axis."""

from __future__ import annotations

import numpy as np

from ._conv import Activation
from ._types import Array


def moments(x: Array) -> tuple[Array, Array]:
    """Returns the mean and the (biased) variance (C,) of each channel of x (..., C)."""
    rows = x.reshape(-1, x.shape[-1])
    return rows.mean(axis=0), rows.var(axis=0)


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
    y = (x - mean) * (weight / np.sqrt(variance + x.dtype.type(eps))) + bias
    if activation != "none":
        np.maximum(y, 0, out=y)
    if activation == "relu6":
        np.minimum(y, 6, out=y)
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
    if activation != "none":
        dy = dy * ((y > 0) if activation == "relu" else (y > 0) & (y < 6))
    axes = tuple(range(x.ndim - 1))
    inverse = 1 / np.sqrt(variance + x.dtype.type(eps))
    normal = (x - mean) * inverse
    sums, products = dy.sum(axis=axes), (dy * normal).sum(axis=axes)
    dbias += sums
    dweight += products
    if not needs_dx:
        return None
    dx: Array = dy
    if of_batch:
        count = max(x.size // x.shape[-1], 1)
        dx = dy - sums / count - normal * (products / count)
    return dx * (weight * inverse)
