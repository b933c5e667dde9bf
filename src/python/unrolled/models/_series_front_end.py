"""Convolutions between the steps of a series and recurrent layers."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..layers import BatchNorm2d, Conv2d, Initialiser, Layer
from ..layers._place import contiguous, move, place_of, put_rows, take_rows
from ..layers._types import Array

Lengths = NDArray[np.int64]

#: Steps that the two kernels see; odd, so that a step stands in the middle of what it is made of.
_KERNELS = (7, 5)


def series_strides(ratio: float) -> tuple[int, int]:
    """Returns strides of a front end that leave about one of `ratio` steps.

    Each is at most what its kernel sees, so that no step is passed over.
    """
    first = int(np.clip(round(np.sqrt(max(ratio, 1.0))), 1, _KERNELS[0]))
    return first, int(np.clip(round(ratio / first), 1, _KERNELS[1]))


class SeriesFrontEnd(Layer):
    """Two convolutions over time, each with a norm and a relu: what a series does around a step.

        u = relu(norm1(conv1(x)));  y = relu(norm2(conv2(u)))

    Outside of a series there are zeros, and its steps alone make the statistics of a norm, so that
    padding changes nothing.

    Shapes: T steps, B batch, I inputs, K channels, N = ceil(ceil(T / s1) / s2) with strides s1, s2.
        x (T, B, I); lengths (B,); y (N, B, K), zero after the end of a row.

    Args:
        input_size: I.
        channels: K.
        strides: of the two convolutions, each at most what its kernel sees.
        dtype: float32 or float64.
        rng: where initial values come from; None draws fresh entropy.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.

    Raises:
        ValueError: strides that will not do.

    Attributes:
        parts: each convolution with its norm.

    Source: the first two layers of Wang, Yan and Oates, "Time series classification from scratch
    with deep neural networks", 2017.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        input_size: int,
        channels: int,
        strides: Sequence[int] = (1, 1),
        *,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: str | Initialiser = "he",
    ) -> None:
        rng = np.random.default_rng() if rng is None else rng
        if len(strides) != len(_KERNELS) or any(
            not 1 <= stride <= kernel for stride, kernel in zip(strides, _KERNELS, strict=False)
        ):
            raise ValueError(
                f"[SeriesFrontEnd] expected strides of 1 to {_KERNELS[0]} and 1 to {_KERNELS[1]}, "
                f"got {list(strides)}"
            )
        inputs = input_size
        self.parts: list[tuple[Conv2d, BatchNorm2d]] = []
        children: dict[str, Layer] = {}
        for number, (kernel, stride) in enumerate(zip(_KERNELS, strides, strict=True), 1):
            conv = Conv2d(
                inputs,
                channels,
                (kernel, 1),
                (stride, 1),
                (kernel // 2, 0),
                bias=False,
                dtype=dtype,
                rng=rng,
                init=init,
            )
            norm = BatchNorm2d(channels, activation="relu", dtype=dtype)
            self.parts.append((conv, norm))
            children |= {f"conv{number}": conv, f"norm{number}": norm}
            inputs = channels
        self.strides, self.output_size = tuple(strides), channels
        super().__init__(children=children)

    def steps(self, lengths: Lengths) -> Lengths:
        """How many steps come out of rows of `lengths`."""
        for stride in self.strides:
            lengths = -(-lengths // stride)
        return lengths

    def __call__(self, x: Array, lengths: Lengths) -> Array:
        """Returns y (N, B, K), by the running statistics."""
        inside = _inside(len(x), lengths)
        images = _kept(_as_images(x), inside)
        for (conv, norm), stride in zip(self.parts, self.strides, strict=True):
            inside = inside[:, ::stride]
            images = _kept(conv.packed(norm)(images), inside)
        return _as_steps(images)

    def vjp(self, x: Array, lengths: Lengths) -> tuple[Array, Callable[[Array], None]]:
        """Returns y, by the statistics of the batch, and its pullback; x gets no gradient."""
        inside = _inside(len(x), lengths)
        images = _kept(_as_images(x), inside)
        pullbacks = []
        for (conv, norm), stride in zip(self.parts, self.strides, strict=True):
            inside = inside[:, ::stride]
            values, conv_pullback = conv.vjp(images)
            rows = np.flatnonzero(inside)
            few = rows.size < 2  # which have no variance
            normed, norm_pullback = norm.vjp(_taken(values, rows), frozen=few)
            images = _put(normed, rows, values)
            pullbacks.append((conv_pullback, norm_pullback, rows))

        def pullback(dy: Array) -> None:
            dimages = _as_images(dy)
            for place in range(len(pullbacks) - 1, -1, -1):
                conv_pullback, norm_pullback, rows = pullbacks[place]
                dvalues = _put(norm_pullback(_taken(dimages, rows)), rows, dimages)
                dimages = conv_pullback(dvalues, needs_dx=place > 0)

        return _as_steps(images), pullback


def _inside(steps: int, lengths: Lengths) -> NDArray[np.bool_]:
    """(B, T), whether a step is one of its row."""
    inside: NDArray[np.bool_] = np.arange(steps) < lengths[:, None]
    return inside


def _taken(images: Array, rows: Array) -> Array:
    """Rows (N,) of images (B, T, 1, C), as images (N, 1, 1, C)."""
    channels = images.shape[3]
    return take_rows(images.reshape(-1, channels), rows)[:, None, None]


def _put(values: Array, rows: Array, like: Array) -> Array:
    """Undoes `_taken`: images of the shape of `like`, with zeros in all other rows."""
    images = np.zeros_like(like)
    channels = like.shape[3]
    put_rows(values.reshape(-1, channels), rows, images.reshape(-1, channels))
    return images


def _kept(images: Array, inside: NDArray[np.bool_]) -> Array:
    """Images (B, T, 1, C) with zeros outside."""
    mask = move(inside[:, :, None, None], place_of(images))
    kept: Array = np.where(mask, images, images.dtype.type(0))
    return kept


def _as_images(x: Array) -> Array:
    """(T, B, C) as (B, T, 1, C)."""
    images: Array = contiguous(x.swapaxes(0, 1)[:, :, None])
    return images


def _as_steps(images: Array) -> Array:
    """(B, T, 1, C) as (T, B, C)."""
    steps: Array = contiguous(images[:, :, 0].swapaxes(0, 1))
    return steps
