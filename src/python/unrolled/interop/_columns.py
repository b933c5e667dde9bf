"""Layers out of matrices whose columns are gates, as Keras and Flax have them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import functional
from ..layers import Merge, Recurrent
from ..layers._types import Array


class Direction(NamedTuple):
    """The parameters of one direction, gates side by side in an order of their own.

    Attributes:
        kernel: what multiplies the input (I, G*H).
        recurrent_kernel: what multiplies the state (H, G*H).
        bias: added to the product with the input (G*H,), None for zeros.
        recurrent_bias: added to the product with the state (G*H,), None for zeros.
    """

    kernel: Array
    recurrent_kernel: Array
    bias: Array | None = None
    recurrent_bias: Array | None = None


def layer_of_columns(
    where: str,
    cell: str,
    gates: Sequence[str],
    directions: Sequence[Direction],
    *,
    merge: Merge = "concat",
) -> Recurrent[Any]:
    """A trainable layer that reads (B, T, I), with these parameters.

    Args:
        where: whose parameters they are, for errors.
        cell: a name out of `functional.cells()`.
        gates: the gates' names here in the order in which they stand there.
        directions: one, or two for a bidirectional layer.
        merge: of a bidirectional layer.

    Raises:
        ValueError: shapes do not fit together.
        TypeError: the dtype is neither float32 nor float64, or not the same everywhere.
    """
    _check(where, len(gates), directions)
    biased = any(bias is not None for each in directions for bias in each[2:])
    first = directions[0]
    layer: Recurrent[Any] = Recurrent(
        cell,
        first.kernel.shape[0],
        first.recurrent_kernel.shape[0],
        bias=biased,
        batch_first=True,
        bidirectional=len(directions) == 2,
        merge=merge,
        dtype=first.kernel.dtype,
        init="zeros",
    )
    places = [list(gates).index(name) for name in functional.cell_info(cell).gates]
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    values: dict[str, Array] = {}
    for each, suffix in zip(directions, ("_l0", "_l0_reverse"), strict=False):
        for name, columns in zip(names[: 4 if biased else 2], each, strict=False):
            if columns is not None:
                rows = columns.T.reshape(len(gates), -1, *columns.shape[:-1])
                values[name + suffix] = np.concatenate([rows[place] for place in places])
            else:
                values[name + suffix] = np.zeros_like(layer.parameters[name + suffix])
    layer.load_parameters(values)
    return layer


def _check(where: str, gates: int, directions: Sequence[Direction]) -> None:
    kernel, recurrent_kernel = directions[0][:2]
    inputs = kernel.shape[0] if kernel.ndim == 2 else 0
    hidden = recurrent_kernel.shape[0] if recurrent_kernel.ndim == 2 else 0
    width = gates * hidden
    letters = ("kernel (I, G*H)", "recurrent kernel (H, G*H)", "bias (G*H,)", "bias (G*H,)")
    shapes = ((inputs, width), (hidden, width), (width,), (width,))
    for each in directions:
        for what, expected, array in zip(letters, shapes, each, strict=True):
            if array is None:
                continue
            if array.shape != expected:
                raise ValueError(
                    f"[{where}] expected {what} = {expected} with G = {gates} gates, "
                    f"got {array.shape}"
                )
            if array.dtype != kernel.dtype:
                raise TypeError(
                    f"[{where}] expected one dtype, got {kernel.dtype} and {array.dtype}"
                )
