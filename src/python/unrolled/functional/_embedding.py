"""Rows of a table by index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ._types import Array, indices_of, rows_of


def embedding(indices: ArrayLike, weight: Array) -> Array:
    """Rows of weight (V, E) at integer indices (...): an array (..., E)."""
    index = indices_of("embedding", "indices", indices)
    out = np.empty((index.size, weight.shape[-1]), weight.dtype)
    _core.embedding(index.reshape(-1), weight, out)
    return out.reshape(*index.shape, weight.shape[-1])


def embedding_backward(indices: ArrayLike, dy: Array, *, dweight: Array) -> None:
    """Pullback of `embedding`: adds dy (..., E) to dweight (V, E) at rows `indices` (...)."""
    index = indices_of("embedding_backward", "indices", indices)
    if dy.shape[:-1] != index.shape:
        raise ValueError(
            f"[embedding_backward] expected dy of shape (..., E) for indices {index.shape}, "
            f"got {dy.shape}"
        )
    _core.embedding_backward(index.reshape(-1), rows_of("embedding_backward", "dy", dy), dweight)


@dataclass(frozen=True)
class Lookup:
    """Input of a scan that is looked up in a table: x[t, b] = table[tokens[t, b]].

    Shapes: tokens (T, B) integers, table (V, I). The scan gives what it gives for the gathered x,
    but where tokens repeat (T*B >= V) it multiplies each row of the table once instead of each
    token: for characters that is most of the work of the input product and of its gradients.
    The gradient that `scan_backward` returns for it is that of the table.
    """

    tokens: NDArray[np.int64]
    table: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, B, I), the shape of the looked-up input."""
        return (*self.tokens.shape, *self.table.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the looked-up input."""
        return self.table.dtype

    @property
    def pays(self) -> bool:
        """Whether the table has no more rows than there are tokens."""
        return bool(self.table.shape[0] <= self.tokens.size)

    def gather(self) -> Array:
        """The looked-up input (T, B, I)."""
        return embedding(self.tokens, self.table)
