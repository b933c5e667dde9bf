"""torch's packed sequences as padded ones with lengths."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import functional
from ...layers._types import Array


@dataclass(frozen=True)
class Ragged:
    """How a batch of T steps and B rows is packed: step by step, rows sorted by falling length.

    Attributes:
        batch_sizes: torch's, rows alive at each step (T,).
        shape: (T, B).
        lengths: of the rows (B,); None if all take T steps.
        places: of each packed token among the T*B of the padded batch (N,).
    """

    batch_sizes: Any
    shape: tuple[int, int]
    lengths: NDArray[np.int64] | None
    places: NDArray[np.intp]

    @classmethod
    def of(cls, batch_sizes: Any) -> "Ragged":
        """Reads torch's batch_sizes."""
        live = np.arange(int(batch_sizes[0])) < batch_sizes.numpy()[:, None]
        steps, batch = live.shape
        lengths = None if live.all() else live.sum(0)
        return cls(batch_sizes, (steps, batch), lengths, np.flatnonzero(live))

    def pad(self, data: Array) -> Array:
        """(N, W) packed to (T, B, W): a view if all rows are full; else the rest holds anything."""
        if self.lengths is None:
            return data.reshape(*self.shape, data.shape[1])
        padded = functional.empty((*self.shape, data.shape[1]), data.dtype)
        padded.reshape(-1, data.shape[1])[self.places] = data
        return padded

    def unpad(self, padded: Array) -> Array:
        """(T, B, W) to (N, W): undoes `pad`."""
        rows = padded.reshape(-1, padded.shape[2])
        return rows if self.lengths is None else rows.take(self.places, axis=0)
