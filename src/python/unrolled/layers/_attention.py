"""Attention: for each step of a decoder, a mean of the encoder's outputs with learnt weights."""

import math
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import DTypeLike

from ._attention_steps import AttentionReader, AttentionSteps, PackedMemory, Projection
from ._base import Layer
from ._checks import checked_dtype, checked_size
from ._initialisers import Initialiser, initialise
from ._place import functions_of
from ._specs import ParameterSpec
from ._types import Array

#: How a query and a place of the memory are compared; see `Attention`.
Score: TypeAlias = Literal["dot", "general", "concat", "additive"]


class Attention(Layer):
    """Reads a memory of S places: a softmax of scores weighs them for each query.

        dot        score(q, m) = q . m                              needs H = M
        general    score(q, m) = (W q) . m / sqrt(M)
        concat     score(q, m) = v . tanh(W_q q + W_m m)
        additive   score(q, m) = v . tanh(W_q q + W_m m + b)
        a = softmax over the places of the source alone;  c = sum_s a_s m_s

    The first three are Luong's (his concat has W_q and W_m side by side), the last is Bahdanau's.
    The root, of Vaswani et al. 2017, is not: without it training makes the scores so large that the
    softmax sees one place alone and learns no more.

    Shapes: T steps, B batch, S places, H size of queries, M of the memory, A of the hidden layer.
        weight (M, H) of general; query_weight (A, H), memory_weight (A, M), vector (A,) of concat
        and additive, bias (A,) of additive; queries (T, B, H), memory (S, B, M), contexts
        (T, B, M), weights (T, B, S); lengths of either (B,).

    Args:
        query_size: H.
        memory_size: M.
        score: one of the four above.
        size: A; None = H.
        dtype: float32 or float64.
        rng: where initial values come from; None draws fresh entropy.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.

    Raises:
        ValueError: a size below 1, an unknown score, or "dot" with H other than M.

    Source: Bahdanau, Cho and Bengio 2015; Luong, Pham and Manning 2015.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        score: Score = "general",
        *,
        size: int | None = None,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: str | Initialiser = "orthogonal",
    ) -> None:
        self.query_size = H = checked_size("Attention", "query_size", query_size)
        self.memory_size = M = checked_size("Attention", "memory_size", memory_size)
        self.size = A = checked_size("Attention", "size", H if size is None else size)
        if score not in get_args(Score):
            raise ValueError(
                f"[Attention] expected score to be one of {', '.join(get_args(Score))}, "
                f"got {score!r}"
            )
        if score == "dot" and H != M:
            raise ValueError(
                f"[Attention] score 'dot' expects queries and memory of one size, got {H} and {M}; "
                "'general' takes any"
            )
        self.score = score
        self._scale = 1.0 / math.sqrt(M) if score == "general" else 1.0
        specs = {
            "weight": ParameterSpec("weight", "input", (M, H), ("y",), H),
            "query_weight": ParameterSpec("query_weight", "input", (A, H), ("y",), H),
            "memory_weight": ParameterSpec("memory_weight", "input", (A, M), ("y",), M),
            "bias": ParameterSpec("bias", "input_bias", (A,), ("y",), H),
            "vector": ParameterSpec("vector", "input", (1, A), ("y",), A),
        }
        sums = ("query_weight", "memory_weight", "vector")
        names = {"dot": (), "general": ("weight",), "concat": sums, "additive": (*sums, "bias")}
        kind = checked_dtype("Attention", dtype)
        rng = np.random.default_rng() if rng is None else rng
        own = {name: initialise(init, specs[name], rng, kind) for name in names[score]}
        if "vector" in own:
            own["vector"] = own["vector"].reshape(A)
        super().__init__(own)

    def __repr__(self) -> str:
        return f"Attention({self.query_size}, {self.memory_size}, {self.score!r})"

    def __call__(
        self,
        queries: Array,
        memory: Array,
        *,
        lengths: Array | None = None,
        memory_lengths: Array | None = None,
    ) -> tuple[Array, Array]:
        """Returns contexts (T, B, M) and weights (T, B, S).

        Args:
            queries: (T, B, H).
            memory: (S, B, M).
            lengths: (B,) queries of each column, None = T; behind them both results are 0.
            memory_lengths: (B,) places of each source, None = S; the others get no weight.
        """
        packed = self._packed(memory, memory_lengths, backward=False)
        return packed.attend(self._projected(queries), lengths=lengths)

    def vjp(
        self,
        queries: Array,
        memory: Array,
        *,
        lengths: Array | None = None,
        memory_lengths: Array | None = None,
    ) -> tuple[tuple[Array, Array], Callable[[Array], tuple[Array, Array]]]:
        """Returns (contexts, weights) and the pullback of the contexts.

        `dqueries, dmemory = pullback(dcontexts)` adds to `grads`. It refers to the arguments and
        to the parameters: leave them as they are until it has run. No gradient goes into weights.
        """
        self._expect(self._own_names)
        packed = self._packed(memory, memory_lengths)
        projected = self._projected(queries)
        contexts, weights = packed.attend(projected, lengths=lengths)

        def pullback(dcontexts: Array) -> tuple[Array, Array]:
            dprojected, dkeys, dvalues = packed.pull(
                projected, weights, dcontexts, lengths=lengths, dvector=self._grads.get("vector")
            )
            dqueries = self._pull_projection(queries, dprojected)
            dmemory = self._pull_keys(memory, dkeys, dvalues)
            self._added(self._own_names)
            return dqueries, dmemory

        return (contexts, weights), pullback

    def steps_vjp(
        self, memory: Array, steps: int, *, memory_lengths: Array | None = None
    ) -> AttentionSteps:
        """Starts training step by step, where a query depends on the context before it."""
        packed = self._packed(memory, memory_lengths)

        def pull(queries: Array, dprojected: Array, dkeys: Array, dvalues: Array) -> Array:
            self._pull_projection(queries, dprojected, needs_dx=False)
            return self._pull_keys(memory, dkeys, dvalues)

        return AttentionSteps(
            packed, self._projection(), steps, pull, self._grads.get("vector"), self.query_size
        )

    def reader(self, memory: Array, *, memory_lengths: Array | None = None) -> AttentionReader:
        """Returns the memory packed for inference.

        Parameters and memory are copied; on a CUDA device they are read where they lie.
        """
        packed = self._packed(memory, memory_lengths, backward=False)
        return AttentionReader(packed, self._projection(backward=False))

    # A query is multiplied by one matrix, if any, and so are the places for their keys.

    @property
    def _query_weight(self) -> str | None:
        return {"dot": None, "general": "weight"}.get(self.score, "query_weight")

    def _projection(self, *, backward: bool = True) -> Projection | None:
        name = self._query_weight
        if name is None:
            return None
        bias = self._parameters.get("bias")
        return Projection(self._scaled(name), bias, backward=backward)

    def _projected(self, queries: Array) -> Array:
        name = self._query_weight
        if name is None:
            return queries
        weight = self._scaled(name)
        y: Array = functions_of(weight).linear(queries, weight, self._parameters.get("bias"))
        return y

    def _scaled(self, name: str) -> Array:
        """The matrix of the queries, with the root of general scores."""
        weight: Array = self._parameters[name] * self._scale
        return weight

    def _pull_projection(self, queries: Array, dy: Array, *, needs_dx: bool = True) -> Array:
        name = self._query_weight
        if name is None:
            return dy
        weight = self._parameters[name]
        dqueries: Array | None = functions_of(weight).linear_backward(
            queries,
            weight,
            dy * self._scale,
            dweight=self._grads[name],
            dbias=self._grads.get("bias"),
            needs_dx=needs_dx,
        )
        return dy if dqueries is None else dqueries

    def _packed(
        self, memory: Array, lengths: Array | None, *, backward: bool = True
    ) -> PackedMemory:
        keys, vector = self._keys(memory), self._parameters.get("vector")
        packed: PackedMemory = functions_of(memory).AttentionMemory(
            keys, memory, vector, lengths=lengths, backward=backward
        )
        return packed

    def _keys(self, memory: Array) -> Array:
        weight = self._parameters.get("memory_weight")
        if weight is None:
            return memory
        keys: Array = functions_of(weight).linear(memory, weight)
        return keys

    def _pull_keys(self, memory: Array, dkeys: Array, dvalues: Array) -> Array:
        weight = self._parameters.get("memory_weight")
        if weight is None:
            dmemory = dkeys
        else:
            dmemory = functions_of(weight).linear_backward(
                memory, weight, dkeys, dweight=self._grads["memory_weight"]
            )
        dmemory += dvalues
        return dmemory
