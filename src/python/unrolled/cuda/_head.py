"""Linear maps, the cross-entropy of a softmax, and dropout on a CUDA device."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from ..functional import Precision
from ..functional._types import indices_of
from ._arrays import array_module, to_host, zero
from ._library import require
from ._views import Views, integers


def linear(x: Any, weight: Any, bias: Any | None = None) -> Any:
    """y = x weight^T + bias. Shapes: x (..., I), weight (O, I), bias (O,), y (..., O)."""
    require()
    from .. import _cuda

    arrays = array_module("linear", x)
    views = Views("linear", arrays.stream)
    y = arrays.empty((*x.shape[:-1], weight.shape[0]))
    _cuda.linear(
        views.of("x", x),
        views.of("weight", weight),
        views.of_some("bias", bias),
        views.of("y", y),
        views.stream,
    )
    return y


def linear_backward(
    x: Any,
    weight: Any,
    dy: Any,
    *,
    dweight: Any,
    dbias: Any | None = None,
    needs_dx: bool = True,
) -> Any | None:
    """Pullback of `linear`: adds to dweight (O, I) and dbias (O,), returns dx (..., I)."""
    require()
    from .. import _cuda

    arrays = array_module("linear_backward", x)
    views = Views("linear_backward", arrays.stream)
    dx = arrays.empty(x.shape) if needs_dx else None
    _cuda.linear_backward(
        views.of("x", x),
        views.of("weight", weight),
        views.of("dy", dy),
        views.of_some("dx", dx),
        views.of("dweight", dweight),
        views.of_some("dbias", dbias),
        views.stream,
    )
    return dx


def linear_cross_entropy(
    x: Any,
    weight: Any,
    bias: Any | None,
    targets: ArrayLike,
    *,
    precision: Precision = "full",
) -> Any:
    """`functional.linear_cross_entropy`: losses (N,) on the device; targets (N,) on the host."""
    return _cross_entropy(x, weight, bias, targets, 1.0, 0.0, precision, gradients=False)[0]


def linear_cross_entropy_vjp(
    x: Any,
    weight: Any,
    bias: Any | None,
    targets: ArrayLike,
    scale: float = 1.0,
    *,
    smoothing: float = 0.0,
    precision: Precision = "full",
) -> tuple[Any, Any, Any, Any | None]:
    """`functional.linear_cross_entropy_vjp`: losses (N,), dx (N, H), dweight (V, H), dbias (V,)."""
    return _cross_entropy(x, weight, bias, targets, scale, smoothing, precision, gradients=True)


def _cross_entropy(
    x: Any,
    weight: Any,
    bias: Any | None,
    targets: ArrayLike,
    scale: float,
    smoothing: float,
    precision: Precision,
    *,
    gradients: bool,
) -> tuple[Any, Any, Any, Any | None]:
    require()
    from .. import _cuda

    where = "linear_cross_entropy"
    arrays = array_module(where, x)
    views = Views(where, arrays.stream)
    counted = indices_of(where, "targets", to_host(targets))
    losses = arrays.empty(x.shape[:1])
    dx = dweight = dbias = None
    if gradients:
        dx, dweight = arrays.empty(x.shape), arrays.empty(weight.shape)
        zero(dweight)
        if bias is not None:
            dbias = arrays.empty(bias.shape)
            zero(dbias)
    given, matrix = views.of("x", x), views.of("weight", weight)
    scratch = _cuda.cross_entropy_scratch(given, matrix, gradients, precision)
    _cuda.cross_entropy(
        given,
        matrix,
        views.of_some("bias", bias),
        counted,
        views.of("losses", losses),
        scale,
        smoothing,
        views.of_some("dx", dx),
        views.of_some("dweight", dweight),
        views.of_some("dbias", dbias),
        integers(arrays, views, counted.size),
        views.of("scratch", arrays.empty((scratch,))),
        precision,
        views.stream,
    )
    return losses, dx, dweight, dbias


def dropout(x: Any, p: float, *, seed: int, offset: int = 0, variational: bool = False) -> Any:
    """`functional.dropout`: the same elements are dropped."""
    require()
    from .. import _cuda

    arrays = array_module("dropout", x)
    if variational:
        step = arrays.empty(x.shape[1:])
        step[...] = 1.0
        return x * dropout(step, p, seed=seed, offset=offset)
    views = Views("dropout", arrays.stream)
    out = arrays.empty(x.shape)
    _cuda.dropout(views.of("x", x), views.of("out", out), p, seed, offset, views.stream)
    return out
