"""Layers with the weights of Keras's LSTM, GRU, SimpleRNN and Bidirectional.

    from unrolled.interop.keras import from_keras

    layer = from_keras(model.get_layer("lstm").get_weights(), "lstm")
    y, state = layer(x)                              # (B, T, I), and trainable as any layer

Plain arrays go in; Keras need not be installed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..layers import Merge, Recurrent
from ..layers._types import Array
from ._columns import Direction, layer_of_columns

_GATES = {
    "lstm": ("i", "f", "g", "o"),  # Keras calls g c
    "gru": ("z", "r", "n"),  # and n h
    "gru_reset_before": ("z", "r", "n"),
    "rnn_tanh": ("h",),
    "rnn_relu": ("h",),
}


def from_keras(
    weights: Sequence[ArrayLike],
    cell: str,
    *,
    bidirectional: bool = False,
    merge_mode: Merge = "concat",
    reset_after: bool = True,
) -> Recurrent[Any]:
    """Returns a layer that reads (B, T, I), with the weights of a Keras layer.

    Args:
        weights: what the layer's `get_weights()` gives: kernel (I, G*H), recurrent kernel (H, G*H)
            and, with `use_bias`, bias (G*H,), that of a GRU (2, 3*H); of a Bidirectional layer
            those of both directions.
        cell: "lstm", "gru", "rnn_tanh" (a SimpleRNN) or "rnn_relu" (one with
            `activation="relu"`). Activations are Keras's defaults otherwise.
        bidirectional: whether it is a Bidirectional layer.
        merge_mode: of a Bidirectional layer, "concat" or "sum".
        reset_after: of a GRU, as Keras calls it.

    Raises:
        ValueError: an unknown cell or merge_mode, or shapes that do not fit.
        TypeError: weights that are neither float32 nor float64.
    """
    if cell not in _GATES:
        raise ValueError(f"[keras] expected cell to be one of {', '.join(_GATES)}, got {cell!r}")
    arrays = [np.asarray(weight) for weight in weights]
    count = 2 if bidirectional else 1
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
    directions = [_direction(part) for part in parts]
    return layer_of_columns("keras", cell, _GATES[cell], directions, merge=merge_mode)


def _direction(arrays: Sequence[Array]) -> Direction:
    kernel, recurrent_kernel, *biases = arrays
    if biases and biases[0].ndim == 2 and len(biases[0]) == 2:
        return Direction(kernel, recurrent_kernel, *biases[0])
    return Direction(kernel, recurrent_kernel, *biases)
