"""Arguments of a scan as the kernels take them, on a host and on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._types import indices_of

AnyArray = TypeVar("AnyArray")

#: The parameters of a scan, in the order of `pack` and of the gradients of `scan_backward`.
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_unit", "weight_hr")


def lengths_of(where: str, lengths: ArrayLike | None) -> NDArray[np.int64] | None:
    """The lengths (B,) as int64; None stays None."""
    return None if lengths is None else indices_of(where, "lengths", lengths)


def resets_of(where: str, resets: ArrayLike | None) -> NDArray[np.bool_] | None:
    """The resets (T, B) as one block of memory; None stays None. TypeError: another dtype."""
    if resets is None:
        return None
    array = np.asarray(resets)
    if array.dtype != np.bool_:
        raise TypeError(f"[{where}] expected resets of dtype bool, got {array.dtype}")
    return np.ascontiguousarray(array)


def gradients_of(
    where: str, grads: Sequence[AnyArray | None]
) -> tuple[AnyArray, tuple[AnyArray | None, ...]]:
    """That of weight_ih, and those of the other `PARAMETERS`; the last two may be left away."""
    if not 4 <= len(grads) <= len(PARAMETERS):
        raise ValueError(
            f"[{where}] expected grads to be 4 to 6 arrays (dweight_ih, dweight_hh, dbias_ih, "
            f"dbias_hh, dweight_unit, dweight_hr), got {len(grads)}"
        )
    first, *others = (*grads, None, None)[: len(PARAMETERS)]
    if first is None:
        raise ValueError(f"[{where}] expected dweight_ih, got None")
    return first, tuple(others)
