"""In which numbers products multiply: the roundings of their factors, in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ._types import Array


def full(a: Array) -> Array:
    """The factor as it is."""
    return a


def round_bf16(a: Array) -> Array:
    """The nearest bfloat16 (8 bits of significand, ties to even) of each float32."""
    bits = a.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(a), np.nan, rounded.view(np.float32).astype(np.float64))


def round_int8(a: Array) -> Array:
    """Each row (last axis) as integers -127 .. 127 times a scale: its largest magnitude / 127.

    The scale and the number of steps are float32, as in the kernels; ties go to even.
    """
    largest = np.abs(a).max(axis=-1, keepdims=True, initial=0.0).astype(np.float32)
    with np.errstate(divide="ignore", over="ignore"):
        per_unit = np.where(largest > 1e-30, np.float32(127.0) / largest, np.float32(0.0))
    steps = np.rint(a * per_unit.astype(np.float64))
    return np.asarray(steps * (largest * np.float32(1.0 / 127.0)).astype(np.float64))


OPERANDS: dict[str, Callable[[Array], Array]] = {
    "full": full,
    "bf16": round_bf16,
    "int8": round_int8,
}
