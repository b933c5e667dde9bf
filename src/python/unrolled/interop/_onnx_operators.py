"""How ONNX's recurrent operators lay out what our cells lay out otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..functional import NO_CHOICE, Gates
from ..layers._types import Array
from ._onnx_activations import onnx_name


@dataclass(frozen=True)
class Operator:
    """The ONNX operator of one of our cells.

    ONNX keeps the gates of a matrix in an order of its own, and both biases in one row.

    Attributes:
        op_type: "LSTM", "GRU" or "RNN".
        order: for each of ONNX's gates, the place of the same gate in our cell; None: the cell has
            none.
        activations: of one direction, by default where they can be chosen.
        options: what else the operator must be told to be this cell.
        negated: the places of gates that are 1 - sigmoid(z) where ONNX has sigmoid(z).
        units: for each of ONNX's peepholes, the place of the same in our weight_unit.
    """

    op_type: str
    order: tuple[int | None, ...]
    activations: tuple[str, ...]
    options: Mapping[str, int] = field(default_factory=dict)
    negated: tuple[int, ...] = ()
    units: tuple[int, ...] = ()

    def to_onnx(self, rows: Array) -> Array:
        """Our (G*H, ...) in ONNX's order of gates, zeros for those that we lack; a copy."""
        gates = rows.reshape(len(self.order) - self.order.count(None), -1, *rows.shape[1:])
        return np.concatenate(
            [
                np.zeros_like(gates[0]) if place is None else self._signed(gates[place], place)
                for place in self.order
            ]
        )

    def from_onnx(self, rows: Array) -> Array:
        """ONNX's (G*H, ...) in our order of gates; a copy."""
        gates = rows.reshape(len(self.order), -1, *rows.shape[1:])
        places = range(len(self.order) - self.order.count(None))
        return np.concatenate(
            [self._signed(gates[self.order.index(place)], place) for place in places]
        )

    def parameters(
        self, w: Array, r: Array, bias: Array | None = None, peepholes: Array | None = None
    ) -> dict[str, Array]:
        """What ONNX has of one direction, by the arguments of `functional.pack`.

        Shapes: w (G*H, I), r (G*H, H), bias (2*G*H,), peepholes (3*H,).
        """
        arrays = {"weight_ih": w, "weight_hh": r}
        if bias is not None:
            arrays |= zip(("bias_ih", "bias_hh"), np.split(bias, 2), strict=True)
        result = {name: self.from_onnx(array) for name, array in arrays.items()}
        if self.units and peepholes is not None:
            blocks = np.split(peepholes, len(self.units))
            places = range(len(self.units))
            result["weight_unit"] = np.concatenate([blocks[self.units.index(n)] for n in places])
        return result

    def peepholes(self, weight_unit: Array) -> Array:
        """Our weight_unit (P*H,) in ONNX's order of peepholes."""
        blocks = np.split(weight_unit, len(self.units))
        return np.concatenate([blocks[place] for place in self.units])

    def _signed(self, gate: Array, place: int) -> Array:
        return -gate if place in self.negated else gate

    def attributes(self, directions: int = 1, gates: Gates = NO_CHOICE) -> dict[str, Any]:
        """What a node of this cell says, but for its direction and its size."""
        names = tuple(onnx_name(each.name) for each in gates.functions) or self.activations
        result: dict[str, Any] = dict(self.options)
        if names != DEFAULT_ACTIVATIONS[self.op_type]:
            result["activations"] = list(names) * directions
        for kind in ("alpha", "beta"):
            values = [getattr(each, kind) for each in gates.functions]
            if given := [value for value in values if value is not None] * directions:
                result[f"activation_{kind}"] = given
        if gates.clip is not None:
            result["clip"] = gates.clip
        return result | ({"input_forget": 1} if gates.coupled else {})


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
    "lstm_peephole": Operator("LSTM", (0, 3, 1, 2), DEFAULT_ACTIVATIONS["LSTM"], units=(0, 2, 1)),
    "lstm_coupled": Operator(  # it keeps the gate f = 1 - i
        "LSTM", (0, 2, None, 1), DEFAULT_ACTIVATIONS["LSTM"], {"input_forget": 1}, negated=(0,)
    ),
    "gru": Operator("GRU", (1, 0, 2), DEFAULT_ACTIVATIONS["GRU"], {"linear_before_reset": 1}),
    "gru_reset_before": Operator("GRU", (1, 0, 2), DEFAULT_ACTIVATIONS["GRU"]),
    "rnn_tanh": Operator("RNN", (0,), DEFAULT_ACTIVATIONS["RNN"]),
    "rnn_relu": Operator("RNN", (0,), ("Relu",)),
    "lstm_functions": Operator("LSTM", (0, 3, 1, 2), DEFAULT_ACTIVATIONS["LSTM"], units=(0, 2, 1)),
    "gru_functions": Operator(
        "GRU", (1, 0, 2), DEFAULT_ACTIVATIONS["GRU"], {"linear_before_reset": 1}
    ),
    "gru_reset_before_functions": Operator("GRU", (1, 0, 2), DEFAULT_ACTIVATIONS["GRU"]),
    "rnn_functions": Operator("RNN", (0,), DEFAULT_ACTIVATIONS["RNN"]),
}
