"""A convolution over two axes."""

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from .. import cuda, functional
from ._base import Layer
from ._batch_norm import BatchNorm2d
from ._checks import checked_dtype, checked_size
from ._images import PaddingLike, check_images, checked_windows, padding_text
from ._initialisers import Initialiser, initialise
from ._linear import LinearPullback
from ._place import contiguous, functions_of
from ._specs import linear_specs
from ._types import Array

PackedConv: TypeAlias = functional.PackedConv2d | cuda.PackedConv2d


class Conv2d(Layer):
    """A convolution (without flipping, as everywhere in the field) over height and width.

        z[n, i, j, o] = b[o] + sum_{c, u, v} weight[o, c, u, v] x[n, i*s + u - p, j*s' + v - p', c]
        y = f(z)

    with zeros outside of x and an activation f. With G groups, output o sees the C / G channels of
    its own group alone; G = C = O is a depthwise convolution. Arrays have their channels last. Bits
    of an image do not depend on what else is in x. The pullback keeps x and y, and no windows.

    Shapes: N images, C input channels, O output channels, G groups, kernel (h, w), stride (s, s'),
        padding (p, p'). weight (O, C / G, h, w), bias (O,); x (N, H, W, C), y (N, H', W', O), with
        H' and W' as in `functional.Windows`.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: (h, w), or one number for both.
        stride: (s, s'), or one number for both.
        padding: (p, p'), one number for both, ((top, bottom), (left, right)), or "same" as
            TensorFlow has it: H' = ceil(H / s), with the odd row below.
        bias: whether there is a b.
        groups: G, which divides C and O.
        activation: f, "none", "relu" or "relu6" (min(max(z, 0), 6)); it costs no pass of its own.
        dtype: float32 or float64.
        rng: where initial values come from; None draws fresh entropy.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array; it
            is asked for the matrix (O, C/G * h * w).

    Raises:
        ValueError: a size or stride below 1, a padding below 0, groups that do not divide C and O,
            or an unknown activation.

    Source: names and parameters as torch.nn.Conv2d.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: PaddingLike = 0,
        bias: bool = True,
        *,
        groups: int = 1,
        activation: functional.Activation = "none",
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: str | Initialiser = "he",
    ) -> None:
        where = type(self).__name__
        self.in_channels = checked_size(where, "in_channels", in_channels)
        self.out_channels = checked_size(where, "out_channels", out_channels)
        self.groups = checked_size(where, "groups", groups)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"[{where}] expected groups that divide in_channels {in_channels} and "
                f"out_channels {out_channels}, got {groups}"
            )
        functional.check_activation(where, activation)
        self.activation: functional.Activation = activation
        self.windows = checked_windows(where, kernel_size, stride, padding)
        self.bias = bool(bias)
        kind = checked_dtype(where, dtype)
        rng = np.random.default_rng() if rng is None else rng
        each = self.in_channels // self.groups
        taps = each * math.prod(self.windows.kernel)
        specs = linear_specs(taps, self.out_channels, bias=self.bias)
        own = {spec.name: initialise(init, spec, rng, kind) for spec in specs}
        own["weight"] = own["weight"].reshape(-1, each, *self.windows.kernel)
        super().__init__(own)

    def __repr__(self) -> str:
        windows = self.windows
        sizes = f"{self.in_channels}, {self.out_channels}, {windows.kernel}"
        options = f", stride={windows.stride}" if windows.stride != (1, 1) else ""
        options += padding_text(windows)
        options += ", bias=False" if not self.bias else ""
        options += f", groups={self.groups}" if self.groups > 1 else ""
        options += f", activation={self.activation!r}" if self.activation != "none" else ""
        return f"{type(self).__name__}({sizes}{options}, dtype={self.dtype})"

    def output_shape(self, height: int, width: int) -> tuple[int, int]:
        """Returns (H', W') of an image (H, W).

        Raises:
            ValueError: the kernel is larger than the image with its padding.
        """
        return self.windows.places(type(self).__name__, height, width)

    def __call__(self, x: Array) -> Array:
        """Returns y (N, H', W', O) of x (N, H, W, C)."""
        x, weight = self._checked(x), self._parameters["weight"]
        y: Array = functions_of(weight).conv2d(
            x,
            weight,
            self._parameters.get("bias"),
            self.windows,
            groups=self.groups,
            activation=self.activation,
        )
        return y

    def packed(self, norm: BatchNorm2d | None = None) -> PackedConv:
        """Returns the layer for inference, x -> y, with copied and packed weights.

        The result can add a residual (N, H', W', O) before the activation: `packed(x, residual)`.

        Args:
            norm: the normalisation that follows; its running statistics become part of the weights
                and its activation that of the result.

        Raises:
            ValueError: `norm` has other channels, or follows an activation.
        """
        weight, bias = self._parameters["weight"], self._parameters.get("bias")
        activation = self.activation
        if norm is not None:
            if activation != "none" or norm.num_features != self.out_channels:
                raise ValueError(
                    f"[{type(self).__name__}] expected a norm of {self.out_channels} features "
                    f"after a convolution without activation, got {norm} after {self}"
                )
            scale, shift = norm.scale_and_shift()
            weight = weight * scale[:, None, None, None]
            bias = shift if bias is None else bias * scale + shift
            activation = norm.activation
        packed: PackedConv = functions_of(weight).PackedConv2d(
            weight, bias, self.windows, groups=self.groups, activation=activation
        )
        return packed

    def vjp(self, x: Array) -> tuple[Array, LinearPullback]:
        """Returns y and its pullback.

        `pullback(dy, needs_dx=True)` adds to `grads` and returns dx (None if not needed). It refers
        to x, to y and to the weight: leave them as they are until it has run.
        """
        self._expect(self._own_names)
        x = self._checked(x)
        y = self(x)

        def pullback(dy: Array, *, needs_dx: bool = True) -> Any:
            weight = self._parameters["weight"]
            dx = functions_of(weight).conv2d_backward(
                x,
                weight,
                y,
                contiguous(dy),
                self.windows,
                groups=self.groups,
                activation=self.activation,
                dweight=self._grads["weight"],
                dbias=self._grads.get("bias"),
                needs_dx=needs_dx,
            )
            self._added(self._own_names)
            return dx

        return y, pullback

    def _checked(self, x: Array) -> Array:
        check_images(type(self).__name__, x, self.in_channels, self.dtype)
        self.output_shape(*x.shape[1:3])
        return contiguous(x)
