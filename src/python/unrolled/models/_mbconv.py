"""The block of mobile networks: wide inside, narrow between blocks."""

from typing import Any

from ..layers import Layer
from ..layers._conv2d import PackedConv
from ..layers._linear import LinearPullback
from ..layers._types import Array
from ._conv_norm import ConvNorm


class MBConv(Layer):
    """An inverted residual block: 1 x 1 to e times the channels, a depthwise one, 1 x 1 back.

        u = relu6(expand(x));  v = relu6(depthwise(u));  y = project(v) [+ x]

    x is added where y has its shape, and there is no `expand` with e = 1.

    Shapes: N images, C inputs, O outputs, s stride; x (N, H, W, C),
        u (N, H, W, e * C), v and y (N, ceil(H / s), ceil(W / s), ...).

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: of the depthwise convolution.
        stride: s.
        expand: e.
        common: dtype, rng and init of the convolutions.

    Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        expand: int,
        **common: Any,
    ) -> None:
        wide = in_channels * expand
        self.in_channels, self.stride = in_channels, stride
        self.residual = stride == 1 and in_channels == out_channels
        layers = {}
        if expand > 1:
            layers["expand"] = ConvNorm(in_channels, wide, 1, activation="relu6", **common)
        layers["depthwise"] = ConvNorm(
            wide, wide, kernel_size, stride, groups=wide, activation="relu6", **common
        )
        layers["project"] = ConvNorm(wide, out_channels, 1, **common)
        self._layers = tuple(layers.values())
        super().__init__(children=layers)

    def __call__(self, x: Array) -> Array:
        """Returns y, by the running statistics."""
        return self.packed()(x)

    def packed(self) -> "PackedMBConv":
        """Returns the block for inference, x -> y, with copied weights."""
        return PackedMBConv([layer.packed() for layer in self._layers], self.residual)

    def vjp(self, x: Array, *, frozen: bool) -> tuple[Array, LinearPullback]:
        """Returns y and its pullback; as of `ConvNorm.vjp`."""
        y, pullbacks = x, []
        for layer in self._layers:
            y, pull = layer.vjp(y, frozen=frozen)
            pullbacks.append(pull)
        if self.residual:
            y = y + x  # not in place: the pullback of a norm may refer to its result

        def pullback(dy: Array, *, needs_dx: bool = True) -> Any:
            dx = dy
            for place in range(len(pullbacks) - 1, -1, -1):
                dx = pullbacks[place](dx, needs_dx=needs_dx or place > 0)
            return dx + dy if needs_dx and self.residual else dx

        return y, pullback


class PackedMBConv:
    """The block for inference; `project` adds x as it goes."""

    def __init__(self, layers: list[PackedConv], residual: bool) -> None:
        *self._first, self._project = layers
        self._residual = residual

    def __call__(self, x: Array) -> Array:
        """Returns y (N, H', W', O) of x (N, H, W, C)."""
        y = x
        for layer in self._first:
            y = layer(y)
        return self._project(y, x) if self._residual else self._project(y)
