"""A stack of recurrent layers one step at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .. import _core
from .._core import Weights
from ._types import Array


class Stream:
    """Steps through a stack of layers with everything that a step needs made once.

    A step allocates nothing and enters the thread team once for all layers.

    Shapes: B batch, I input, H hidden.

    Args:
        weights: one a layer, each reading the output of the one before.
        states: for each layer one (B, H) array a state, C-contiguous; every step reads and writes
            them in place.
        updates: one number for each state, the share of its new value that it takes; see `scan`.
        cell_clip: limit of the state c, see `scan`.
    """

    def __init__(
        self,
        weights: Sequence[Weights],
        states: Sequence[Sequence[Array]],
        updates: Sequence[float] = (),
        cell_clip: float | None = None,
    ) -> None:
        self._core = _core.Stream(
            list(weights),
            [list(arrays) for arrays in states],
            updates,
            math.inf if cell_clip is None else cell_clip,
        )

    def step(self, x: Array, out: Array) -> None:
        """Reads x (B, I), writes the output of the last layer (B, H) to another array `out`."""
        try:
            self._core.step(x, out)
        except TypeError:
            for name, array in (("x_t", x), ("out", out)):
                if not isinstance(array, np.ndarray):
                    raise TypeError(
                        f"[stream] expected {name} as an array, got {type(array).__name__}"
                    ) from None
            raise
