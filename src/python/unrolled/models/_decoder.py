"""The decoder of a sequence-to-sequence model: recurrent layers with attention over a memory."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..layers import (
    Attention,
    Dropout,
    Embedding,
    Initialiser,
    Layer,
    Linear,
    Recurrent,
    Score,
    SoftmaxHead,
)
from ..layers._place import functions_of, move, put_rows, take_rows
from ..layers._types import Array
from ._decoder_feeding import FedPass

Lengths = NDArray[np.int64]

#: What a pass back gives: dmemory (S, B, M) and the gradient of the first state.
DecoderPullback = Callable[[float], tuple[Array, Any]]


class Decoder(Layer):
    """Writes one token after the other, each time reading the memory of the source.

        h_t = recurrent(x_t, h_{t-1})                   x_t the embedded token before, or with
                                                        input feeding [x_t; o_{t-1}]
        c_t = attention(h_t, memory)
        o_t = tanh(W_o [c_t; h_t] + b_o)
        p(y_t | ...) = softmax(W_y o_t + b_y)

    Without input feeding no step depends on a context, so that all of them run in one scan, one
    call of the attention and one of the head. With it (Luong, Pham and Manning 2015) a step is
    told what was read before it, and steps go one by one.

    Shapes: T steps, B batch, S places, E embedding, H hidden, M memory, V vocabulary.

    Args:
        vocab_size: V.
        embedding_size: E, also the size of o_t.
        hidden_size: H.
        memory_size: M.
        num_layers, cell: of the recurrent layers.
        score: see `Attention`.
        input_feeding: whether the recurrent layers read o_{t-1}.
        dropout: of the inputs and between layers, the same in every step, and of o_t.
        tied: the embedding is the head's matrix, times sqrt(E) (Vaswani et al. 2017): its rows
            begin too short to be read. Without that Multi30k has twice the perplexity after 250
            updates.
        dtype, rng, init: as of every layer.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        vocab_size: int,
        *,
        embedding_size: int,
        hidden_size: int,
        memory_size: int,
        num_layers: int,
        cell: str,
        score: Score,
        input_feeding: bool,
        dropout: float,
        tied: bool,
        dtype: DTypeLike,
        rng: np.random.Generator,
        init: str | Initialiser,
    ) -> None:
        self.input_feeding = bool(input_feeding)
        self._scale = math.sqrt(embedding_size) if tied else 1.0
        self.rnn: Recurrent[Any] = Recurrent(
            cell,
            embedding_size * (2 if input_feeding else 1),
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            variational=True,
            dtype=dtype,
            rng=rng,
            init=init,
        )
        self.attention = Attention(hidden_size, memory_size, score, dtype=dtype, rng=rng, init=init)
        self.output = Linear(
            memory_size + hidden_size, embedding_size, dtype=dtype, rng=rng, init=init
        )
        self.head = SoftmaxHead(embedding_size, vocab_size, dtype=dtype, rng=rng, init=init)
        self.embedding = Embedding(
            vocab_size,
            embedding_size,
            tied_to=self.head if tied else None,
            dtype=dtype,
            rng=rng,
            init=init,
        )
        self.dropout_input = Dropout(dropout, variational=True)
        self.dropout = Dropout(dropout)
        super().__init__(
            children={
                "rnn": self.rnn,
                "attention": self.attention,
                "output": self.output,
                "head": self.head,
                "embedding": self.embedding,
                "dropout_input": self.dropout_input,
                "dropout": self.dropout,
            }
        )

    def table(self) -> Array:
        """Returns what the recurrent layers read of each token, (V, E); a copy."""
        table: Array = self.embedding.weight * self._scale
        return table

    def loss_vjp(
        self,
        inputs: Array,
        targets: Array,
        lengths: Lengths,
        memory: Array,
        memory_lengths: Lengths,
        state: Any,
        *,
        smoothing: float,
        rng: np.random.Generator | None,
    ) -> tuple[float, DecoderPullback]:
        """Returns the mean loss of the live targets (T, B), teacher-forced, and its pullback."""
        live = live_rows(len(inputs), lengths)
        embedded, embedding_pullback = self.embedding.vjp(inputs)
        embedded *= self._scale
        x, input_pullback = self.dropout_input.vjp(embedded, rng=rng)
        run = self._fed_vjp if self.input_feeding else self._scan_vjp
        outputs, run_pullback = run(x, lengths, live, memory, memory_lengths, state, rng)
        dropped, dropout_pullback = self.dropout.vjp(outputs, rng=rng)
        loss, head_pullback = self.head.loss_vjp(
            dropped, targets.reshape(-1)[live], smoothing=smoothing
        )

        def pullback(dloss: float) -> tuple[Array, Any]:
            doutputs = dropout_pullback(head_pullback(dloss))
            dx, dmemory, dstate = run_pullback(doutputs)
            embedding_pullback(input_pullback(dx) * self._scale)
            return dmemory, dstate

        return loss, pullback

    def _scan_vjp(
        self,
        x: Array,
        lengths: Lengths,
        live: Array,
        memory: Array,
        memory_lengths: Lengths,
        state: Any,
        rng: np.random.Generator | None,
    ) -> tuple[Array, Callable[[Array], tuple[Array, Array, Any]]]:
        """All steps at once; outputs are those of the live rows, (N, E)."""
        (hidden, _), rnn_pullback = self.rnn.vjp(x, state, lengths=lengths, rng=rng)
        (contexts, _), attention_pullback = self.attention.vjp(
            hidden, memory, lengths=lengths, memory_lengths=memory_lengths
        )
        width = contexts.shape[2]
        joined = join_rows(contexts, hidden, live)
        linear, output_pullback = self.output.vjp(joined)
        outputs = np.tanh(linear, out=linear)

        def pullback(doutputs: Array) -> tuple[Array, Array, Any]:
            djoined = output_pullback(doutputs * (1.0 - outputs * outputs))
            dcontexts, dhidden = np.zeros_like(contexts), np.zeros_like(hidden)
            put_rows(djoined[:, :width], live, rows_of(dcontexts))
            put_rows(djoined[:, width:], live, rows_of(dhidden))
            dqueries, dmemory = attention_pullback(dcontexts)
            dhidden += dqueries
            dx, dstate = rnn_pullback(dhidden)
            return dx, dmemory, dstate

        return outputs, pullback

    def _fed_vjp(
        self,
        x: Array,
        lengths: Lengths,
        live: Array,
        memory: Array,
        memory_lengths: Lengths,
        state: Any,
        rng: np.random.Generator | None,
    ) -> tuple[Array, Callable[[Array], tuple[Array, Array, Any]]]:
        """Step by step; otherwise as `_scan_vjp`."""
        fed = FedPass(
            self.rnn.steps_vjp(rng=rng),
            self.attention.steps_vjp(memory, len(x), memory_lengths=memory_lengths),
            self.output,
        )
        outputs = live_of(fed.run(x, lengths, state), live)

        def pullback(doutputs: Array) -> tuple[Array, Array, Any]:
            scattered = np.zeros_like(x)
            put_rows(doutputs, live, rows_of(scattered))
            return fed.pull(scattered)

        return outputs, pullback

    def losses(
        self,
        inputs: Array,
        targets: Array,
        lengths: Lengths,
        memory: Array,
        memory_lengths: Lengths,
        state: Any,
    ) -> tuple[Array, Array]:
        """Returns the losses of all targets, (T, B), and the attention's weights (T, B, S).

        Both are 0 behind the end of a target, and on the host.
        """
        outputs, weights = self._read(inputs, lengths, memory, memory_lengths, state)
        live = live_rows(len(inputs), lengths)
        losses = np.zeros(targets.shape, outputs.dtype)
        own = self.head.losses(outputs, targets.reshape(-1)[live])
        losses.reshape(-1)[live] = move(own, "cpu")
        return losses, move(weights, "cpu")

    def _read(
        self,
        inputs: Array,
        lengths: Lengths,
        memory: Array,
        memory_lengths: Lengths,
        state: Any,
    ) -> tuple[Array, Array]:
        live = live_rows(len(inputs), lengths)
        x = self.embedding(inputs) * self._scale
        if self.input_feeding:
            attention = self.attention.steps_vjp(memory, len(x), memory_lengths=memory_lengths)
            # Dropout between the layers would need an rng: there is none here.
            steps = self.rnn.steps_vjp(training=False)
            outputs = FedPass(steps, attention, self.output).run(x, lengths, state)
            return live_of(outputs, live), attention.weights
        hidden, _ = self.rnn(x, state, lengths=lengths)
        contexts, weights = self.attention(
            hidden, memory, lengths=lengths, memory_lengths=memory_lengths
        )
        return np.tanh(self.output(join_rows(contexts, hidden, live))), weights


def live_rows(steps: int, lengths: Lengths) -> Array:
    """Returns which of the T*B rows of a (T, B) array are before the end, in ascending order."""
    return np.flatnonzero(np.arange(steps)[:, None] < lengths)


def join_rows(contexts: Array, hidden: Array, live: Array) -> Array:
    """Returns the live rows of [contexts; hidden], (N, M + H)."""
    width = contexts.shape[2]
    shape = (live.size, width + hidden.shape[2])
    joined: Array = functions_of(hidden).empty(shape, hidden.dtype)
    joined[:, :width] = take_rows(rows_of(contexts), live)
    joined[:, width:] = take_rows(rows_of(hidden), live)
    return joined


def live_of(sequence: Array, live: Array) -> Array:
    """Returns the live rows (N, W) of a (T, B, W) array."""
    return take_rows(rows_of(sequence), live)


def rows_of(sequence: Array) -> Array:
    """Returns a (T, B, W) array as its rows, (T * B, W)."""
    return sequence.reshape(-1, sequence.shape[2])


def inputs_of(targets: Array) -> Array:
    """Returns what the decoder reads at each step: the token 0, then the target before."""
    inputs = np.zeros_like(targets)
    inputs[1:] = targets[:-1]
    return inputs
