"""The largest value that a window sees."""

from __future__ import annotations

from .. import _core
from ._types import Array, empty
from ._windows import Windows


def max_pool(x: Array, windows: Windows) -> Array:
    """y (N, H', W', C): the largest value of what each place sees of x (N, H, W, C).

    Padding never wins, and a NaN always does.
    """
    if x.ndim != 4:
        raise ValueError(f"[max_pool] expected x of shape (N, H, W, C), got {x.shape}")
    places = windows.places("max_pool", *x.shape[1:3])
    y = empty((len(x), *places, x.shape[3]), x.dtype)
    _core.max_pool(x, y, windows.kernel, windows.steps(*x.shape[1:3]))
    return y


def max_pool_backward(x: Array, y: Array, dy: Array, windows: Windows) -> Array:
    """Returns dx: each dy goes to the first of the places that are the largest."""
    dx = empty(x.shape, x.dtype)
    _core.max_pool_backward(x, y, dy, dx, windows.kernel, windows.steps(*x.shape[1:3]))
    return dx
