"""Layers with the parameters of Flax's recurrent cells.

    from unrolled.interop.flax import from_flax

    layer = from_flax(variables["params"]["cell"])
    y, state = layer(x)                              # (B, T, I), and trainable as any layer

Plain arrays go in; Flax need not be installed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..layers import Recurrent
from ..layers._types import Array
from ._columns import Direction, layer_of_columns

_GATES = {
    "lstm": ("i", "f", "g", "o"),
    "gru": ("r", "z", "n"),
    "rnn_tanh": ("h",),
    "rnn_relu": ("h",),
}
_Dense = Mapping[str, ArrayLike]


def from_flax(
    parameters: Mapping[str, _Dense],
    reverse: Mapping[str, _Dense] | None = None,
    *,
    nonlinearity: str = "tanh",
) -> Recurrent[Any]:
    """Returns a layer that reads (B, T, I), with the parameters of a Flax cell.

    Which cell it is, its parameters' names tell. Each name holds a kernel and, or not, a bias:
    "ii", "if" ... "ho" of linen's LSTMCell and OptimizedLSTMCell ("if_" in nnx), "ir" ... "hn" of
    linen's GRUCell, "i" and "h" of SimpleCell, "dense_i" and "dense_h" of nnx's GRUCell and
    OptimizedLSTMCell.

    Args:
        parameters: of the cell, a tree of two levels.
        reverse: of the cell that runs from the end to the beginning, for a bidirectional layer.
        nonlinearity: "tanh" or "relu", of a SimpleCell; gates have Flax's activations.

    Raises:
        ValueError: names of no cell, or shapes that do not fit.
        TypeError: parameters that are neither float32 nor float64.
    """
    trees = [parameters] if reverse is None else [parameters, reverse]
    cells, directions = zip(*(_direction(tree, nonlinearity) for tree in trees), strict=True)
    if len({*cells}) > 1:
        raise ValueError(f"[flax] expected two directions of one cell, got {' and '.join(cells)}")
    return layer_of_columns("flax", cells[0], _GATES[cells[0]], directions)


def _direction(tree: Mapping[str, _Dense], nonlinearity: str) -> tuple[str, Direction]:
    """The cell's name here, and its parameters."""
    named = {name.rstrip("_"): dense for name, dense in tree.items()}
    cell, inputs, states = _cell_of(named, nonlinearity)
    kernel, bias = _joined([named[name] for name in inputs])
    recurrent_kernel, recurrent_bias = _joined([named[name] for name in states])
    return cell, Direction(kernel, recurrent_kernel, bias, recurrent_bias)


def _cell_of(
    named: Mapping[str, _Dense], nonlinearity: str
) -> tuple[str, Sequence[str], Sequence[str]]:
    """The cell's name here, and the names of what multiplies input and state, gate by gate."""
    if {*named} == {"dense_i", "dense_h"}:
        rows, columns = np.shape(named["dense_h"]["kernel"])
        return "lstm" if columns == 4 * rows else "gru", ["dense_i"], ["dense_h"]
    simple = f"rnn_{nonlinearity}"
    for cell, gates in {**_GATES, simple: ("",)}.items():
        inputs, states = ([side + gate for gate in gates] for side in "ih")
        if cell in _GATES and {*named} == {*inputs, *states}:
            return cell, inputs, states
    raise ValueError(
        f"[flax] expected the parameters of an LSTM, GRU or simple cell, and nonlinearity tanh or "
        f"relu, got {', '.join(sorted(named))} and {nonlinearity}"
    )


def _joined(parts: list[_Dense]) -> tuple[Array, Array | None]:
    """Kernels side by side, and biases, zero where only others have one."""
    kernels = [np.asarray(part["kernel"]) for part in parts]
    if all(part.get("bias") is None for part in parts):
        return np.concatenate(kernels, axis=-1), None
    biases = [
        np.zeros(kernel.shape[-1], kernel.dtype) if part.get("bias") is None else part["bias"]
        for kernel, part in zip(kernels, parts, strict=True)
    ]
    return np.concatenate(kernels, axis=-1), np.concatenate(biases)
