"""Layers with the weights of Keras's LSTM, GRU, SimpleRNN and Bidirectional, and of stacks of them.

    from unrolled.interop.keras import from_keras

    layer = from_keras(model.get_layer("lstm").get_weights(), "lstm")
    y, state = layer(x)                              # (B, T, I), and trainable as any layer

    layers = model.get_layer("lower"), model.get_layer("upper")        # one reads the other
    stack = from_keras([w for each in layers for w in each.get_weights()], "lstm", num_layers=2)

Plain arrays go in; Keras need not be installed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..functional import GateFunction
from ..layers import Merge, Recurrent
from ..layers._gates import Activation, as_function
from ..layers._types import Array
from ._columns import Direction, layer_of_columns

_GATES = {
    "lstm": ("i", "f", "g", "o"),  # Keras calls g c
    "gru": ("z", "r", "n"),  # and n h
    "gru_reset_before": ("z", "r", "n"),
    "rnn_tanh": ("h",),
    "rnn_relu": ("h",),
}
#: Names of Keras whose parameters are not the same in all of its versions.
_AMBIGUOUS = ("hard_sigmoid", "leaky_relu")


def from_keras(
    weights: Sequence[ArrayLike],
    cell: str,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    merge_mode: Merge = "concat",
    reset_after: bool = True,
    activation: Activation | None = None,
    recurrent_activation: Activation = "sigmoid",
) -> Recurrent[Any]:
    """Returns a layer that reads (B, T, I), with the weights of a Keras layer.

    Args:
        weights: what the layer's `get_weights()` gives: kernel (I, G*H), recurrent kernel (H, G*H)
            and, with `use_bias`, bias (G*H,), that of a GRU (2, 3*H); of a Bidirectional layer
            those of both directions. Of a stack those of the layers, one after the other, as an
            RNN layer over several cells (StackedRNNCells) has them.
        cell: "lstm", "gru", "rnn_tanh" (a SimpleRNN) or "rnn_relu" (one with
            `activation="relu"`).
        num_layers: L of a stack, in which each layer reads the sequence that the one before
            returns. Widths may differ.
        bidirectional: whether it is a Bidirectional layer, or a stack of such. (A Bidirectional
            layer over several cells is none: its directions meet at the end alone. It is two
            stacks, the second one in `layers.Reversed`.)
        merge_mode: of Bidirectional layers, "concat" or "sum".
        reset_after: of a GRU, as Keras calls it.
        activation: "linear", or a name or function of `functional.GateFunction`; None: tanh, of
            "rnn_relu" relu. For a hard_sigmoid or a leaky_relu a function, since their parameters
            depend on the version: Keras 3 has `GateFunction("hard_sigmoid", 1 / 6, 0.5)` and
            `GateFunction("leaky_relu", 0.2)`, Keras 2 `GateFunction("hard_sigmoid")`.
        recurrent_activation: likewise, of an LSTM and a GRU.

    Raises:
        ValueError: an unknown cell, activation or merge_mode, or shapes that do not fit.
        TypeError: weights that are neither float32 nor float64.
    """
    if cell not in _GATES:
        raise ValueError(f"[keras] expected cell to be one of {', '.join(_GATES)}, got {cell!r}")
    if num_layers < 1:
        raise ValueError(f"[keras] expected num_layers >= 1, got {num_layers}")
    arrays = [np.asarray(weight) for weight in weights]
    directions = 2 if bidirectional else 1
    count = num_layers * directions
    each = len(arrays) // count
    if len(arrays) not in (2 * count, 3 * count):
        raise ValueError(
            f"[keras] expected {2 * count} arrays, or {3 * count} with biases, got {len(arrays)}"
        )
    parts = [arrays[k * each : (k + 1) * each] for k in range(count)]
    if cell == "gru":
        cell = cell if reset_after else "gru_reset_before"
        shape = "(2, 3*H)" if reset_after else "(3*H,)"
        for bias in (part[2] for part in parts if each == 3):
            if bias.ndim != (2 if reset_after else 1):
                raise ValueError(
                    f"[keras] expected the bias of a GRU with reset_after={reset_after} to be "
                    f"{shape}, got {bias.shape}"
                )
    if cell.startswith("rnn"):
        activations = [_function(activation or cell.removeprefix("rnn_"))]
        plain = "rnn"
    else:
        written = _function(activation or "tanh")
        activations = [_function(recurrent_activation), *[written] * (2 if cell == "lstm" else 1)]
        plain = cell
    scans = [_direction(part) for part in parts]
    layers = [scans[k : k + directions] for k in range(0, count, directions)]
    return layer_of_columns(
        "keras", plain, _GATES[cell], layers, activations=activations, merge=merge_mode
    )


def _function(activation: Activation) -> GateFunction:
    if activation == "linear":
        return GateFunction("affine")
    if activation in _AMBIGUOUS:
        raise ValueError(
            f"[keras] expected {activation} with its parameters, which differ between versions of "
            f"Keras: GateFunction({activation!r}, ...)"
        )
    return as_function(activation)


def _direction(arrays: Sequence[Array]) -> Direction:
    kernel, recurrent_kernel, *biases = arrays
    if biases and biases[0].ndim == 2 and len(biases[0]) == 2:
        return Direction(kernel, recurrent_kernel, *biases[0])
    return Direction(kernel, recurrent_kernel, *biases)
