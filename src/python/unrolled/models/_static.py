"""What is said of a series as a whole, beside each of its steps."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..layers import Embedding, Layer
from ..layers._place import move
from ..layers._types import Array

#: What is said of each series: numbers (B, S), and places in the categories' tables (B, K).
Static: TypeAlias = tuple[Array, Array]

#: The most numbers that stand for a category.
_MOST = 16


class StaticFeatures(Layer):
    """Numbers as they are and categories as vectors, the same at all steps of a series.

    Shapes: T steps, B series, I inputs a step, S numbers, K categories; E, the sum of S and of the
    sizes of the vectors.

    Args:
        numbers: S.
        categories: how many there are of each of the K.
        common: dtype, rng and init of the tables.
    """

    _runs_on_cuda = True

    def __init__(self, numbers: int, categories: Sequence[int], common: dict[str, Any]) -> None:
        self._numbers = numbers
        self._tables = [
            Embedding(count, min(_MOST, (count + 1) // 2), **common) for count in categories
        ]
        self.width = numbers + sum(each.embedding_size for each in self._tables)
        super().__init__(children={f"category_{k}": each for k, each in enumerate(self._tables)})

    @property
    def learned(self) -> bool:
        """Whether there are categories."""
        return bool(self._tables)

    def __call__(self, x: Array, static: Static | None) -> Array:
        """Returns x (T, B, I) with what is said of the series at its end, (T, B, I + E)."""
        if not self.width:
            return x
        numbers, places = self._checked(static)
        return self._beside(
            x,
            numbers,
            [move(table(p), "cpu") for table, p in zip(self._tables, places.T, strict=True)],
        )

    def vjp(self, x: Array, static: Static | None) -> tuple[Array, Callable[[Array], None]]:
        """Returns the same and its pullback, which takes the gradient summed over steps, (B, E)."""
        if not self.width:
            return x, lambda dsaid: None
        numbers, places = self._checked(static)
        pairs = [table.vjp(p) for table, p in zip(self._tables, places.T, strict=True)]

        def pullback(dsaid: Array) -> None:
            begin = self._numbers
            for table, (_, pull) in zip(self._tables, pairs, strict=True):
                end = begin + table.embedding_size
                pull(move(np.ascontiguousarray(dsaid[:, begin:end]), table.place))
                begin = end

        return self._beside(x, numbers, [move(y, "cpu") for y, _ in pairs]), pullback

    def _beside(self, x: Array, numbers: Array, vectors: Sequence[Array]) -> Array:
        said = np.concatenate([numbers.astype(x.dtype), *vectors], axis=1)
        return np.concatenate([x, np.repeat(said[None], len(x), axis=0)], axis=2)

    def _checked(self, static: Static | None) -> Static:
        """The numbers, and the places with each category's in one run of memory."""
        wanted = (self._numbers, len(self._tables))
        got = None if static is None else tuple(each.shape[1] for each in static)
        if static is None or got != wanted:
            raise ValueError(
                f"[ForecastModel] expected static (B, S) = (B, {wanted[0]}) numbers and (B, K) = "
                f"(B, {wanted[1]}) categories, got {got}"
            )
        return static[0], np.asfortranarray(static[1])
