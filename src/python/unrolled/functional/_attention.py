"""Attention over sources of different lengths, and the most probable tokens of a softmax."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ._types import Array, empty, indices_of

Integers = NDArray[np.int64]


class AttentionMemory:
    """Keys and values of B sources, packed once for the queries that will read them.

        score(t, s) = q_t . k_s                     or, with a vector v,  v . tanh(q_t + k_s)
        a_t         = softmax of score(t, .) over the places of the source alone
        c_t         = sum_s a_ts value_s

    The copies are a snapshot: later changes of the arrays do not reach them. A query's context has
    the same bits whether it comes alone or with others, and whatever stands behind the end of its
    source. The tanh of all pairs of a query and a place is never stored.

    Shapes: S places, B sources, T steps, N columns of queries, K width of keys, M of values.
        keys (S, B, K), values (S, B, M), unit stride along the last axis; vector (K,); lengths (B,)

    Args:
        keys: what queries are compared with.
        values: what is read.
        vector: v; None scores by products.
        lengths: places of each source, 0 allowed (it gives contexts of zeros); None = S.
        backward: also pack what `pull` and its parts need.

    Raises:
        ValueError: a shape does not fit, or a length is out of range.
        TypeError: a dtype other than float32 or float64, or two of them.

    Source: Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to align and
    translate", 2015; Luong, Pham and Manning, "Effective approaches to attention-based neural
    machine translation", 2015.
    """

    def __init__(
        self,
        keys: Array,
        values: Array,
        vector: Array | None = None,
        *,
        lengths: ArrayLike | None = None,
        backward: bool = True,
    ) -> None:
        if keys.ndim != 3 or values.ndim != 3:
            raise ValueError(
                "[attention] expected keys of shape (S, B, K) and values of shape (S, B, M), "
                f"got {keys.shape} and {values.shape}"
            )
        self.places, self.batch, self.key_size = keys.shape
        self.value_size = values.shape[2]
        self.dtype = keys.dtype
        self._core = _core.AttentionMemory(
            keys, values, vector, whole_lengths(lengths, self.batch, self.places), backward
        )

    def empty(self, shape: tuple[int, ...]) -> Array:
        """An uninitialised array of the dtype of the memory, where it lies."""
        return empty(shape, self.dtype)

    def attend(
        self,
        queries: Array,
        *,
        lengths: ArrayLike | None = None,
        sources: ArrayLike | None = None,
    ) -> tuple[Array, Array]:
        """Returns contexts (T, N, M) and weights (T, N, S) of queries (T, N, K).

        Args:
            queries: unit stride along K.
            lengths: (N,) steps of each column; None = T. Behind them contexts and weights are 0.
            sources: (N,) which source each column reads; None: column b reads source b.
        """
        if queries.ndim != 3:
            raise ValueError(
                f"[attention] expected queries of shape (T, N, K), got {queries.shape}"
            )
        steps, columns = queries.shape[:2]
        if sources is None:
            sources = np.arange(columns)
        contexts = self.empty((steps, columns, self.value_size))
        weights = self.empty((steps, columns, self.places))
        self._core.attend(
            queries,
            indices_of("attention", "sources", sources),
            whole_lengths(lengths, columns, steps),
            contexts,
            weights,
        )
        return contexts, weights

    def pull(
        self,
        queries: Array,
        weights: Array,
        dcontexts: Array,
        *,
        lengths: ArrayLike | None = None,
        dvector: Array | None = None,
    ) -> tuple[Array, Array, Array]:
        """The pullback of `attend` without `sources`; adds to dvector (K,), if there is a vector.

        Returns:
            dqueries (T, B, K), zero behind the end of a column; dkeys (S, B, K) and dvalues
            (S, B, M), zero behind the end of a source.
        """
        dqueries, dscores = self.empty(queries.shape), self.empty(weights.shape)
        dkeys, dvalues = self._empty_memory()
        self._core.pull(
            queries,
            whole_lengths(lengths, self.batch, len(queries)),
            weights,
            dcontexts,
            dscores,
            False,
            dqueries,
            dkeys,
            dvalues,
            dvector,
        )
        return dqueries, dkeys, dvalues

    def pull_queries(
        self,
        queries: Array,
        weights: Array,
        dcontexts: Array,
        *,
        lengths: ArrayLike | None = None,
        dscores: Array | None = None,
    ) -> tuple[Array, Array]:
        """The part of `pull` that a step needs before the step before it: dqueries and dscores.

        A decoder that goes back step by step takes this part at each of them, and the gradient of
        the memory, by `pull_memory`, once for all.

        Args:
            queries, weights, dcontexts, lengths: as of `pull`.
            dscores: (T, B, S), where to write the gradients of the scores; a new array if None.
        """
        dqueries = self.empty(queries.shape)
        if dscores is None:
            dscores = self.empty(weights.shape)
        ends = whole_lengths(lengths, self.batch, len(queries))
        self._core.pull(
            queries, ends, weights, dcontexts, dscores, False, dqueries, None, None, None
        )
        return dqueries, dscores

    def pull_memory(
        self,
        queries: Array,
        weights: Array,
        dcontexts: Array,
        dscores: Array,
        *,
        lengths: ArrayLike | None = None,
        dvector: Array | None = None,
    ) -> tuple[Array, Array]:
        """The other part: dkeys (S, B, K) and dvalues (S, B, M), from the dscores of all steps."""
        dkeys, dvalues = self._empty_memory()
        ends = whole_lengths(lengths, self.batch, len(queries))
        self._core.pull(
            queries, ends, weights, dcontexts, dscores, True, None, dkeys, dvalues, dvector
        )
        return dkeys, dvalues

    def _empty_memory(self) -> tuple[Array, Array]:
        shape = (self.places, self.batch)
        return self.empty((*shape, self.key_size)), self.empty((*shape, self.value_size))


def best_tokens(
    logits: Array, count: int, *, banned: ArrayLike | None = None
) -> tuple[Integers, NDArray[np.float64]]:
    """The most probable tokens of each row, without sorting or normalising the others.

    Shapes: logits (N, V); tokens and scores (N, count).

    Args:
        logits: before the softmax, C-contiguous; -inf allowed.
        count: how many of each row, at least 1.
        banned: (P, 2) pairs (row, token) that are passed over, in any order; they stay part of the
            softmax.

    Returns:
        tokens, the most probable first and of equals the lowest; their log-probabilities. Where a
        row has no more, tokens are -1 and scores -inf.
    """
    if count < 1:
        raise ValueError(f"[best_tokens] expected count >= 1, got {count}")
    pairs = np.empty((0, 2), np.int64)
    if banned is not None:
        pairs = indices_of("best_tokens", "banned", banned).reshape(-1, 2)
        pairs = np.ascontiguousarray(pairs[np.argsort(pairs[:, 0], kind="stable")])
    tokens = np.empty((len(logits), count), np.int64)
    scores = np.empty((len(logits), count), np.float64)
    _core.best_tokens(logits, pairs, tokens, scores)
    return tokens, scores


def whole_lengths(lengths: ArrayLike | None, count: int, limit: int) -> Integers:
    """Lengths as int64; all of them `limit` where None is given."""
    if lengths is None:
        return np.full(count, limit, np.int64)
    return indices_of("attention", "lengths", lengths)
