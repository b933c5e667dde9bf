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


def place_of(array: Array) -> Place:
    """Where an array lies."""
    return "cuda" if on_device(array) else "cpu"


def functions_of(array: Array) -> Any:
    """`unrolled.functional` or `unrolled.cuda`: the module whose functions take arrays like it."""
    return cuda if on_device(array) else functional


def place_options(options: dict[str, Any], array: Array) -> None:
    """Moves what a layer draws on the host for a scan to where `array` lies."""
    if not on_device(array):
        return
    options["updates"] = [move(update, "cuda") for update in options["updates"]]
    if options.get("recurrent_factors") is not None:
        options["recurrent_factors"] = move(options["recurrent_factors"], "cuda")


def contiguous(array: Array) -> Array:
    """The array in C order: itself if it is, else a copy."""
    return array if array.flags.c_contiguous else array.copy(order="C")


def take_rows(table: Array, rows: Array) -> Array:
    """Returns the rows (N,) of a table (V, E), which the host names: (N, E)."""
    taken: Array = cuda.embedding(rows, table) if on_device(table) else table[rows]
    return taken


def zeros(shape: tuple[int, ...], like: Array) -> Array:
    """Zeros of the dtype of `like`, where it lies."""
    if not on_device(like):
        return np.zeros(shape, like.dtype)
    array: Array = cuda.empty(shape, like.dtype)
    array.fill(0)
    return array


def chosen(array: Array, indices: Array, axis: int = 0) -> Array:
    """What `indices` (N,), integers or truth values of the host, choose of an axis, in C order."""
    return contiguous(array[(slice(None),) * axis + (move(indices, place_of(array)),)])


def put_rows(values: Array, rows: Array, table: Array) -> None:
    """Writes values (N, E) to the rows (N,) of a table (V, E) of zeros, each named once."""
    if on_device(table):
        cuda.embedding_backward(rows, contiguous(values), dweight=table)
    else:
        table[rows] = values


def assign(target: Array, values: Array) -> None:
    """Copies values, wherever they lie, into an array of the same shape."""
    target[...] = move(values, place_of(target))


def move(array: Array, place: Place) -> Array:
    """A copy of an array in another place, or the array itself if it lies there."""
    if place == "cpu":
        host: Array = cuda.to_host(array)
        return host
    return array if on_device(array) else cuda.to_device(array)
