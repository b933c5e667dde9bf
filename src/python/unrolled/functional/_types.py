"""The array type, and conversions that cost nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core

Array = NDArray[Any]
States = tuple[Array, ...]


_SMALL = 4096  # bytes; below, the search for a cache line costs more than it saves
_LARGE = 1 << 20  # bytes; from here on, fresh pages cost more than many a pass over them


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """`numpy.empty` that begins at a cache line, so that no vector of a row lies across two.

    NumPy's own large arrays begin 16 bytes behind one. A small array begins anywhere. The memory of
    a large one is kept for the next when it goes; see `trim_memory`.
    """
    kind = np.dtype(dtype)
    nbytes = math.prod(shape) * kind.itemsize
    if nbytes < _SMALL:
        return np.empty(shape, kind)
    if nbytes >= _LARGE:
        large: Array = _core.empty_bytes(nbytes).view(kind).reshape(shape)
        return large
    raw = np.empty(nbytes + 64, np.uint8)
    start = -raw.__array_interface__["data"][0] % 64
    array: Array = raw[start : start + nbytes].view(kind).reshape(shape)
    return array


def indices_of(where: str, name: str, values: ArrayLike) -> NDArray[np.int64]:
    """Integers of any width as C-contiguous int64."""
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"[{where}] expected {name} of an integer dtype (int64), got {array.dtype}")
    return np.asarray(array, np.int64, order="C")


def rows_of(where: str, name: str, array: Array) -> Array:
    """(..., W) as (N, W) without a copy."""
    if not array.flags.c_contiguous:
        raise ValueError(
            f"[{where}] expected {name} to be C-contiguous; pass numpy.ascontiguousarray({name})"
        )
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])
