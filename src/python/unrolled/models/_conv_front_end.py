"""Convolutions between frames of sound and recurrent layers."""

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from ..layers import Conv2d, Initialiser, Layer
from ..layers._place import contiguous
from ..layers._types import Array

#: (frames, bands) of the two kernels, and of their steps. The first one looks at every frame and at
#: every second band, the second one halves both.
_KERNELS = ((5, 5), (3, 3))
_STRIDES = ((1, 2), (2, 2))


class ConvFrontEnd(Layer):
    """Two convolutions over time and bands, each with a relu: frames in, features of steps out.

        u = relu(conv1(x));  y = relu(conv2(u))

    Time is not padded, so that a step sees `reach` frames and nothing else, and steps follow each
    other every `stride` frames; bands are padded by half of a kernel.

    Shapes: T frames, B batch, F bands, N = (T - reach) // stride + 1 steps, K features of a step.
        x (T, B, F), y (N, B, K).

    Args:
        bands: F.
        channels: of each convolution.
        dtype: float32 or float64.
        rng: where initial values come from; None draws fresh entropy.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.

    Attributes:
        reach: frames that a step sees.
        stride: frames from step to step.
        output_size: K.

    Source: Amodei et al., "Deep Speech 2", 2016; for keywords, with one larger convolution, Arik et
    al., "Convolutional recurrent neural networks for small-footprint keyword spotting", 2017.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        bands: int,
        channels: int,
        *,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: str | Initialiser = "he",
    ) -> None:
        rng = np.random.default_rng() if rng is None else rng
        inputs, layers = 1, []
        self.reach, self.stride, width = 1, 1, bands
        for kernel, stride in zip(_KERNELS, _STRIDES, strict=True):
            padding = (0, kernel[1] // 2)
            conv = Conv2d(
                inputs,
                channels,
                kernel,
                stride,
                padding,
                activation="relu",
                dtype=dtype,
                rng=rng,
                init=init,
            )
            layers.append(conv)
            self.reach += (kernel[0] - 1) * self.stride
            self.stride *= stride[0]
            width = conv.output_shape(kernel[0], width)[1]
            inputs = channels
        self.output_size = channels * width
        self._layers = tuple(layers)
        super().__init__(children={f"conv{n + 1}": conv for n, conv in enumerate(layers)})

    def __call__(self, x: Array) -> Array:
        """Returns y (N, B, K) of x (T, B, F); fewer frames than `reach` give no step."""
        if len(x) < self.reach:
            return self._new((0, x.shape[1], self.output_size))
        images = _as_images(x)
        for conv in self._layers:
            images = conv(images)
        return _as_steps(images)

    def vjp(self, x: Array) -> tuple[Array, Callable[[Array], None]]:
        """Returns y and its pullback, which adds to `grads`; frames get no gradient."""
        if len(x) < self.reach:
            return self(x), lambda dy: None
        images, pullbacks = _as_images(x), []
        for conv in self._layers:
            images, pullback = conv.vjp(images)
            pullbacks.append(pullback)

        def pull(dy: Array) -> None:
            count, steps, width, channels = images.shape
            dimages = dy.reshape(steps, count, width, channels).swapaxes(0, 1)
            for place in range(len(pullbacks) - 1, -1, -1):
                dimages = pullbacks[place](dimages, needs_dx=place > 0)

        return _as_steps(images), pull


def _as_images(x: Array) -> Array:
    """(T, B, F) as (B, T, F, 1)."""
    images: Array = x.swapaxes(0, 1)[..., None]
    return images


def _as_steps(images: Array) -> Array:
    """(B, N, F', C) as (N, B, F' * C)."""
    count, steps, width, channels = images.shape
    y: Array = contiguous(images.swapaxes(0, 1)).reshape(steps, count, width * channels)
    return y
