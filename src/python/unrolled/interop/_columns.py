"""Layers out of matrices whose columns are gates, as Keras and Flax have them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import functional
from ..layers import Merge, Recurrent
from ..layers._gates import Activation, chosen_cell
from ..layers._specs import scan_endings
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
    layers: Sequence[Sequence[Direction]],
    *,
    activations: Sequence[Activation],
    merge: Merge = "concat",
) -> Recurrent[Any]:
    """A trainable layer that reads (B, T, I), with these parameters.

    Args:
        where: whose parameters they are, for errors.
        cell: what `layers._gates.chosen_cell` calls plain.
        gates: the gates' names here in the order in which they stand there.
        layers: of each layer of a stack one direction, or two of a bidirectional one.
        activations: of the gates, as the layers here take them.
        merge: of bidirectional layers.

    Raises:
        ValueError: an activation that there is not, or shapes that do not fit together.
        TypeError: the dtype is neither float32 nor float64, or not the same everywhere.
    """
    _check(where, len(gates), layers, merge)
    cell, chosen = chosen_cell(where, cell, activations, None)
    biased = any(bias is not None for layer in layers for each in layer for bias in each[2:])
    first = layers[0][0]
    widths = [directions[0].recurrent_kernel.shape[0] for directions in layers]
    layer: Recurrent[Any] = Recurrent(
        cell,
        first.kernel.shape[0],
        widths if len({*widths}) > 1 else widths[0],
        len(layers),
        bias=biased,
        batch_first=True,
        bidirectional=len(layers[0]) == 2,
        merge=merge,
        gates=chosen,
        unit_parameters=chosen is None,
        dtype=first.kernel.dtype,
        init="zeros",
    )
    places = [list(gates).index(name) for name in functional.cell_info(cell).gates]
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    values: dict[str, Array] = {}
    for k, directions in enumerate(layers):
        for each, suffix in zip(directions, scan_endings(k, len(directions)), strict=True):
            for name, columns in zip(names[: 4 if biased else 2], each, strict=False):
                if columns is not None:
                    rows = columns.T.reshape(len(gates), -1, *columns.shape[:-1])
                    values[name + suffix] = np.concatenate([rows[place] for place in places])
                else:
                    values[name + suffix] = np.zeros_like(layer.parameters[name + suffix])
    layer.load_parameters(values)
    return layer


def _check(where: str, gates: int, layers: Sequence[Sequence[Direction]], merge: Merge) -> None:
    first = layers[0][0].kernel
    inputs = first.shape[0] if first.ndim == 2 else 0
    letters = ("kernel (I, G*H)", "recurrent kernel (H, G*H)", "bias (G*H,)", "bias (G*H,)")
    for k, directions in enumerate(layers):
        recurrent_kernel = directions[0].recurrent_kernel
        hidden = recurrent_kernel.shape[0] if recurrent_kernel.ndim == 2 else 0
        width = gates * hidden
        shapes = ((inputs, width), (hidden, width), (width,), (width,))
        place = "" if len(layers) == 1 else f" of layer {k}"
        for each in directions:
            for what, expected, array in zip(letters, shapes, each, strict=True):
                if array is None:
                    continue
                if array.shape != expected:
                    raise ValueError(
                        f"[{where}] expected {what} = {expected}{place} with G = {gates} gates, "
                        f"got {array.shape}"
                    )
                if array.dtype != first.dtype:
                    raise TypeError(
                        f"[{where}] expected one dtype, got {first.dtype} and {array.dtype}"
                    )
        inputs = hidden if merge == "sum" else len(directions) * hidden
