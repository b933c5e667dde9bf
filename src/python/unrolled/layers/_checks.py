"""Checks of constructor arguments; array arguments are checked where they are used."""

import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from .. import functional
from ._place import is_array
from ._types import Array, DType


def checked_dtype(where: str, dtype: DTypeLike) -> DType:
    """Returns `dtype` as a NumPy dtype; TypeError unless it is float32 or float64."""
    result = np.dtype(dtype)
    if result not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"[{where}] expected dtype float32 or float64, got {result}")
    return result


def checked_size(where: str, name: str, value: int) -> int:
    """Returns `value` as an int; ValueError unless it is at least 1."""
    result = operator.index(value)
    if result < 1:
        raise ValueError(f"[{where}] expected {name} >= 1, got {result}")
    return result


def checked_pair(
    where: str, name: str, value: int | tuple[int, int], *, least: int
) -> tuple[int, int]:
    """Returns one int or two as two; ValueError unless each is at least `least`."""
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"[{where}] expected {name} to be one number or two, got {value}")
    result = operator.index(pair[0]), operator.index(pair[1])
    if min(result) < least:
        raise ValueError(f"[{where}] expected {name} >= {least}, got {value}")
    return result


def checked_probability(where: str, name: str, value: float) -> float:
    """Returns `value` as a float; ValueError unless 0 <= value < 1."""
    result = float(value)
    if not 0.0 <= result < 1.0:
        raise ValueError(f"[{where}] expected 0 <= {name} < 1, got {result}")
    return result


def checked_cell_clip(where: str, limit: float | None, info: functional.CellInfo) -> float | None:
    """Returns the limit of the state c; ValueError unless it is None, or > 0 of a cell with one."""
    if limit is None:
        return None
    if not info.clips:
        raise ValueError(f"[{where}] expected cell_clip=None: {info.name} has no c to clip")
    if not float(limit) > 0.0:
        raise ValueError(f"[{where}] expected cell_clip > 0, got {limit}")
    return float(limit)


def check_array(where: str, text: str, array: Array, shape: tuple[int, ...], dtype: DType) -> None:
    """Raises unless `array` is an array of exactly this shape and dtype.

    Args:
        where: the layer, as error texts name it.
        text: the argument and its shape letters, as in "state h of shape (L*D, B, H)".
        array: what the caller passed.
        shape: the numbers behind the letters.
        dtype: the dtype of the layer; arrays are never cast silently.
    """
    if not is_array(array):
        raise TypeError(f"[{where}] expected {text} = {shape}, got {type(array).__name__}")
    if array.shape != shape:
        raise ValueError(f"[{where}] expected {text} = {shape}, got {array.shape}")
    if array.dtype != dtype:
        name = text.split(" of shape")[0]
        raise TypeError(f"[{where}] expected {name} of dtype {dtype}, got {array.dtype}")
