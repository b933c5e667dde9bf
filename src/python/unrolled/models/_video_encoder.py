"""What all models of video begin with: a network for each frame, recurrent layers over time."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import functional
from ..layers import Dropout, Initialiser, Layer, Linear, Recurrent
from ..layers._checks import checked_size
from ..layers._place import move, put_rows, take_rows, zeros
from ..layers._types import Array
from ._frame_network import FrameNetwork
from .efficientnet import EfficientNet

Lengths = NDArray[np.int64]


@dataclass(frozen=True)
class VideoEncoderConfig:
    """What a `VideoEncoder` is built from, as plain values.

    Attributes:
        image: (H, W, C), or (F,) where features come from elsewhere.
        network: "none" for features; "small" for a `FrameNetwork`; "efficientnet-lite0" for an
            `EfficientNet`; with "@k" behind it without its first k blocks, which made the image.
        channels: of the convolutions of "small".
        pooled: of "small", the largest value of all places rather than all of them.
        context: k, frames on each other.
        features: numbers that the recurrent layers read of a frame.
        hidden_size, num_layers, cell, bidirectional: of the recurrent layers.
        dropout: of what they read, between them and of what they say, in training.
        dtype: float32 or float64.
    """

    image: tuple[int, ...]
    network: str = "small"
    channels: tuple[int, ...] = (32, 64, 96, 128)
    pooled: bool = False
    context: int = 1
    features: int = 256
    hidden_size: int = 256
    num_layers: int = 2
    cell: str = "gru"
    bidirectional: bool = True
    dropout: float = 0.0
    dtype: str = "float32"

    @classmethod
    def of(cls, values: "VideoEncoderConfig | Mapping[str, Any]") -> "VideoEncoderConfig":
        """Returns the configuration, or makes one of what `to_json` gave."""
        if isinstance(values, VideoEncoderConfig):
            return values
        sizes = {name: tuple(values[name]) for name in ("image", "channels")}
        return cls(**{**values, **sizes})

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {**asdict(self), "image": list(self.image), "channels": list(self.channels)}


class VideoEncoder(Layer):
    """Frames of clips in, outputs of recurrent layers out; the loss there reaches every layer.

        s_t = (x_{t-k+1}, ..., x_t)            k frames on each other, as channels
        u_t = relu(W network(s_t) + b)
        h_t = recurrent(u_t, h_{t-1})

    The same network sees every frame, and the state carries what it has seen: a model does not grow
    with the length of its clips. Frames before the first are as the first.

    Frames of all clips of a batch stand one after the other, clip after clip: the network does no
    work for padding.

    Shapes: B clips, T frames of the longest one, N frames of all together, H, W, C height, width
        and channels, F features, U hidden, D directions.
        images (N, H, W, C), or (N, F), and lengths (B,), both on the host wherever the model
        lies; h (T, B, D * U).

    Args:
        config: sizes and kinds of all parts.
        rng: where initial values come from.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.

    Raises:
        ValueError: a size below 1, an unknown network or cell.

    Source: Donahue et al., "Long-term recurrent convolutional networks for visual recognition and
    description", 2015; frames on each other, Simonyan and Zisserman 2014.
    """

    _runs_on_cuda = True

    def __init__(
        self, config: VideoEncoderConfig, *, rng: np.random.Generator, init: str | Initialiser
    ) -> None:
        self.image = tuple(checked_size("VideoEncoder", "image", size) for size in config.image)
        self.context = checked_size("VideoEncoder", "context", config.context)
        common: dict[str, Any] = {"dtype": config.dtype, "rng": rng}
        self.network = _make_network(config, **common)
        seen = self.network.output_size if self.network else self.context * int(np.prod(self.image))
        self.project = Linear(seen, config.features, init=init, **common)
        self.dropout_input = Dropout(config.dropout)
        self.rnn: Recurrent[Any] = Recurrent(
            config.cell,
            config.features,
            config.hidden_size,
            config.num_layers,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
            bidirectional=config.bidirectional,
            init=init,
            **common,
        )
        self.dropout = Dropout(config.dropout)
        children: dict[str, Layer] = {"network": self.network} if self.network else {}
        children |= {
            "project": self.project,
            "dropout_input": self.dropout_input,
            "rnn": self.rnn,
            "dropout": self.dropout,
        }
        super().__init__(children=children)

    @property
    def output_size(self) -> int:
        """D * U."""
        return self.rnn.output_size

    def packed(self) -> Callable[[Array], Array]:
        """Returns what looks at frames with their context, with copied weights.

        It makes u (N, features) of frames (N, H, W, k * C) or (N, k * F).
        """
        network = None if self.network is None else self.network.packed()
        project = self.project.packed()

        def look(images: Array) -> Array:
            u = project(images if network is None else network(images))
            return np.maximum(u, 0, out=u)

        return look

    def __call__(self, images: Array, lengths: Lengths) -> tuple[Array, Any]:
        """Returns h (T, B, D * U), zero behind the end of a clip, and the last states."""
        self._check(images, lengths)
        u = self.packed()(self._seen(images, lengths))
        return self.rnn(_side_by_side(u, lengths), lengths=lengths)

    def vjp(
        self, images: Array, lengths: Lengths, *, rng: np.random.Generator | None = None
    ) -> tuple[tuple[Array, Any], Callable[[Array, Any], None]]:
        """Returns h, with dropout, and the last states, and the pullback of both.

        `pullback(dh, dstate)` adds to `grads`; dstate may be None. Images get no gradient.
        """
        self._check(images, lengths)
        seen, network_pullback = self._seen(images, lengths), None
        if self.network is not None:
            seen, network_pullback = self.network.vjp(seen)
        u, project_pullback = self.project.vjp(seen)
        np.maximum(u, 0, out=u)
        dropped, input_pullback = self.dropout_input.vjp(u, rng=rng)
        (hidden, state), rnn_pullback = self.rnn.vjp(
            _side_by_side(dropped, lengths), lengths=lengths, rng=rng
        )
        h, dropout_pullback = self.dropout.vjp(hidden, rng=rng)

        def pullback(dh: Array, dstate: Any = None) -> None:
            dx, _ = rnn_pullback(dropout_pullback(dh), dstate)
            du = input_pullback(_one_after_the_other(dx, lengths))
            du *= u > 0
            dseen = project_pullback(du, needs_dx=network_pullback is not None)
            if network_pullback is not None:
                network_pullback(dseen)

        return (h, state), pullback

    def _seen(self, images: Array, lengths: Lengths) -> Array:
        """What the network reads, where the parameters lie."""
        return move(in_context(images, lengths, self.context), self.place)

    def _check(self, images: Array, lengths: Lengths) -> None:
        if lengths.ndim != 1 or images.shape != (int(lengths.sum()), *self.image):
            raise ValueError(
                "[VideoEncoder] expected images of shape (N, ...) with N = sum(lengths), "
                f"{(int(lengths.sum()), *self.image)}, got {images.shape}"
            )


def _make_network(
    config: VideoEncoderConfig, **common: Any
) -> "FrameNetwork | EfficientNet | None":
    image, context = config.image, config.context
    kind, _, first = config.network.partition("@")
    if kind == "none" and len(image) == 1:
        return None
    if kind == "small" and len(image) == 3:
        shape = (*image[:2], image[2] * context)
        return FrameNetwork(shape, config.channels, pooled=config.pooled, **common)
    if kind == "efficientnet-lite0" and len(image) == 3 and context == 1:
        network = EfficientNet(first=int(first or 0), **common)
        if network.channels == image[2]:
            return network
    raise ValueError(
        f"[VideoEncoder] there is no network {config.network!r} for {context} frames {image}: "
        "expected none for (F,), small for (H, W, C), or efficientnet-lite0 for one frame (H, W, C)"
    )


def in_context(images: Array, lengths: Lengths, context: int) -> Array:
    """Returns each frame with the `context` - 1 before it in its clip, along the last axis."""
    if context == 1:
        return images
    width = images.shape[-1]
    seen = functional.empty((*images.shape[:-1], context * width), images.dtype)
    ends = np.cumsum(lengths)
    for place in range(context):
        before, part = context - 1 - place, seen[..., place * width : (place + 1) * width]
        for begin, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True):
            first = min(begin + before, end)  # that has so many before it
            part[begin:first] = images[begin : begin + 1]
            part[first:end] = images[begin : end - (first - begin)]
    return seen


def _side_by_side(rows: Array, lengths: Lengths) -> Array:
    """(N, F), clip after clip, to (T, B, F) with zeros behind the end of each."""
    shape = (int(lengths.max(initial=0)), lengths.size, rows.shape[1])
    result = zeros(shape, rows)
    put_rows(rows, _places(lengths), result.reshape(-1, shape[2]))
    return result


def _one_after_the_other(x: Array, lengths: Lengths) -> Array:
    """Undoes `_side_by_side`."""
    return take_rows(x.reshape(-1, x.shape[2]), _places(lengths))


def _places(lengths: Lengths) -> Lengths:
    """The row of each frame among the T * B of the clips side by side."""
    clip = np.repeat(np.arange(lengths.size), lengths)
    step = np.arange(clip.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places: Lengths = step * lengths.size + clip
    return places
