"""A convolution with its batch normalisation, which are one convolution once statistics stand."""

from typing import Any

import numpy as np

from .. import functional
from ..layers import BatchNorm2d, Conv2d, Layer
from ..layers._conv2d import PackedConv
from ..layers._images import PaddingLike
from ..layers._linear import LinearPullback
from ..layers._place import contiguous, functions_of
from ..layers._types import Array


class ConvNorm(Layer):
    """y = f(norm(conv(x))), with no bias but that of the norm.

    At inference norm(u) = a * u + b for each channel, with a and b from the running statistics, so
    that y = f(conv'(x)) with the weights a * w and the bias b. Training with frozen statistics uses
    the same form: with D and d the gradients of a * w and b, and a = g / sqrt(variance + eps),

        dw = a * D,  dg = (<D, w> - mean * d) / sqrt(variance + eps),  dbias = d

    which costs neither a pass over images nor their memory.

    Shapes: N images, C inputs, O outputs; x (N, H, W, C), y (N, H', W', O), with "same" padding
        H' = ceil(H / s).

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: of a square window.
        stride: s.
        padding: as of `Conv2d`.
        groups: of the convolution.
        activation: f.
        eps, momentum: of the norm; the defaults are those of EfficientNet.
        common: dtype, rng and init of the convolution.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: PaddingLike = "same",
        *,
        groups: int = 1,
        activation: functional.Activation = "none",
        eps: float = 1e-3,
        momentum: float = 0.01,
        **common: Any,
    ) -> None:
        self.conv = Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            bias=False,
            groups=groups,
            **common,
        )
        self.norm = BatchNorm2d(
            out_channels, eps, momentum, activation=activation, dtype=self.conv.dtype
        )
        super().__init__(children={"conv": self.conv, "norm": self.norm})

    def __call__(self, x: Array) -> Array:
        """Returns y, by the running statistics."""
        return self.packed()(x)

    def packed(self) -> PackedConv:
        """Returns the layer for inference, x -> y or (x, residual) -> y, with copied weights."""
        return self.conv.packed(self.norm)

    def vjp(self, x: Array, *, frozen: bool) -> tuple[Array, LinearPullback]:
        """Returns y and its pullback; `frozen` as of `BatchNorm2d.vjp`.

        `pullback(dy, needs_dx=True)` adds to `grads` and returns dx (None if not needed). It refers
        to x, to y and to the parameters: leave them as they are until it has run.
        """
        return self._frozen_vjp(x) if frozen else self._batch_vjp(x)

    def _batch_vjp(self, x: Array) -> tuple[Array, LinearPullback]:
        u, conv_pullback = self.conv.vjp(x)
        y, norm_pullback = self.norm.vjp(u)

        def pullback(dy: Array, *, needs_dx: bool = True) -> Any:
            return conv_pullback(norm_pullback(dy), needs_dx=needs_dx)

        return y, pullback

    def _frozen_vjp(self, x: Array) -> tuple[Array, LinearPullback]:
        names = ("conv.weight", "norm.weight", "norm.bias")
        self._expect(names)
        scale, shift = self.norm.scale_and_shift()
        folded = self._parameters["conv.weight"] * scale[:, None, None, None]
        windows, activation = self.conv.windows, self.norm.activation
        y: Array = functions_of(x).conv2d(
            x, folded, shift, windows, groups=self.conv.groups, activation=activation
        )

        def pullback(dy: Array, *, needs_dx: bool = True) -> Any:
            dfolded, dshift = np.zeros_like(folded), np.zeros_like(scale)
            dx = functions_of(x).conv2d_backward(
                x,
                folded,
                y,
                contiguous(dy),
                windows,
                groups=self.conv.groups,
                activation=activation,
                dweight=dfolded,
                dbias=dshift,
                needs_dx=needs_dx,
            )
            p, grads = self._parameters, self._grads
            products = np.einsum("ocuv,ocuv->o", dfolded, p["conv.weight"])
            inverse = 1 / np.sqrt(p["norm.running_var"] + self.dtype.type(self.norm.eps))
            grads["norm.weight"] += (products - p["norm.running_mean"] * dshift) * inverse
            grads["norm.bias"] += dshift
            dfolded *= scale[:, None, None, None]
            grads["conv.weight"] += dfolded
            self._added(names)
            return dx

        return y, pullback
