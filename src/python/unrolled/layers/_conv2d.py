"""A convolution over two axes."""

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike

from .. import functional
from ._base import Layer
from ._checks import check_array, checked_dtype, checked_pair, checked_size
from ._initialisers import Initialiser, initialise
from ._linear import LinearPullback
from ._specs import linear_specs
from ._types import Array


class Conv2d(Layer):
    """A convolution (without flipping, as everywhere in the field) over height and width.

        y[n, i, j, o] = b[o] + sum_{c, u, v} weight[o, c, u, v] x[n, i*s + u - p, j*s' + v - p', c]

    with zeros outside of x. Arrays have their channels last, so that what a place sees is a few
    runs of memory: the windows of all places become the rows of one matrix (im2col), which the
    kernel of `Linear` multiplies by the weights. So bits do not depend on what else is in x. The
    pullback keeps that matrix, kernel height x kernel width times as large as x, over the strides.

    Shapes: N images, C input channels, O output channels, kernel (h, w), stride (s, s'), padding
        (p, p'). weight (O, C, h, w), bias (O,); x (N, H, W, C), y (N, H', W', O) with
        H' = (H + 2p - h) // s + 1, and W' likewise.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: (h, w), or one number for both.
        stride: (s, s'), or one number for both.
        padding: (p, p'), or one number for both.
        bias: whether there is a b.
        dtype: float32 or float64.
        rng: where initial values come from; None draws fresh entropy.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array; it
            is asked for the matrix (O, C*h*w).

    Raises:
        ValueError: a size or stride below 1, or a padding below 0.

    Source: names and parameters as torch.nn.Conv2d. im2col: Chellapilla, Puri and Simard, "High
    performance convolutional neural networks for document processing", 2006.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: str | Initialiser = "he",
    ) -> None:
        where = type(self).__name__
        self.in_channels = checked_size(where, "in_channels", in_channels)
        self.out_channels = checked_size(where, "out_channels", out_channels)
        self.kernel_size = checked_pair(where, "kernel_size", kernel_size, least=1)
        self.stride = checked_pair(where, "stride", stride, least=1)
        self.padding = checked_pair(where, "padding", padding, least=0)
        self.bias = bool(bias)
        kind = checked_dtype(where, dtype)
        rng = np.random.default_rng() if rng is None else rng
        taps = self.in_channels * math.prod(self.kernel_size)
        specs = linear_specs(taps, self.out_channels, bias=self.bias)
        own = {spec.name: initialise(init, spec, rng, kind) for spec in specs}
        own["weight"] = own["weight"].reshape(-1, self.in_channels, *self.kernel_size)
        super().__init__(own)

    def __repr__(self) -> str:
        sizes = f"{self.in_channels}, {self.out_channels}, {self.kernel_size}"
        options = f", stride={self.stride}" if self.stride != (1, 1) else ""
        options += f", padding={self.padding}" if self.padding != (0, 0) else ""
        options += ", bias=False" if not self.bias else ""
        return f"{type(self).__name__}({sizes}{options}, dtype={self.dtype})"

    def output_shape(self, height: int, width: int) -> tuple[int, int]:
        """Returns (H', W') of an image (H, W).

        Raises:
            ValueError: the kernel is larger than the image with its padding.
        """
        sizes = []
        for size, kernel, stride, padding in zip(
            (height, width), self.kernel_size, self.stride, self.padding, strict=True
        ):
            if size + 2 * padding < kernel:
                raise ValueError(
                    f"[{type(self).__name__}] expected images (H, W) of at least the kernel's size "
                    f"{self.kernel_size} less twice the padding {self.padding}, "
                    f"got {(height, width)}"
                )
            sizes.append((size + 2 * padding - kernel) // stride + 1)
        return sizes[0], sizes[1]

    def __call__(self, x: Array) -> Array:
        """Returns y (N, H', W', O) of x (N, H, W, C)."""
        return functional.linear(self._windows(x), self._matrix(), self._parameters.get("bias"))

    def vjp(self, x: Array) -> tuple[Array, LinearPullback]:
        """Returns y and its pullback.

        `pullback(dy, needs_dx=True)` adds to `grads` and returns dx (None if not needed). It refers
        to the weight: leave that as it is until the pullback has run.
        """
        self._expect(self._own_names)
        windows, shape = self._windows(x), x.shape

        def pullback(dy: Array, *, needs_dx: bool = True) -> Any:
            matrix = self._matrix()
            dmatrix = np.zeros_like(matrix)
            dwindows = functional.linear_backward(
                windows,
                matrix,
                dy,
                dweight=dmatrix,
                dbias=self._grads.get("bias"),
                needs_dx=needs_dx,
            )
            by_place = dmatrix.reshape(-1, *self.kernel_size, self.in_channels)
            self._grads["weight"] += by_place.transpose(0, 3, 1, 2)
            self._added(self._own_names)
            return None if dwindows is None else self._sum_of_windows(dwindows, shape)

        y = functional.linear(windows, self._matrix(), self._parameters.get("bias"))
        return y, pullback

    def _matrix(self) -> Array:
        """The weights as (O, h*w*C), in the order of the windows."""
        by_place = self._parameters["weight"].transpose(0, 2, 3, 1)
        return np.ascontiguousarray(by_place).reshape(self.out_channels, -1)

    def _windows(self, x: Array) -> Array:
        """What each place of y sees, (N, H', W', h*w*C)."""
        letters = "x of shape (N, H, W, C)"
        if isinstance(x, np.ndarray) and x.ndim != 4:
            raise ValueError(f"[{type(self).__name__}] expected {letters}, got {x.shape}")
        shape = (*x.shape[:3], self.in_channels) if isinstance(x, np.ndarray) else ()
        check_array(type(self).__name__, letters, x, shape, self.dtype)
        places = self.output_shape(*x.shape[1:3])
        down, right = self.stride
        views = sliding_window_view(self._padded(x), self.kernel_size, axis=(1, 2))
        views = views[:, ::down, ::right].transpose(0, 1, 2, 4, 5, 3)  # (N, H', W', h, w, C)
        windows = functional.empty((len(x), *places, math.prod(views.shape[3:])), self.dtype)
        windows.reshape(views.shape)[...] = views
        return windows

    def _padded(self, x: Array) -> Array:
        if self.padding == (0, 0):
            return x
        down, right = self.padding
        return np.pad(x, ((0, 0), (down, down), (right, right), (0, 0)))

    def _sum_of_windows(self, dwindows: Array, shape: tuple[int, ...]) -> Array:
        """The transpose of `_windows`: every window is added where it was read."""
        count, height, width, channels = shape
        (h, w), (down, right), (top, left) = self.kernel_size, self.stride, self.padding
        rows, columns = dwindows.shape[1:3]
        parts = dwindows.reshape(count, rows, columns, h, w, channels)
        dx = np.zeros((count, height + 2 * top, width + 2 * left, channels), self.dtype)
        for u in range(h):
            for v in range(w):
                read = dx[:, u : u + down * rows : down, v : v + right * columns : right]
                read += parts[:, :, :, u, v]
        return np.ascontiguousarray(dx[:, top : top + height, left : left + width])
