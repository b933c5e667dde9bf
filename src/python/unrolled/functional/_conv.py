"""Convolutions over images with channels last."""

from __future__ import annotations

from typing import Literal, get_args

from .. import _core
from ._types import Array, empty
from ._windows import Windows

Activation = Literal["none", "relu", "relu6"]


def check_activation(where: str, activation: Activation) -> None:
    """Raises ValueError unless the activation is one of `Activation`."""
    if activation not in get_args(Activation):
        raise ValueError(
            f"[{where}] expected activation to be one of {', '.join(get_args(Activation))}, "
            f"got {activation!r}"
        )


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None,
    windows: Windows,
    *,
    groups: int = 1,
    activation: Activation = "none",
) -> Array:
    """y = activation(bias + the sum over what a place sees of weight * x); see `layers.Conv2d`.

    Shapes: x (N, H, W, C), weight (O, C / groups, h, w), bias (O,), y (N, H', W', O).
    """
    y = empty(result_shape(x.shape, weight.shape, windows), x.dtype)
    _core.conv2d(x, weight, bias, y, windows.steps(*x.shape[1:3]), groups, activation)
    return y


def conv2d_backward(
    x: Array,
    weight: Array,
    y: Array,
    dy: Array,
    windows: Windows,
    *,
    groups: int = 1,
    activation: Activation = "none",
    dweight: Array,
    dbias: Array | None = None,
    needs_dx: bool = True,
) -> Array | None:
    """Pullback of `conv2d`: adds to dweight and dbias, returns dx (N, H, W, C).

    Args:
        y: what `conv2d` returned; the gradient of an activation needs nothing else.
    """
    dx = empty(x.shape, x.dtype) if needs_dx else None
    steps = windows.steps(*x.shape[1:3])
    _core.conv2d_backward(x, weight, y, dy, dx, dweight, dbias, steps, groups, activation)
    return dx


class PackedConv2d:
    """`conv2d` with the weight packed once, for inference.

    The packed copy is a snapshot: later changes of the arrays do not reach it.

    Shapes: as of `conv2d`; residual (N, H', W', O).
    """

    def __init__(
        self,
        weight: Array,
        bias: Array | None,
        windows: Windows,
        *,
        groups: int = 1,
        activation: Activation = "none",
    ) -> None:
        check_activation("conv2d", activation)
        self._packed = _core.PackedConv(weight, bias, groups)
        self._shape, self._windows, self._activation = weight.shape, windows, activation

    def __call__(self, x: Array, residual: Array | None = None) -> Array:
        """Returns activation(convolution of x + residual); without one, the bits of `conv2d`."""
        y = empty(result_shape(x.shape, self._shape, self._windows), x.dtype)
        self._packed.apply(x, residual, y, self._windows.steps(*x.shape[1:3]), self._activation)
        return y


def result_shape(
    x: tuple[int, ...], weight: tuple[int, ...], windows: Windows
) -> tuple[int, int, int, int]:
    """The shape of y; wrong numbers of axes are errors here, wrong sizes those of the kernels."""
    if len(x) != 4 or len(weight) != 4 or weight[2:] != windows.kernel:
        raise ValueError(
            f"[conv2d] expected x of shape (N, H, W, C) and weight of shape (O, C / groups, h, w) "
            f"with (h, w) = {windows.kernel}, got {x} and {weight}"
        )
    return (x[0], *windows.places("conv2d", x[1], x[2]), weight[0])
