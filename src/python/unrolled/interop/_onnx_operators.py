"""How ONNX's recurrent operators lay out what our cells lay out otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
        activations: of one direction.
        options: what else the operator must be told to be this cell.
    """

    op_type: str
    order: tuple[int, ...]
    activations: tuple[str, ...]
    options: Mapping[str, int] = field(default_factory=dict)

    def to_onnx(self, rows: Array) -> Array:
        """Our (G*H, ...) in ONNX's order of gates; a copy."""
        gates = rows.reshape(len(self.order), -1, *rows.shape[1:])
        return np.concatenate([gates[place] for place in self.order])

    def from_onnx(self, rows: Array) -> Array:
        """ONNX's (G*H, ...) in our order of gates; a copy."""
        gates = rows.reshape(len(self.order), -1, *rows.shape[1:])
        return np.concatenate([gates[self.order.index(place)] for place in range(len(self.order))])

    def attributes(self, directions: int = 1) -> dict[str, Any]:
        """What a node of this cell says, but for its direction and its size."""
        activations = list(self.activations) * directions
        default = self.activations == DEFAULT_ACTIVATIONS[self.op_type]
        return dict(self.options) | ({} if default else {"activations": activations})


#: What a node does that says nothing of its activations.
DEFAULT_ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
    "RNN": ("Tanh",),
}

#: How many gates an operator has.
GATES: Mapping[str, int] = {"LSTM": 4, "GRU": 3, "RNN": 1}

#: The states of an operator, the output first.
STATES: Mapping[str, Sequence[str]] = {"LSTM": ("h", "c"), "GRU": ("h",), "RNN": ("h",)}

#: By the cell's name.
OPERATORS: Mapping[str, Operator] = {
    "lstm": Operator("LSTM", (0, 3, 1, 2), DEFAULT_ACTIVATIONS["LSTM"]),
    "gru": Operator("GRU", (1, 0, 2), DEFAULT_ACTIVATIONS["GRU"], {"linear_before_reset": 1}),
    "rnn_tanh": Operator("RNN", (0,), DEFAULT_ACTIVATIONS["RNN"]),
    "rnn_relu": Operator("RNN", (0,), ("Relu",)),
}
