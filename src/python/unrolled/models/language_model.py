"""A language model: predicts each token of a text from those before it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import functional
from ..layers import (
    AdaptiveSoftmaxHead,
    Dropout,
    Embedding,
    Initialiser,
    Recurrent,
    SoftmaxHead,
)
from ..layers._checks import checked_probability, checked_size
from ..layers._types import Array
from ._configured import ConfiguredModel
from ._language_model_stream import LanguageModelStream as LanguageModelStream
from ._penalties import activation_gradient, temporal_activation_gradient


class LanguageModel(ConfiguredModel):
    """Embedding, a stack of recurrent layers, and a softmax over the vocabulary.

        e_t = embedding[token_t]
        h_t = recurrent(e_t, h_{t-1})
        p(token_{t+1}) = softmax(W h_t + b)

    A text of any length is read in chunks of T steps: the state goes from each chunk to the next,
    so the model remembers, and arrays have the size of one chunk, so memory does not grow::

        model = LanguageModel(vocab_size=100, rng=np.random.default_rng(0))
        state = None
        for tokens, targets in chunks:               # (T, B) each; targets are one step ahead
            (loss, state), pullback = model.loss_vjp(tokens, targets, state)
            model.zero_grads()
            pullback()                               # adds to model.grads
            ...                                      # an optimizer step over model.flat

    Gradients end at the start of a chunk (truncated back-propagation through time).

    With its rates of dropout, tied weights and the penalties of `loss_vjp` this is the AWD-LSTM of
    Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models", 2018.

    Shapes: T steps, B batch, V vocabulary, E embedding, H hidden, L layers.
        tokens, targets (T, B) int64; state as of the recurrent layer, (L, B, H) each.

    Args:
        vocab_size: V.
        embedding_size: E.
        hidden_size: H.
        num_layers: L.
        cell: a name from `unrolled.functional.cells()`, as "lstm", "gru", "rnn_tanh".
        dropout: probability of dropping each output of the last recurrent layer in training.
        dropout_hidden: the same for the layers below it; None = as `dropout`.
        dropout_input: the same for each number of the embedded tokens.
        dropout_embedding: probability of dropping a token of the vocabulary, wherever it occurs in
            a chunk.
        weight_dropout: probability of dropping each recurrent weight, for a chunk.
        variational: drop the same outputs in every step of a chunk.
        tied: use one (V, E) matrix for the embedding and the softmax; E must equal H.
        adaptive: cut-offs of an `AdaptiveSoftmaxHead` for a vocabulary in descending order of
            frequency, see `frequency_cutoffs`; none = a softmax over all of V.
        dtype: float32 or float64.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.
        rng: where initial values come from; None draws fresh entropy.

    Raises:
        ValueError: a size or probability out of range, an unknown cell, tied with E != H.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        vocab_size: int,
        *,
        embedding_size: int = 64,
        hidden_size: int = 256,
        num_layers: int = 1,
        cell: str = "lstm",
        dropout: float = 0.0,
        dropout_hidden: float | None = None,
        dropout_input: float = 0.0,
        dropout_embedding: float = 0.0,
        weight_dropout: float = 0.0,
        variational: bool = False,
        tied: bool = False,
        adaptive: Sequence[int] = (),
        dtype: DTypeLike = np.float32,
        init: str | Initialiser = "orthogonal",
        rng: np.random.Generator | None = None,
    ) -> None:
        if tied and embedding_size != hidden_size:
            raise ValueError(
                "[LanguageModel] tied weights need embedding_size == hidden_size, "
                f"got {embedding_size} and {hidden_size}"
            )
        vocab_size = checked_size("LanguageModel", "vocab_size", vocab_size)
        rng = np.random.default_rng() if rng is None else rng
        between = dropout
        if dropout_hidden is not None:
            between = checked_probability("LanguageModel", "dropout_hidden", dropout_hidden)
        self.config = {
            "vocab_size": vocab_size,
            "embedding_size": embedding_size,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "cell": cell,
            "dropout": dropout,
            "tied": tied,
            "dtype": str(np.dtype(dtype)),
        }
        # Left out where unused, so that a model without them has the config that it always had.
        optional = {
            "dropout_input": dropout_input,
            "dropout_embedding": dropout_embedding,
            "weight_dropout": weight_dropout,
            "variational": variational,
            "adaptive": [int(cutoff) for cutoff in adaptive],
        }
        self.config |= {name: value for name, value in optional.items() if value}
        if between != dropout:
            self.config["dropout_hidden"] = between
        self.rnn: Recurrent[Any] = Recurrent(
            cell,
            embedding_size,
            hidden_size,
            num_layers,
            dropout=between if num_layers > 1 else 0.0,
            variational=variational,
            weight_dropout=weight_dropout,
            dtype=dtype,
            rng=rng,
            init=init,
        )
        self.dropout_input = Dropout(dropout_input, variational=variational)
        self.dropout = Dropout(dropout, variational=variational)
        self.head: SoftmaxHead | AdaptiveSoftmaxHead
        if adaptive:
            self.head = AdaptiveSoftmaxHead(
                hidden_size, vocab_size, adaptive, dtype=dtype, rng=rng, init=init
            )
        else:
            self.head = SoftmaxHead(hidden_size, vocab_size, dtype=dtype, rng=rng, init=init)
        self.embedding = Embedding(
            vocab_size,
            embedding_size,
            dropout=dropout_embedding,
            tied_to=self.head if tied else None,
            dtype=dtype,
            rng=rng,
            init=init,
        )
        super().__init__(
            children={
                "embedding": self.embedding,
                "dropout_input": self.dropout_input,
                "rnn": self.rnn,
                "dropout": self.dropout,
                "head": self.head,
            }
        )

    def loss_vjp(
        self,
        tokens: Array,
        targets: Array,
        state: Any = None,
        *,
        rng: np.random.Generator | None = None,
        alpha: float = 0.0,
        beta: float = 0.0,
    ) -> tuple[tuple[float, Any], Callable[..., None]]:
        """The training loss of one chunk, the state after it, and the pullback.

        The loss is the cross-entropy alone, whereas the gradients are those of

            cross-entropy + alpha * mean(dropped(h)^2) + beta * mean((h_t - h_{t-1})^2)

        over the outputs h of the last recurrent layer: activation regularisation (AR) of what
        dropout leaves of them, and its temporal form (TAR) before dropout.

        Args:
            tokens: (T, B) int64, what the model reads.
            targets: (T, B) int64, what it should predict at each place; -1 does not count.
            state: the state after the chunk before, None = zeros. No gradient goes into it.
            rng: where dropout comes from; needed only by a model with dropout.
            alpha: weight of AR, >= 0.
            beta: weight of TAR, >= 0.

        Returns:
            (loss, state), pullback: the mean loss of the targets that count, in nats; the state to
            pass on; `pullback(dloss=1.0)`, which adds dloss times the gradients to `grads`.
            Parameters must not change between `loss_vjp` and its pullback.
        """
        self._check_tokens(tokens, targets)
        if not (alpha >= 0.0 and beta >= 0.0):
            raise ValueError(
                f"[LanguageModel] expected alpha >= 0 and beta >= 0, got {alpha} and {beta}"
            )
        embedded, embedding_pullback = self._embed_vjp(tokens, rng)
        (hidden, state), rnn_pullback = self.rnn.vjp(embedded, state, rng=rng)
        dropped, dropout_pullback = self.dropout.vjp(hidden, rng=rng)
        loss, head_pullback = self.head.loss_vjp(dropped, targets)

        def pullback(dloss: float = 1.0) -> None:
            ddropped = head_pullback(dloss)
            if alpha:
                ddropped = ddropped + activation_gradient(dropped, alpha * dloss)
            dhidden = dropout_pullback(ddropped)
            if beta:
                dhidden = dhidden + temporal_activation_gradient(hidden, beta * dloss)
            dembedded, _ = rnn_pullback(dhidden)
            embedding_pullback(dembedded)

        return (loss, state), pullback

    def _embed_vjp(
        self, tokens: Array, rng: np.random.Generator | None
    ) -> tuple[Array | functional.Lookup, Callable[[Array], None]]:
        if not self.dropout_input.p:
            return self.embedding.lookup_vjp(tokens, rng=rng)
        embedded, embedding_pullback = self.embedding.vjp(tokens, rng=rng)
        dropped, dropout_pullback = self.dropout_input.vjp(embedded, rng=rng)
        return dropped, lambda ddropped: embedding_pullback(dropout_pullback(ddropped))

    def losses(self, tokens: Array, targets: Array, state: Any = None) -> tuple[Array, Any]:
        """The loss of every target, for evaluation: without dropout.

        ::

            total, count, state = 0.0, 0, None
            for tokens, targets in chunks:           # of one long text: memory is that of a chunk
                losses, state = model.losses(tokens, targets, state)
                total += losses.sum(dtype=np.float64)
                count += np.count_nonzero(targets >= 0)
            bits_per_token = total / count / np.log(2)

        Returns:
            losses (T, B) in nats, 0 where the target is -1, and the state to pass on.
        """
        self._check_tokens(tokens, targets)
        hidden, state = self.rnn(self.embedding.lookup(tokens), state)
        return self.head.losses(hidden, targets), state

    def stream(self, batch: int = 1) -> "LanguageModelStream":
        """Starts a stream, for writing text: one token in, the logits of the next one out.

        The stream holds copies of the parameters as they are now; see `LanguageModelStream`.
        """
        return LanguageModelStream(
            self.embedding.weight.copy(), self.rnn.stream(batch), self.head.packed()
        )

    def describe(self) -> str:
        """A few lines for people: the layers and how many parameters they have."""
        lines = [f"language model, {self.num_parameters:,} parameters, {self.dtype}"]
        lines += [
            f"  {layer!r}: {layer.num_parameters:,}"
            for layer in (self.embedding, self.rnn, self.head)
        ]
        if self.dropout_input.p:
            lines.append(f"  {self.dropout_input!r} of the embedded tokens, in training")
        if self.dropout.p:
            lines.append(f"  {self.dropout!r} of the last outputs, in training")
        return "\n".join(lines)

    def _check_tokens(self, tokens: Array, targets: Array) -> None:
        if tokens.ndim != 2:
            raise ValueError(
                f"[LanguageModel] expected tokens of shape (T, B), got {tokens.shape}"
                + ("; give one text a batch axis: tokens[:, None]" if tokens.ndim == 1 else "")
            )
        if targets.shape != tokens.shape:
            raise ValueError(
                f"[LanguageModel] expected targets of shape (T, B) = {tokens.shape}, "
                f"got {targets.shape}"
            )
