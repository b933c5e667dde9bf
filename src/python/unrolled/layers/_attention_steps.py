"""Attention one step at a time, over a memory that is packed once."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from .. import cuda, functional
from ._linear import packed_linear
from ._place import contiguous
from ._types import Array

PackedMemory: TypeAlias = functional.AttentionMemory | cuda.AttentionMemory


class Projection:
    """A matrix that multiplies the few rows of a step, packed once for both ways.

    Shapes: weight (O, I), bias (O,); x (N, I), y (N, O).
    """

    def __init__(self, weight: Array, bias: Array | None = None, *, backward: bool = True) -> None:
        self._forward = packed_linear(weight, bias)
        self._backward = packed_linear(contiguous(weight.T)) if backward else None

    def __call__(self, x: Array) -> Array:
        """Returns y of x."""
        return self._forward(x)

    def pull(self, dy: Array) -> Array:
        """Returns dx of dy."""
        assert self._backward is not None
        return self._backward(dy)


class AttentionReader:
    """A packed memory and the queries' projection, for inference; see `Attention.reader`.

    Shapes: N queries, H their size, M size of the memory, S places.
    """

    def __init__(self, memory: PackedMemory, projection: Projection | None) -> None:
        self._memory = memory
        self._projection = projection

    def __call__(self, queries: Array, sources: Array) -> tuple[Array, Array]:
        """Returns contexts (N, M) and weights (N, S) of queries (N, H) over `sources` (N,)."""
        projected = queries if self._projection is None else self._projection(queries)
        contexts, weights = self._memory.attend(projected[None], sources=sources)
        return contexts[0], weights[0]


class AttentionSteps:
    """Training where a query depends on the context of the step before.

    ::

        steps = attention.steps_vjp(memory, T)
        for t in range(T):
            context = steps(t, query, live)            # (B, H) -> (B, M)
        for t in reversed(range(T)):
            dquery = steps.pull(t, dcontext)           # (B, M) -> (B, H)
        dmemory = steps.finish()                       # adds to attention.grads

    Only what the step before needs is computed in `pull`; the gradients of the memory and of the
    parameters are summed over all steps at once.
    """

    def __init__(
        self,
        memory: PackedMemory,
        projection: Projection | None,
        steps: int,
        pull: Callable[[Array, Array, Array, Array], Array],
        dvector: Array | None,
        query_size: int,
    ) -> None:
        self._memory, self._projection = memory, projection
        self._pull, self._dvector = pull, dvector
        shape = (steps, memory.batch)
        self._live = np.empty(shape, np.int64)
        self._queries = memory.empty((*shape, query_size))
        self._projected = memory.empty((*shape, memory.key_size))
        self._weights = memory.empty((*shape, memory.places))
        self._dcontexts = memory.empty((*shape, memory.value_size))
        self._dscores = memory.empty((*shape, memory.places))
        self._dprojected = memory.empty((*shape, memory.key_size))

    def __call__(self, t: int, query: Array, live: Array) -> Array:
        """Returns the contexts (B, M) of step t; `live` (B,) int64 is 0 where a row has ended."""
        self._live[t] = live
        self._queries[t] = query
        self._projected[t] = query if self._projection is None else self._projection(query)
        contexts, self._weights[t : t + 1] = self._memory.attend(
            self._projected[t : t + 1], lengths=live
        )
        context: Array = contexts[0]
        return context

    @property
    def weights(self) -> Array:
        """The weights (T, B, S) of all steps so far."""
        return self._weights

    def pull(self, t: int, dcontext: Array) -> Array:
        """Returns dquery (B, H) of dcontext (B, M) of step t."""
        self._dcontexts[t] = dcontext
        step = slice(t, t + 1)
        self._dprojected[step], _ = self._memory.pull_queries(
            self._projected[step],
            self._weights[step],
            self._dcontexts[step],
            lengths=self._live[t],
            dscores=self._dscores[step],
        )
        dprojected: Array = self._dprojected[t]
        return dprojected if self._projection is None else self._projection.pull(dprojected)

    def finish(self) -> Array:
        """Adds to the gradients of the parameters; returns dmemory (S, B, M)."""
        dkeys, dvalues = self._memory.pull_memory(
            self._projected,
            self._weights,
            self._dcontexts,
            self._dscores,
            lengths=self._live.sum(axis=0),
            dvector=self._dvector,
        )
        return self._pull(self._queries, self._dprojected, dkeys, dvalues)
