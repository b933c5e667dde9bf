"""Sequences as callers give them: checked, and turned to time-major order."""

from .. import functional
from ._place import is_array
from ._types import Array, DType


def time_major_input(
    where: str,
    x: Array | functional.Lookup,
    input_size: int,
    dtype: DType,
    *,
    batch_first: bool,
) -> Array | functional.Lookup:
    """Returns x of shape (T, B, I), or a lookup of that shape; copies nothing.

    Raises:
        ValueError, TypeError: x is not a batch of sequences of this size and dtype.
    """
    order = "B, T" if batch_first else "T, B"
    if not isinstance(x, functional.Lookup) and not is_array(x):
        raise TypeError(f"[{where}] expected x as an array, got {type(x).__name__}")
    if len(x.shape) != 3 or x.shape[2] != input_size:
        hint = ""
        if len(x.shape) == 2:
            place = "None" if batch_first else ":, None"
            hint = f"; give one sequence a batch axis: x[{place}]"
        raise ValueError(
            f"[{where}] expected x of shape ({order}, I) = ({order}, {input_size}), "
            f"got {x.shape}{hint}"
        )
    if x.dtype != dtype:
        raise TypeError(f"[{where}] expected x of dtype {dtype}, got {x.dtype}")
    if isinstance(x, functional.Lookup):
        return functional.Lookup(x.tokens.T, x.table) if batch_first else x
    return x.swapaxes(0, 1) if batch_first else x
