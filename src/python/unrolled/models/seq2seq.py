"""Sequence to sequence: an encoder reads all of a source, then a decoder writes the target."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import functional
from ..layers import Dropout, Embedding, Initialiser, Recurrent, Score
from ..layers._types import Array
from ._bridge import Bridge
from ._configured import ConfiguredModel
from ._decoder import Decoder, inputs_of
from ._decoder_stream import PackedDecoder

Lengths = NDArray[np.int64]


class Seq2Seq(ConfiguredModel):
    """Recurrent encoder and decoder with attention.

        m_1 .. m_S = encoder(x_1 .. x_S)             both directions, a stack of layers
        state_0    = bridge(the encoder's last states)
        y_t        = decoder(y_{t-1}, state_{t-1}, m_1 .. m_S)       see `Decoder`

    Sources and targets of a batch have any lengths, in any order; what stands behind their ends
    costs nothing in the recurrent layers, the attention and the head. The token 0 ends a target,
    and is what the decoder reads first.

    Shapes: S places, T steps, B batch, U source and V target vocabulary.
        sources (S, B) and targets (T, B) int64, lengths of either (B,).

    Args:
        source_vocab: U.
        target_vocab: V.
        embedding_size: numbers a token, and of the decoder's outputs.
        hidden_size: units of a layer of the decoder, and of one of the encoder over its
            directions: even where it is bidirectional.
        num_layers: of either.
        cell: a name from `unrolled.functional.cells()`, as "lstm", "gru".
        bidirectional: the encoder reads backwards too.
        score: see `Attention`.
        input_feeding: the decoder reads its last output too; slower, as steps go one by one.
        dropout: in training, of embedded tokens and between layers (the same in every step,
            Gal and Ghahramani 2016) and of the decoder's outputs.
        tied: the target's embedding is the matrix of the softmax (Press and Wolf 2017).
        dtype: float32 or float64.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.
        rng: where initial values come from; None draws fresh entropy.

    Raises:
        ValueError: a size below 1 or odd, an unknown cell, score or initialiser.

    Source: Sutskever, Vinyals and Le 2014; Bahdanau, Cho and Bengio 2015; Luong, Pham and Manning
    2015.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        source_vocab: int,
        target_vocab: int,
        *,
        embedding_size: int = 256,
        hidden_size: int = 256,
        num_layers: int = 1,
        cell: str = "lstm",
        bidirectional: bool = True,
        score: Score = "general",
        input_feeding: bool = False,
        dropout: float = 0.0,
        tied: bool = True,
        dtype: DTypeLike = np.float32,
        init: str | Initialiser = "orthogonal",
        rng: np.random.Generator | None = None,
    ) -> None:
        rng = np.random.default_rng() if rng is None else rng
        self.config = {
            "source_vocab": source_vocab,
            "target_vocab": target_vocab,
            "embedding_size": embedding_size,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "cell": cell,
            "bidirectional": bool(bidirectional),
            "score": score,
            "input_feeding": bool(input_feeding),
            "dropout": dropout,
            "tied": bool(tied),
            "dtype": str(np.dtype(dtype)),
        }
        if bidirectional and hidden_size % 2:
            raise ValueError(
                "[Seq2Seq] expected an even hidden_size, half for each direction of the encoder, "
                f"got {hidden_size}"
            )
        common: dict[str, Any] = {"dtype": dtype, "rng": rng, "init": init}
        self.embedding = Embedding(source_vocab, embedding_size, **common)
        self.dropout_input = Dropout(dropout, variational=True)
        self.encoder: Recurrent[Any] = Recurrent(
            cell,
            embedding_size,
            hidden_size // 2 if bidirectional else hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            variational=True,
            bidirectional=bidirectional,
            **common,
        )
        states = tuple(functional.cell_info(cell).states)
        self.bridge = Bridge(hidden_size, hidden_size, num_layers, states, **common)
        self.decoder = Decoder(
            target_vocab,
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            memory_size=hidden_size,
            num_layers=num_layers,
            cell=cell,
            score=score,
            input_feeding=input_feeding,
            dropout=dropout,
            tied=tied,
            **common,
        )
        super().__init__(
            children={
                "embedding": self.embedding,
                "dropout_input": self.dropout_input,
                "encoder": self.encoder,
                "bridge": self.bridge,
                "decoder": self.decoder,
            }
        )

    def encode(self, sources: Array, lengths: Lengths) -> tuple[Array, Any]:
        """Returns the memory (S, B, M) and the decoder's first state, (L, B, H) each."""
        self._check("sources", sources, lengths)
        memory, state = self.encoder(self.embedding.lookup(sources), lengths=lengths)
        return memory, self.bridge(state)

    def loss_vjp(
        self,
        sources: Array,
        source_lengths: Lengths,
        targets: Array,
        target_lengths: Lengths,
        *,
        smoothing: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> tuple[float, Callable[[float], None]]:
        """The training loss of a batch: cross-entropy of each target after those before it.

        Args:
            sources: (S, B) tokens, any valid ones behind the end.
            source_lengths: (B,) at least 1 to learn anything from the source.
            targets: (T, B) tokens, each target closed by the token 0.
            target_lengths: (B,) with the closing token.
            smoothing: label smoothing, see `functional.linear_cross_entropy_vjp`.
            rng: where dropout comes from; needed only by a model with dropout.

        Returns:
            The mean over all targets in nats; `pullback(dloss)`, which adds to `grads`.
        """
        self._check("sources", sources, source_lengths)
        self._check("targets", targets, target_lengths)
        embedded, embedding_pullback = self.embedding.vjp(sources)
        x, dropout_pullback = self.dropout_input.vjp(embedded, rng=rng)
        (memory, state), encoder_pullback = self.encoder.vjp(x, lengths=source_lengths, rng=rng)
        first, bridge_pullback = self.bridge.vjp(state)
        loss, decoder_pullback = self.decoder.loss_vjp(
            inputs_of(targets),
            targets,
            target_lengths,
            memory,
            source_lengths,
            first,
            smoothing=smoothing,
            rng=rng,
        )

        def pullback(dloss: float) -> None:
            dmemory, dfirst = decoder_pullback(dloss)
            dx, _ = encoder_pullback(dmemory, bridge_pullback(dfirst))
            embedding_pullback(dropout_pullback(dx))

        return loss, pullback

    def losses(
        self,
        sources: Array,
        source_lengths: Lengths,
        targets: Array,
        target_lengths: Lengths,
    ) -> tuple[Array, Array]:
        """Returns, without dropout, losses (T, B) in nats and attention weights (T, B, S).

        Both are 0 behind the end of a target.
        """
        self._check("targets", targets, target_lengths)
        memory, state = self.encode(sources, source_lengths)
        return self.decoder.losses(
            inputs_of(targets), targets, target_lengths, memory, source_lengths, state
        )

    def packed(self) -> PackedDecoder:
        """Returns the decoder with its weights packed for writing; see `PackedDecoder`."""
        return PackedDecoder(self.decoder)

    def describe(self) -> str:
        """A few lines for people: the layers and how many parameters they have."""
        lines = [f"sequence to sequence, {self.num_parameters:,} parameters, {self.dtype}"]
        decoder = self.decoder
        parts = (self.embedding, self.encoder, self.bridge, decoder.rnn, decoder.attention)
        for layer in (*parts, decoder.output, decoder.head, decoder.embedding):
            name = type(layer).__name__ if isinstance(layer, Bridge) else repr(layer)
            lines.append(f"  {name}: {layer.num_parameters:,}")
        return "\n".join(lines)

    def _check(self, name: str, tokens: Array, lengths: Lengths) -> None:
        if tokens.ndim != 2 or lengths.shape != tokens.shape[1:]:
            letter = "S" if name == "sources" else "T"
            raise ValueError(
                f"[Seq2Seq] expected {name} of shape ({letter}, B) with lengths (B,), "
                f"got {tokens.shape} and {lengths.shape}"
            )
