"""Batch normalisation over the last axis, on a CUDA device."""

from __future__ import annotations

from typing import Any

from ..functional import Activation
from ._arrays import array_module
from ._library import require
from ._views import Views


def moments(x: Any) -> tuple[Any, Any]:
    """`functional.moments`: mean and (biased) variance (C,) of x (..., C)."""
    require()
    from .. import _cuda

    arrays = array_module("moments", x)
    views = Views("moments", arrays.stream)
    mean, variance = (arrays.empty(x.shape[-1:]) for _ in range(2))
    _cuda.moments(
        views.of("x", x), views.of("mean", mean), views.of("variance", variance), views.stream
    )
    return mean, variance


def normalise(
    x: Any,
    mean: Any,
    variance: Any,
    weight: Any,
    bias: Any,
    *,
    eps: float,
    activation: Activation = "none",
) -> Any:
    """`functional.normalise`: y (..., C)."""
    require()
    from .. import _cuda

    arrays = array_module("normalise", x)
    views = Views("normalise", arrays.stream)
    y = arrays.empty(x.shape)
    _cuda.normalise(
        views.of("x", x),
        views.of("mean", mean),
        views.of("variance", variance),
        views.of("weight", weight),
        views.of("bias", bias),
        views.of("y", y),
        eps,
        activation,
        views.stream,
    )
    return y


def normalise_backward(
    x: Any,
    mean: Any,
    variance: Any,
    weight: Any,
    y: Any,
    dy: Any,
    *,
    eps: float,
    activation: Activation = "none",
    of_batch: bool,
    dweight: Any,
    dbias: Any,
    needs_dx: bool = True,
) -> Any | None:
    """`functional.normalise_backward`: adds to dweight and dbias (C,), returns dx (..., C)."""
    require()
    from .. import _cuda

    where = "normalise_backward"
    arrays = array_module(where, x)
    views = Views(where, arrays.stream)
    dx = arrays.empty(x.shape) if needs_dx else None
    _cuda.normalise_backward(
        views.of("x", x),
        views.of("mean", mean),
        views.of("variance", variance),
        views.of("weight", weight),
        views.of("y", y),
        views.of("dy", dy),
        views.of("dweight", dweight),
        views.of("dbias", dbias),
        views.of_some("dx", dx),
        views.of("sums", arrays.empty((2 * x.shape[-1],))),
        eps,
        activation,
        of_batch,
        views.stream,
    )
    return dx
