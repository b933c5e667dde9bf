"""A decoder in use: one step of all hypotheses at a time."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..layers import AttentionReader, Projection, Stream
from ..layers._place import chosen, functions_of, move, zeros
from ..layers._state import map_state
from ..layers._types import Array

if TYPE_CHECKING:
    from ._decoder import Decoder

Integers = NDArray[np.int64]


class PackedDecoder:
    """A decoder with its weights packed once, for any number of sources.

    Parameters must not change while it is in use.
    """

    def __init__(self, decoder: "Decoder") -> None:
        self._table = decoder.table()
        self._rnn: Stream[Any] = decoder.rnn.stream(1)
        self._output = Projection(
            decoder.output.parameters["weight"],
            decoder.output.parameters["bias"],
            backward=False,
        )
        self._head: Callable[[Array], Array] = decoder.head.packed()
        self._reader = decoder.attention.reader
        self._fed = decoder.embedding.embedding_size if decoder.input_feeding else 0

    def start(self, memory: Array, memory_lengths: Array, state: Any) -> "DecoderStream":
        """Begins a hypothesis for each source.

        Args:
            memory: (S, B, M), of the encoder.
            memory_lengths: (B,).
            state: the first state, (L, B, H) each.
        """
        return DecoderStream(
            self._table,
            self._rnn.fork(memory.shape[1]),
            self._reader(memory, memory_lengths=memory_lengths),
            self._output,
            self._head,
            state,
            self._fed,
        )


class DecoderStream:
    """Hypotheses that grow by a token a step; each reads the memory of its own source.

    ::

        stream = model.packed().start(memory, lengths, state)
        logits, weights = stream.step(np.zeros(B, np.int64))    # (B, V), (B, S)
        stream.keep(parents)                                    # go on with these, in this order
        logits, weights = stream.step(tokens)

    Bit for bit what the model computes over whole targets. A stream serves one caller.

    Attributes:
        sources: (N,) the source of each hypothesis.
    """

    def __init__(
        self,
        table: Array,
        rnn: Stream[Any],
        reader: AttentionReader,
        output: Projection,
        head: Callable[[Array], Array],
        state: Any,
        fed: int,
    ) -> None:
        self._table, self._rnn, self._reader = table, rnn, reader
        self._output, self._head = output, head
        self._rnn.state = state
        self._previous = zeros((rnn.batch, fed), table)
        self.sources: Integers = np.arange(rnn.batch)

    def step(self, tokens: Array) -> tuple[Array, Array]:
        """Reads a token (N,) of each hypothesis; returns logits (N, V) and weights (N, S).

        Both lie on the host, where hypotheses are compared.
        """
        x = functions_of(self._table).embedding(tokens, self._table)
        if self._previous.shape[1]:
            x = np.concatenate([x, self._previous], axis=1)
        hidden = self._rnn(x)
        context, weights = self._reader(hidden, self.sources)
        output = self._output(np.concatenate([context, hidden], axis=1))
        np.tanh(output, out=output)
        if self._previous.shape[1]:
            self._previous = output
        return move(self._head(output), "cpu"), move(weights, "cpu")

    def keep(self, parents: Array) -> None:
        """Goes on with these hypotheses (N',), in this order; one may be named several times."""
        state = self._rnn.state
        if parents.size != self._rnn.batch:
            self._rnn = self._rnn.fork(max(int(parents.size), 1))
        if parents.size:
            self._rnn.state = map_state(lambda a: chosen(a, parents, axis=1), state)
        self._previous = chosen(self._previous, parents)
        self.sources = self.sources[parents]
