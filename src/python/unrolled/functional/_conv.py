"""Convolutions over images with channels last."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from ._types import Array
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
    y = _products(_padded(x, windows), weight, windows, groups, x.shape)
    if bias is not None:
        y += bias
    if activation != "none":
        np.maximum(y, 0, out=y)
    if activation == "relu6":
        np.minimum(y, 6, out=y)
    return y


def _padded(x: Array, windows: Windows) -> Array:
    return np.pad(x, ((0, 0), *windows.around(*x.shape[1:3]), (0, 0)))


def _seen(x: Array, windows: Windows, u: int, v: int, places: tuple[int, int]) -> Array:
    (s, t), (rows, columns) = windows.stride, places
    return x[:, u : u + s * (rows - 1) + 1 : s, v : v + t * (columns - 1) + 1 : t]


def _products(
    padded: Array, weight: Array, windows: Windows, groups: int, shape: tuple[int, ...]
) -> Array:
    places = windows.places("conv2d", *shape[1:3])
    outputs = weight.shape[0]
    y = np.zeros((shape[0], *places, groups, outputs // groups), padded.dtype)
    taps = weight.reshape(groups, outputs // groups, *weight.shape[1:])
    for u in range(windows.kernel[0]):
        for v in range(windows.kernel[1]):
            seen = _seen(padded, windows, u, v, places).reshape(*y.shape[:4], weight.shape[1])
            y += np.einsum("nijgc,goc->nijgo", seen, taps[..., u, v], optimize=True)
    return y.reshape(*y.shape[:3], outputs)


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
    if activation != "none":
        dy = dy * ((y > 0) if activation == "relu" else (y > 0) & (y < 6))
    if dbias is not None:
        dbias += dy.sum(axis=(0, 1, 2))
    padded, places, outputs = _padded(x, windows), y.shape[1:3], weight.shape[0]
    dpadded = np.zeros_like(padded) if needs_dx else None
    taps = weight.reshape(groups, outputs // groups, *weight.shape[1:])
    dtaps = dweight.reshape(taps.shape)
    d = dy.reshape(*dy.shape[:3], groups, outputs // groups)
    for u in range(windows.kernel[0]):
        for v in range(windows.kernel[1]):
            seen = _seen(padded, windows, u, v, places).reshape(*d.shape[:4], weight.shape[1])
            dtaps[..., u, v] += np.einsum("nijgo,nijgc->goc", d, seen, optimize=True)
            if dpadded is not None:
                share = np.einsum("nijgo,goc->nijgc", d, taps[..., u, v], optimize=True)
                share = share.reshape(*seen.shape[:3], x.shape[3])
                _seen(dpadded, windows, u, v, places)[...] += share
    if dpadded is None:
        return None
    (top, _), (left, _) = windows.around(*x.shape[1:3])
    dx = dpadded[:, top : top + x.shape[1], left : left + x.shape[2]]
    return np.ascontiguousarray(dx)


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
        self._weight, self._bias = weight.copy(), None if bias is None else bias.copy()
        self._windows, self._groups, self._activation = windows, groups, activation

    def __call__(self, x: Array, residual: Array | None = None) -> Array:
        """Returns activation(convolution of x + residual)."""
        y = conv2d(x, self._weight, self._bias, self._windows, groups=self._groups)
        if residual is not None:
            y += residual
        if self._activation != "none":
            np.maximum(y, 0, out=y)
        if self._activation == "relu6":
            np.minimum(y, 6, out=y)
        return y
