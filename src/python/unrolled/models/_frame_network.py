"""A small convolutional network for the frames of a video, learnt from nothing."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..layers import Initialiser, Layer, MaxPool2d
from ..layers._linear import LinearPullback
from ..layers._types import Array
from ._conv_norm import ConvNorm
from ._image_parts import ImagePullback, Packed, PackedNetwork, Reads, kept_vjp

#: Side of the first kernel and of the others, and the step of all: each halves height and width.
_FIRST, _KERNEL, _STRIDE = 5, 3, 2

#: Of the batch normalisation, as torch's.
_EPS, _MOMENTUM = 1e-5, 0.1


class FrameNetwork(Layer):
    """Convolutions that each halve height and width; what a frame shows as one row of numbers.

        z = relu(batch_norm(conv(x)))    for each of the convolutions
        y = z, all places side by side   or, pooled, the largest z of all places

    Places are kept apart where pictures are of one thing that fills them, as of a mouth: where
    something is says as much as what it is. Pooled, something is the same wherever it is, and is
    learnt from all places together.

    Shapes: N frames, H height, W width, C channels; h = ceil(H / 2^k), w likewise after k
        convolutions. x (N, H, W, C), y (N, h * w * channels[-1]), pooled (N, channels[-1]).

    Args:
        image: (H, W, C).
        channels: of each convolution.
        pooled: keep the largest value of all places rather than all of them.
        dtype: float32 or float64.
        rng: where initial values come from; None draws fresh entropy.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.

    Attributes:
        output_size: numbers of a row.

    Raises:
        ValueError: there are no convolutions, or a size below 1.

    Source: batch normalisation, Ioffe and Szegedy 2015.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        image: Sequence[int],
        channels: Sequence[int],
        *,
        pooled: bool = False,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: str | Initialiser = "he",
    ) -> None:
        if len(image) != 3 or not channels:
            raise ValueError(
                "[FrameNetwork] expected an image (H, W, C) and one convolution or more, got "
                f"{tuple(image)} and {tuple(channels)}"
            )
        rng = np.random.default_rng() if rng is None else rng
        height, width, inputs = image
        self._reads = Reads(inputs, 1, np.dtype(dtype))
        layers: dict[str, ConvNorm] = {}
        for outputs in channels:
            kernel = _KERNEL if layers else _FIRST
            layer = ConvNorm(
                inputs,
                outputs,
                kernel,
                _STRIDE,
                kernel // 2,
                activation="relu",
                eps=_EPS,
                momentum=_MOMENTUM,
                dtype=dtype,
                rng=rng,
                init=init,
            )
            height, width = layer.conv.output_shape(height, width)
            layers[f"conv{len(layers) + 1}"] = layer
            inputs = outputs
        self.output_size = (1 if pooled else height * width) * inputs
        pool = MaxPool2d((height, width)) if pooled else None
        self._parts: tuple[Any, ...] = (*layers.values(), _Row(pool))
        super().__init__(children=layers)

    def __call__(self, x: Array) -> Array:
        """Returns y (N, output_size) of frames x (N, H, W, C), by the running statistics."""
        return self.packed()(x)

    def packed(self) -> PackedNetwork:
        """Returns the network for inference, x -> y, with copied weights."""
        return PackedNetwork(type(self).__name__, self._parts, self._reads)

    def vjp(self, x: Array) -> tuple[Array, ImagePullback]:
        """Returns y, normalised by these frames' own statistics, and its pullback.

        `pullback(dy, needs_dx=False)` adds to `grads`.
        """
        self._reads.check(type(self).__name__, x)
        return kept_vjp(self._parts, x, frozen=False)


class _Row(Layer):
    """The part that ends the network: all places side by side, or the largest value of all."""

    _runs_on_cuda = True

    def __init__(self, pool: MaxPool2d | None) -> None:
        self._pool = pool
        super().__init__()

    def packed(self) -> Packed:
        """Returns x -> y: there are no weights."""
        return lambda x: _as_rows(x if self._pool is None else self._pool(x))

    def vjp(self, x: Array, *, frozen: bool) -> tuple[Array, LinearPullback]:
        """Returns y and its pullback."""
        y, pull = (x, None) if self._pool is None else self._pool.vjp(x)

        def pullback(dy: Array, *, needs_dx: bool = True) -> Any:
            dx = dy.reshape(y.shape)
            return dx if pull is None else pull(dx)

        return _as_rows(y), pullback


def _as_rows(x: Array) -> Array:
    return x.reshape(len(x), math.prod(x.shape[1:]))
