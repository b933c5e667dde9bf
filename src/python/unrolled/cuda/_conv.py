"""Convolutions over images with channels last, on a CUDA device."""

from __future__ import annotations

from typing import Any

from ..functional import Activation, Windows, check_activation
from ..functional._conv import result_shape
from ._arrays import ArrayModule, array_module
from ._library import require
from ._views import Views


def conv2d(
    x: Any,
    weight: Any,
    bias: Any | None,
    windows: Windows,
    *,
    groups: int = 1,
    activation: Activation = "none",
) -> Any:
    """`functional.conv2d`: y (N, H', W', O)."""
    return _conv2d(x, weight, bias, None, windows, groups, activation)


def conv2d_backward(
    x: Any,
    weight: Any,
    y: Any,
    dy: Any,
    windows: Windows,
    *,
    groups: int = 1,
    activation: Activation = "none",
    dweight: Any,
    dbias: Any | None = None,
    needs_dx: bool = True,
) -> Any | None:
    """`functional.conv2d_backward`: adds to dweight and dbias, returns dx (N, H, W, C)."""
    require()
    from .. import _cuda

    where = "conv2d_backward"
    arrays = array_module(where, x)
    views = Views(where, arrays.stream)
    dx = arrays.empty(x.shape) if needs_dx else None
    steps = windows.steps(*x.shape[1:3])
    given = views.of("x", x), views.of("weight", weight)
    scratch = _scratch(arrays, views, given, steps, groups, activation, y.shape, backward=True)
    _cuda.conv2d_backward(
        *given,
        views.of("y", y),
        views.of("dy", dy),
        views.of_some("dx", dx),
        views.of("dweight", dweight),
        views.of_some("dbias", dbias),
        steps,
        groups,
        activation,
        scratch,
        views.stream,
    )
    return dx


class PackedConv2d:
    """`functional.PackedConv2d` on a device; nothing is packed, but the arrays are copied."""

    def __init__(
        self,
        weight: Any,
        bias: Any | None,
        windows: Windows,
        *,
        groups: int = 1,
        activation: Activation = "none",
    ) -> None:
        check_activation("conv2d", activation)
        self._weight, self._bias = weight.copy(), None if bias is None else bias.copy()
        self._windows, self._groups, self._activation = windows, groups, activation

    def __call__(self, x: Any, residual: Any | None = None) -> Any:
        """Returns activation(convolution of x + residual)."""
        return _conv2d(
            x, self._weight, self._bias, residual, self._windows, self._groups, self._activation
        )


def _conv2d(
    x: Any,
    weight: Any,
    bias: Any | None,
    residual: Any | None,
    windows: Windows,
    groups: int,
    activation: Activation,
) -> Any:
    require()
    from .. import _cuda

    arrays = array_module("conv2d", x)
    views = Views("conv2d", arrays.stream)
    y = arrays.empty(result_shape(tuple(x.shape), tuple(weight.shape), windows))
    steps = windows.steps(*x.shape[1:3])
    given = views.of("x", x), views.of("weight", weight)
    _cuda.conv2d(
        *given,
        views.of_some("bias", bias),
        views.of_some("residual", residual),
        views.of("y", y),
        steps,
        groups,
        activation,
        _scratch(arrays, views, given, steps, groups, activation, y.shape, backward=False),
        views.stream,
    )
    return y


def _scratch(
    arrays: ArrayModule,
    views: Views,
    given: tuple[Any, Any],
    steps: tuple[int, int, int, int],
    groups: int,
    activation: Activation,
    shape: tuple[int, ...],
    *,
    backward: bool,
) -> Any:
    """Memory that a convolution of `given`, x and weight, to y of `shape` works in."""
    from .. import _cuda

    places = shape[1], shape[2]
    size = _cuda.conv2d_scratch(*given, steps, groups, activation, places, backward)
    return views.of("scratch", arrays.empty((size,)))
