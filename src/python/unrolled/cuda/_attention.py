"""Attention over sources of different lengths, on a CUDA device."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..functional._attention import whole_lengths
from ..functional._types import indices_of
from ._arrays import array_module, to_host
from ._library import require
from ._views import Views, integers


class AttentionMemory:
    """`functional.AttentionMemory` on a device: the arguments are the same.

    Nothing is packed, so the arrays must not change while the memory is in use. Lengths and sources
    are integers on the host.
    """

    def __init__(
        self,
        keys: Any,
        values: Any,
        vector: Any | None = None,
        *,
        lengths: ArrayLike | None = None,
        backward: bool = True,
    ) -> None:
        require()
        self._arrays = array_module("attention", keys)
        if len(keys.shape) != 3 or len(values.shape) != 3:
            raise ValueError(
                "[attention] expected keys of shape (S, B, K) and values of shape (S, B, M), "
                f"got {tuple(keys.shape)} and {tuple(values.shape)}"
            )
        self.places, self.batch, self.key_size = keys.shape
        self.value_size = values.shape[2]
        self.dtype = keys.dtype
        self._memory = (keys, values, vector)
        self._lengths = _whole(lengths, self.batch, self.places)

    def empty(self, shape: tuple[int, ...]) -> Any:
        """An uninitialised array of the dtype of the memory, where it lies."""
        return self._arrays.empty(tuple(shape))

    def attend(
        self,
        queries: Any,
        *,
        lengths: ArrayLike | None = None,
        sources: ArrayLike | None = None,
    ) -> tuple[Any, Any]:
        """Returns contexts (T, N, M) and weights (T, N, S) of queries (T, N, K)."""
        from .. import _cuda

        if len(queries.shape) != 3:
            raise ValueError(
                f"[attention] expected queries of shape (T, N, K), got {tuple(queries.shape)}"
            )
        steps, columns = queries.shape[:2]
        if sources is None:
            sources = np.arange(columns)
        contexts = self.empty((steps, columns, self.value_size))
        weights = self.empty((steps, columns, self.places))
        views = self._views()
        _cuda.attend(
            *self._viewed(views),
            self._lengths,
            views.of("queries", queries),
            _whole(lengths, columns, steps),
            indices_of("attention", "sources", to_host(sources)),
            views.of("contexts", contexts),
            views.of("weights", weights),
            integers(self._arrays, views, self.batch + 2 * columns),
            views.stream,
        )
        return contexts, weights

    def pull(
        self,
        queries: Any,
        weights: Any,
        dcontexts: Any,
        *,
        lengths: ArrayLike | None = None,
        dvector: Any | None = None,
    ) -> tuple[Any, Any, Any]:
        """`functional.AttentionMemory.pull`: dqueries, dkeys and dvalues."""
        dqueries = self.empty(queries.shape)
        dscores = self.empty(weights.shape)
        dkeys, dvalues = self._empty_memory()
        gradients = (dqueries, dkeys, dvalues, dvector)
        self._pull(queries, weights, dcontexts, lengths, dscores, gradients, scored=False)
        return dqueries, dkeys, dvalues

    def pull_queries(
        self,
        queries: Any,
        weights: Any,
        dcontexts: Any,
        *,
        lengths: ArrayLike | None = None,
        dscores: Any | None = None,
    ) -> tuple[Any, Any]:
        """`functional.AttentionMemory.pull_queries`: dqueries and dscores."""
        dqueries = self.empty(queries.shape)
        if dscores is None:
            dscores = self.empty(weights.shape)
        gradients = (dqueries, None, None, None)
        self._pull(queries, weights, dcontexts, lengths, dscores, gradients, scored=False)
        return dqueries, dscores

    def pull_memory(
        self,
        queries: Any,
        weights: Any,
        dcontexts: Any,
        dscores: Any,
        *,
        lengths: ArrayLike | None = None,
        dvector: Any | None = None,
    ) -> tuple[Any, Any]:
        """`functional.AttentionMemory.pull_memory`: dkeys and dvalues."""
        dkeys, dvalues = self._empty_memory()
        gradients = (None, dkeys, dvalues, dvector)
        self._pull(queries, weights, dcontexts, lengths, dscores, gradients, scored=True)
        return dkeys, dvalues

    def _pull(
        self,
        queries: Any,
        weights: Any,
        dcontexts: Any,
        lengths: ArrayLike | None,
        dscores: Any,
        gradients: tuple[Any | None, ...],
        *,
        scored: bool,
    ) -> None:
        """Writes dscores, unless `scored`, and (dqueries, dkeys, dvalues, dvector)."""
        from .. import _cuda

        views = self._views()
        memory = self._viewed(views)
        dqueries, dkeys, dvalues, dvector = gradients
        scratch = _cuda.attention_scratch(*memory, dkeys is not None)
        _cuda.attention_backward(
            *memory,
            self._lengths,
            views.of("queries", queries),
            views.of("weights", weights),
            views.of("dcontexts", dcontexts),
            _whole(lengths, self.batch, queries.shape[0]),
            views.of("dscores", dscores),
            scored,
            views.of_some("dqueries", dqueries),
            views.of_some("dkeys", dkeys),
            views.of_some("dvalues", dvalues),
            views.of_some("dvector", dvector),
            integers(self._arrays, views, 2 * self.batch),
            views.of("scratch", self.empty((scratch,))),
            views.stream,
        )

    def _views(self) -> Views:
        return Views("attention", self._arrays.stream)

    def _viewed(self, views: Views) -> tuple[Any, Any, Any]:
        keys, values, vector = self._memory
        return (
            views.of("keys", keys),
            views.of("values", values),
            views.of_some("vector", vector),
        )

    def _empty_memory(self) -> tuple[Any, Any]:
        shape = (self.places, self.batch)
        return (
            self.empty((*shape, self.key_size)),
            self.empty((*shape, self.value_size)),
        )


def _whole(lengths: ArrayLike | None, count: int, limit: int) -> Any:
    return whole_lengths(to_host(lengths), count, limit)
