"""Where arrays lie, on the host or on a CUDA device, and the functions for those there."""

from typing import Any, Literal, TypeAlias

import numpy as np

from .. import cuda, functional
from ._types import Array

Place: TypeAlias = Literal["cpu", "cuda"]


def is_array(value: object) -> bool:
    """Whether it is an array of NumPy or of a CUDA device."""
    return isinstance(value, np.ndarray) or cuda.is_device_array(value)


def on_device(array: Array) -> bool:
    """Whether an array lies on a CUDA device."""
    return type(array) is not np.ndarray and cuda.is_device_array(array)


def functions_of(array: Array) -> Any:
    """`unrolled.functional` or `unrolled.cuda`: the module whose functions take arrays like it."""
    return cuda if on_device(array) else functional


def assign(target: Array, values: Array) -> None:
    """Copies values, wherever they lie, into an array of the same shape."""
    target[...] = move(values, "cuda" if on_device(target) else "cpu")


def move(array: Array, place: Place) -> Array:
    """A copy of an array in another place, or the array itself if it lies there."""
    if place == "cpu":
        host: Array = cuda.to_host(array)
        return host
    return array if on_device(array) else cuda.to_device(array)
