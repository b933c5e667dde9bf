"""Models of video: answers for a clip or for each of its frames, and texts about it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import functional
from ..layers import Initialiser, Layer, Linear, Score
from ..layers._place import move, place_of
from ..layers._types import Array
from ._bridge import Bridge
from ._configured import ConfiguredModel
from ._decoder import Decoder, inputs_of
from ._decoder_stream import PackedDecoder
from ._video_encoder import Lengths, VideoEncoder, VideoEncoderConfig
from ._video_stream import VideoStream


class _OverVideo(ConfiguredModel):
    """What both models share: the encoder and its part of the configuration."""

    _runs_on_cuda = True

    encoder: VideoEncoder

    def __init__(self, encoder: VideoEncoder, others: dict[str, Layer]) -> None:
        self.encoder = encoder
        super().__init__(children={"encoder": encoder, **others})

    def describe(self) -> str:
        """A few lines for people: the layers and how many parameters they have."""
        encoder = self.encoder
        lines = [f"{type(self).__name__}, {self.num_parameters:,} parameters, {self.dtype}"]
        if encoder.network is not None:
            name = type(encoder.network).__name__
            lines.append(f"  {name} of {encoder.image}: {encoder.network.num_parameters:,}")
        for layer in (encoder.project, encoder.rnn):
            lines.append(f"  {layer!r}: {layer.num_parameters:,}")
        return "\n".join(lines)


class VideoModel(_OverVideo):
    """A `VideoEncoder` with an affine map: numbers or logits for each frame, or for a clip.

        y_t = W h_t + b          or, pooled, y = W mean_t h_t + b

    With a softmax over symbols and a blank the logits of the frames are what CTC takes; pooled ones
    say which of several classes a clip is.

    Shapes: as of `VideoEncoder`, V outputs. y (T, B, V), pooled (B, V).

    Args:
        encoder: a `VideoEncoderConfig`, or what its `to_json` gave.
        outputs: V.
        pooled: one answer for a clip rather than one for each frame.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.
        rng: where initial values come from; None draws fresh entropy.

    Raises:
        ValueError: a size below 1, an unknown network or cell.
    """

    def __init__(
        self,
        encoder: VideoEncoderConfig | Mapping[str, Any],
        outputs: int,
        *,
        pooled: bool = False,
        init: str | Initialiser = "orthogonal",
        rng: np.random.Generator | None = None,
    ) -> None:
        rng = np.random.default_rng() if rng is None else rng
        config = VideoEncoderConfig.of(encoder)
        self.config = {"encoder": config.to_json(), "outputs": outputs, "pooled": bool(pooled)}
        self.pooled = bool(pooled)
        frames = VideoEncoder(config, rng=rng, init=init)
        self.head = Linear(frames.output_size, outputs, dtype=config.dtype, rng=rng, init=init)
        super().__init__(frames, {"head": self.head})

    def __call__(self, images: Array, lengths: Lengths) -> Array:
        """Returns y (T, B, V), pooled (B, V), of images (N, ...), clip after clip."""
        hidden, _ = self.encoder(images, lengths)
        return self.outputs(hidden, lengths)

    def outputs(self, hidden: Array, lengths: Lengths) -> Array:
        """Returns y of what the encoder says, h (T, B, D * U)."""
        return self.head(_mean(hidden, lengths) if self.pooled else hidden)

    def vjp(
        self, images: Array, lengths: Lengths, *, rng: np.random.Generator | None = None
    ) -> tuple[Array, Callable[[Array], None]]:
        """Returns y, with dropout, and its pullback, which adds to `grads`; images get none.

        Parameters must not change between `vjp` and its pullback.
        """
        (hidden, _), encoder_pullback = self.encoder.vjp(images, lengths, rng=rng)
        y, head_pullback = self.head.vjp(_mean(hidden, lengths) if self.pooled else hidden)

        def pullback(dy: Array) -> None:
            dhidden = head_pullback(dy)
            if self.pooled:
                dhidden = dhidden * _weights(hidden, lengths)
            encoder_pullback(dhidden, None)

        return y, pullback

    def stream(self) -> VideoStream:
        """Starts a stream: frames in as they come, outputs out; see `VideoStream`.

        Raises:
            ValueError: the model is bidirectional, or on a CUDA device.
        """
        self.check_on_host()
        return VideoStream(self.encoder, self.head, pooled=self.pooled)


class CaptionModel(_OverVideo):
    """A `VideoEncoder` and a `Decoder` with attention: it has seen the whole clip, then it writes.

        h_1 .. h_T = encoder(frames)
        state_0    = bridge(the encoder's last states)
        y_n        = decoder(y_{n-1}, state_{n-1}, h_1 .. h_T)

    The token 0 ends a text, and is what the decoder reads first.

    Shapes: as of `VideoEncoder`, S steps of a text, V vocabulary. targets (S, B).

    Args:
        encoder: a `VideoEncoderConfig`, or what its `to_json` gave; cell, layers and units are the
            decoder's too.
        vocab: V.
        embedding_size: numbers a token, and of the decoder's outputs.
        score: of the attention.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.
        rng: where initial values come from; None draws fresh entropy.

    Raises:
        ValueError: a size below 1, an unknown network, cell or score.

    Source: Venugopalan et al., "Sequence to sequence: video to text", 2015; attention over frames,
    Yao et al., "Describing videos by exploiting temporal structure", 2015.
    """

    def __init__(
        self,
        encoder: VideoEncoderConfig | Mapping[str, Any],
        vocab: int,
        *,
        embedding_size: int = 128,
        score: Score = "general",
        init: str | Initialiser = "orthogonal",
        rng: np.random.Generator | None = None,
    ) -> None:
        rng = np.random.default_rng() if rng is None else rng
        config = VideoEncoderConfig.of(encoder)
        self.config = {
            "encoder": config.to_json(),
            "vocab": vocab,
            "embedding_size": embedding_size,
            "score": score,
        }
        frames = VideoEncoder(config, rng=rng, init=init)
        common: dict[str, Any] = {"dtype": config.dtype, "rng": rng, "init": init}
        states = tuple(functional.cell_info(config.cell).states)
        self.bridge = Bridge(
            frames.output_size, config.hidden_size, config.num_layers, states, **common
        )
        self.decoder = Decoder(
            vocab,
            embedding_size=embedding_size,
            hidden_size=config.hidden_size,
            memory_size=frames.output_size,
            num_layers=config.num_layers,
            cell=config.cell,
            score=score,
            input_feeding=False,
            dropout=config.dropout,
            tied=True,
            **common,
        )
        super().__init__(frames, {"bridge": self.bridge, "decoder": self.decoder})

    def encode(self, images: Array, lengths: Lengths) -> tuple[Array, Any]:
        """Returns the memory (T, B, D * U) and the decoder's first state."""
        memory, state = self.encoder(images, lengths)
        return memory, self.bridge(state)

    def loss_vjp(
        self,
        images: Array,
        lengths: Lengths,
        targets: Array,
        target_lengths: Lengths,
        *,
        smoothing: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> tuple[float, Callable[[float], None]]:
        """The mean loss of a batch over all tokens, in nats, and its pullback; see `Seq2Seq`."""
        (memory, state), encoder_pullback = self.encoder.vjp(images, lengths, rng=rng)
        first, bridge_pullback = self.bridge.vjp(state)
        loss, decoder_pullback = self.decoder.loss_vjp(
            inputs_of(targets),
            targets,
            target_lengths,
            memory,
            lengths,
            first,
            smoothing=smoothing,
            rng=rng,
        )

        def pullback(dloss: float) -> None:
            dmemory, dfirst = decoder_pullback(dloss)
            encoder_pullback(dmemory, bridge_pullback(dfirst))

        return loss, pullback

    def losses(
        self, images: Array, lengths: Lengths, targets: Array, target_lengths: Lengths
    ) -> tuple[Array, Array]:
        """Returns, without dropout, losses (S, B) in nats and attention weights (S, B, T)."""
        return self.losses_of(*self.encode(images, lengths), lengths, targets, target_lengths)

    def losses_of(
        self, memory: Array, state: Any, lengths: Lengths, targets: Array, target_lengths: Lengths
    ) -> tuple[Array, Array]:
        """`losses` of clips that `encode` has read."""
        return self.decoder.losses(
            inputs_of(targets), targets, target_lengths, memory, lengths, state
        )

    def packed(self) -> PackedDecoder:
        """Returns the decoder with its weights packed for writing."""
        return PackedDecoder(self.decoder)


def _weights(hidden: Array, lengths: Lengths) -> Array:
    """What each step of (T, B, H) counts in the mean of its clip, (T, B, 1)."""
    inside = np.arange(len(hidden))[:, None] < lengths
    weights: Array = (inside / np.maximum(lengths, 1)).astype(hidden.dtype)[..., None]
    return move(weights, place_of(hidden))


def _mean(hidden: Array, lengths: Lengths) -> Array:
    """(B, H) of (T, B, H)."""
    mean: Array = (hidden * _weights(hidden, lengths)).sum(axis=0)
    return mean
