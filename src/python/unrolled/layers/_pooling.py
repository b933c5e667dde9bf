"""Largest values and means of parts of images."""

import math

from ._base import Layer
from ._images import PaddingLike, check_images, checked_windows, padding_text
from ._place import contiguous, functions_of
from ._types import Array, ArrayPullback


class _Pool(Layer):
    _runs_on_cuda = True

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: PaddingLike = 0,
    ) -> None:
        stride = kernel_size if stride is None else stride
        self.windows = checked_windows(type(self).__name__, kernel_size, stride, padding)
        super().__init__()

    def __repr__(self) -> str:
        windows = self.windows
        stride = f", stride={windows.stride}" if windows.stride != windows.kernel else ""
        return f"{type(self).__name__}({windows.kernel}{stride}{padding_text(windows)})"

    def output_shape(self, height: int, width: int) -> tuple[int, int]:
        """Returns (H', W') of an image (H, W).

        Raises:
            ValueError: the kernel is larger than the image with its padding.
        """
        return self.windows.places(type(self).__name__, height, width)

    def _checked(self, x: Array) -> Array:
        check_images(type(self).__name__, x, None)
        self.output_shape(*x.shape[1:3])
        return contiguous(x)


class MaxPool2d(_Pool):
    """The largest value of each window, a channel for itself; padding never wins.

    Shapes: x (N, H, W, C), y (N, H', W', C), with H' and W' as in `functional.Windows`.

    Args:
        kernel_size: (h, w), or one number for both.
        stride: (s, s'), or one number for both; None steps by the kernel's size.
        padding: as of `Conv2d`.

    Source: names as torch.nn.MaxPool2d.
    """

    def __call__(self, x: Array) -> Array:
        """Returns y."""
        x = self._checked(x)
        y: Array = functions_of(x).max_pool(x, self.windows)
        return y

    def vjp(self, x: Array) -> tuple[Array, ArrayPullback]:
        """Returns y and its pullback; dy goes to the first of equally large values.

        It refers to x and y: leave them as they are until it has run.
        """
        x = self._checked(x)
        y = self(x)

        def pullback(dy: Array) -> Array:
            dx: Array = functions_of(x).max_pool_backward(x, y, contiguous(dy), self.windows)
            return dx

        return y, pullback


class AvgPool2d(_Pool):
    """The mean of each window, a channel for itself; padding counts as zeros.

    Shapes: x (N, H, W, C), y (N, H', W', C), with H' and W' as in `functional.Windows`.

    Args:
        kernel_size: (h, w), or one number for both.
        stride: (s, s'), or one number for both; None steps by the kernel's size.
        padding: as of `Conv2d`.

    Source: names as torch.nn.AvgPool2d.
    """

    def __call__(self, x: Array) -> Array:
        """Returns y."""
        x = self._checked(x)
        y: Array = functions_of(x).conv2d(x, self._weight(x), None, self.windows, groups=x.shape[3])
        return y

    def vjp(self, x: Array) -> tuple[Array, ArrayPullback]:
        """Returns y and its pullback, `dx = pullback(dy)`."""
        x = self._checked(x)
        y = self(x)

        def pullback(dy: Array) -> Array:
            weight, unused = self._weight(x), self._weight(x)
            dx: Array = functions_of(x).conv2d_backward(
                x, weight, y, contiguous(dy), self.windows, groups=x.shape[3], dweight=unused
            )
            return dx

        return y, pullback

    def _weight(self, x: Array) -> Array:
        """A mean is a depthwise convolution."""
        kernel = self.windows.kernel
        weight: Array = functions_of(x).empty((x.shape[3], 1, *kernel), x.dtype)
        weight.fill(1 / math.prod(kernel))
        return weight


class GlobalAvgPool2d(Layer):
    """The mean over all places of an image, a channel for itself.

    Shapes: x (N, H, W, C), y (N, C).
    """

    _runs_on_cuda = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __call__(self, x: Array) -> Array:
        """Returns y."""
        check_images(type(self).__name__, x, None)
        if 0 in x.shape[1:3]:
            raise ValueError(f"[{type(self).__name__}] expected images with places, got {x.shape}")
        mean: Array = x.mean(axis=(1, 2))
        return mean

    def vjp(self, x: Array) -> tuple[Array, ArrayPullback]:
        """Returns y and its pullback, `dx = pullback(dy)`."""
        shape = x.shape

        def pullback(dy: Array) -> Array:
            dx: Array = functions_of(dy).empty(shape, dy.dtype)
            dx[...] = (dy * dy.dtype.type(1 / (shape[1] * shape[2])))[:, None, None]
            return dx

        return self(x), pullback
