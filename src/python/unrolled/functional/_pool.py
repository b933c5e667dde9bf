"""The largest value that a window sees."""

from __future__ import annotations

import numpy as np

from ._types import Array
from ._windows import Windows


def max_pool(x: Array, windows: Windows) -> Array:
    """y (N, H', W', C): the largest value of what each place sees of x (N, H, W, C); NaN is."""
    return _views(x, windows).max(axis=(4, 5))


def max_pool_backward(x: Array, y: Array, dy: Array, windows: Windows) -> Array:
    """Returns dx: each dy goes to the first of the places that are the largest."""
    around = windows.around(*x.shape[1:3])
    dx = np.zeros((len(x), x.shape[1] + sum(around[0]), x.shape[2] + sum(around[1]), x.shape[3]))
    dx = dx.astype(x.dtype)
    views = _views(x, windows)
    flat = views.reshape(*views.shape[:4], -1)
    first = np.argmax((flat == y[..., None]) | np.isnan(flat), axis=-1)
    n, i, j, c = np.indices(y.shape)
    u, v = np.divmod(first, windows.kernel[1])
    np.add.at(dx, (n, i * windows.stride[0] + u, j * windows.stride[1] + v, c), dy)
    top, left = around[0][0], around[1][0]
    return np.ascontiguousarray(dx[:, top : top + x.shape[1], left : left + x.shape[2]])


def _views(x: Array, windows: Windows) -> Array:
    windows.places("max_pool", *x.shape[1:3])
    padded = np.pad(x, ((0, 0), *windows.around(*x.shape[1:3]), (0, 0)), constant_values=-np.inf)
    views = np.lib.stride_tricks.sliding_window_view(padded, windows.kernel, axis=(1, 2))
    return views[:, :: windows.stride[0], :: windows.stride[1]]
