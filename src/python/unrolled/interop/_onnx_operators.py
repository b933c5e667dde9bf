"""How ONNX's recurrent operators lay out what our cells lay out otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layers._types import Array


@dataclass(frozen=True)
class Operator:
    """The ONNX operator of one of our cells.

    ONNX keeps the gates of a matrix in an order of its own, and both biases in one row.

    Attributes:
        op_type: "LSTM", "GRU" or "RNN".
        order: for each of ONNX's gates, the place of the same gate in our cell.
        attributes: what else the operator must be told to be this cell.
    """

    op_type: str
    order: tuple[int, ...]
    attributes: Mapping[str, Any]

    def to_onnx(self, rows: Array) -> Array:
        """Our (G*H, ...) in ONNX's order of gates; a copy."""
        gates = rows.reshape(len(self.order), -1, *rows.shape[1:])
        return np.concatenate([gates[place] for place in self.order])

    def from_onnx(self, rows: Array) -> Array:
        """ONNX's (G*H, ...) in our order of gates; a copy."""
        gates = rows.reshape(len(self.order), -1, *rows.shape[1:])
        return np.concatenate([gates[self.order.index(place)] for place in range(len(self.order))])


#: By the cell's name.
OPERATORS: Mapping[str, Operator] = {
    "lstm": Operator("LSTM", (0, 3, 1, 2), {}),
    "gru": Operator("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    "rnn_tanh": Operator("RNN", (0,), {"activations": ["Tanh"]}),
    "rnn_relu": Operator("RNN", (0,), {"activations": ["Relu"]}),
}

#: What a node does that says nothing of its activations.
DEFAULT_ACTIVATIONS: Mapping[str, Sequence[str]] = {
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
    "RNN": ("Tanh",),
}
