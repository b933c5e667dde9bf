"""Arguments of a scan as the kernels take them, on a host and on a device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._types import indices_of

AnyArray = TypeVar("AnyArray")

GradientClip: TypeAlias = float | tuple[Literal["norm"], float] | None
"""How BPTT clips dh, the gradient of h that a step hands to the one before.

It is clipped when it is complete, with what comes through the recurrent product and past it, in
every row and before anything else reads it; dy of the step before is added afterwards. So is the
gradient of the initial h, for a sequence in pieces to have the gradients of the whole. That of
other states, as c of an LSTM, is not, nor is the gradient of a final state that is given.

None: not at all.
limit > 0: each element, dh <- min(max(dh, -limit), limit).
("norm", limit): each row of the batch, dh <- dh * min(1, limit / |dh|), where |dh| is its
    Euclidean norm over H.

Sources: Graves, "Generating sequences with recurrent neural networks", 2013, who clips values, of
the gradients of pre-activations; Pascanu, Mikolov and Bengio, "On the difficulty of training
recurrent neural networks", 2013, who clip the norm, of the gradient of all parameters.
"""

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


def clip_limits(where: str, clip: GradientClip) -> tuple[float, float]:
    """The limits of elements and of the norm, infinity for none. Raises ValueError."""
    if clip is None:
        return math.inf, math.inf
    if isinstance(clip, int | float) and clip > 0:
        return clip, math.inf
    if isinstance(clip, tuple) and clip[0] == "norm" and len(clip) == 2 and clip[1] > 0:
        return math.inf, clip[1]
    raise ValueError(
        f'[{where}] expected clip_gradient to be None, a limit > 0 or ("norm", limit), got {clip!r}'
    )
