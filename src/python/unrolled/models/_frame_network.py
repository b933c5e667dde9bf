"""A small convolutional network for the frames of a video, learnt from nothing."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import DTypeLike

from ..layers import BatchNorm2d, Conv2d, Initialiser, Layer, MaxPool2d
from ..layers._types import Array

#: Side of the first kernel and of the others, and the step of all: each halves height and width.
_FIRST, _KERNEL, _STRIDE = 5, 3, 2


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
        self._convs: list[Conv2d] = []
        self._norms: list[BatchNorm2d] = []
        for outputs in channels:
            kernel = _KERNEL if self._convs else _FIRST
            conv = Conv2d(
                inputs,
                outputs,
                kernel,
                _STRIDE,
                kernel // 2,
                bias=False,
                dtype=dtype,
                rng=rng,
                init=init,
            )
            height, width = conv.output_shape(height, width)
            self._convs.append(conv)
            self._norms.append(BatchNorm2d(outputs, activation="relu", dtype=dtype))
            inputs = outputs
        self.output_size = (1 if pooled else height * width) * inputs
        self._pool = MaxPool2d((height, width)) if pooled else None
        children: dict[str, Layer] = {}
        for number, (conv, norm) in enumerate(zip(self._convs, self._norms, strict=True), 1):
            children |= {f"conv{number}": conv, f"norm{number}": norm}
        super().__init__(children=children)

    def __call__(self, x: Array) -> Array:
        """Returns y (N, output_size) of frames x (N, H, W, C)."""
        for conv, norm in zip(self._convs, self._norms, strict=True):
            x = norm(conv(x))
        return _as_rows(self._pool(x) if self._pool else x)

    def vjp(self, x: Array) -> tuple[Array, Callable[[Array], None]]:
        """Returns y, normalised by these frames' own statistics, and its pullback.

        The pullback adds to `grads`; frames get no gradient.
        """
        pulls = []
        for conv, norm in zip(self._convs, self._norms, strict=True):
            x, conv_pullback = conv.vjp(x)
            x, norm_pullback = norm.vjp(x)
            pulls.append((conv_pullback, norm_pullback))
        pool_pullback = None
        if self._pool is not None:
            x, pool_pullback = self._pool.vjp(x)

        def pullback(dy: Array) -> None:
            dx = dy.reshape(x.shape)
            if pool_pullback is not None:
                dx = pool_pullback(dx)
            for place in range(len(pulls) - 1, -1, -1):
                conv_pullback, norm_pullback = pulls[place]
                dx = conv_pullback(norm_pullback(dx), needs_dx=place > 0)

        return _as_rows(x), pullback


def _as_rows(x: Array) -> Array:
    return x.reshape(len(x), -1)
