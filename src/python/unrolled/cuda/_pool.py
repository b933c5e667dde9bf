"""The largest value that a window sees, on a CUDA device."""

from __future__ import annotations

from typing import Any

from ..functional import Windows
from ._arrays import array_module
from ._library import require
from ._views import Views


def max_pool(x: Any, windows: Windows) -> Any:
    """`functional.max_pool`: y (N, H', W', C) of x (N, H, W, C)."""
    require()
    from .. import _cuda

    if len(x.shape) != 4:
        raise ValueError(f"[max_pool] expected x of shape (N, H, W, C), got {tuple(x.shape)}")
    arrays = array_module("max_pool", x)
    views = Views("max_pool", arrays.stream)
    places = windows.places("max_pool", *x.shape[1:3])
    y = arrays.empty((x.shape[0], *places, x.shape[3]))
    steps = windows.steps(*x.shape[1:3])
    _cuda.max_pool(views.of("x", x), views.of("y", y), windows.kernel, steps, views.stream)
    return y


def max_pool_backward(x: Any, y: Any, dy: Any, windows: Windows) -> Any:
    """`functional.max_pool_backward`: dx (N, H, W, C)."""
    require()
    from .. import _cuda

    where = "max_pool_backward"
    arrays = array_module(where, x)
    views = Views(where, arrays.stream)
    dx = arrays.empty(x.shape)
    _cuda.max_pool_backward(
        views.of("x", x),
        views.of("y", y),
        views.of("dy", dy),
        views.of("dx", dx),
        windows.kernel,
        windows.steps(*x.shape[1:3]),
        views.stream,
    )
    return dx
