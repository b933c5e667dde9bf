"""Layers with the parameters of Flax's recurrent cells, of linen and nnx, and of stacks of them.

    from unrolled.interop.flax import from_flax

    layer = from_flax(variables["params"])           # of nn.RNN(cell) or nn.Bidirectional
    y, state = layer(x)                              # (B, T, I), and trainable as any layer

    params = variables["params"]                     # of layers that read each other
    stack = from_flax([params["layers_0"], params["layers_1"]])

Plain arrays go in; Flax need not be installed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..functional import GateFunction
from ..layers import Merge, Recurrent
from ..layers._gates import Activation, as_function
from ..layers._types import Array
from ._columns import Direction, layer_of_columns

_GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n"), "rnn": ("h",)}
# A gate whose sum is this is open: its sigmoid is 1 in float64, too.
_OPEN = 40.0

Tree = Mapping[str, Any]


def from_flax(
    parameters: Tree | Sequence[Tree],
    reverse: Tree | None = None,
    *,
    gate_fn: Activation = "sigmoid",
    activation_fn: Activation = "tanh",
    residual: bool = False,
    merge: Merge = "concat",
) -> Recurrent[Any]:
    """Returns a layer that reads (B, T, I), with the parameters of Flax's.

    Which cell it is, its parameters' names tell. Each name holds a kernel and, or not, a bias:
    "ii", "if" ... "ho" of linen's LSTMCell and OptimizedLSTMCell ("if_" in nnx), "ir" ... "hn" of
    linen's GRUCell, "if", "hf", "in", "hn" of its MGUCell, "i" and "h" of its SimpleCell, "dense_i"
    and "dense_h" of nnx's cells.

    An MGUCell becomes a GRU whose two gates are both its gate (r is open in one without
    `reset_gate`); training that goes on may let them differ.

    Args:
        parameters: a tree of the cell, of an RNN ("cell") or of a Bidirectional ("forward_rnn",
            "backward_rnn"); or a sequence of such trees, of layers that read each other. Of nnx
            `nnx.to_pure_dict(nnx.state(layer, nnx.Param))`.
        reverse: the tree of the cell that runs from the end to the beginning, where it is none of
            a Bidirectional. (An RNN with `reverse` alone is `layers.Reversed(from_flax(...))`.)
        gate_fn, activation_fn: as Flax calls them, by names of `functional.GateFunction`, or such;
            hard_sigmoid is that of JAX, min(max(x / 6 + 0.5, 0), 1). A SimpleCell has the second
            one alone.
        residual: that of a SimpleCell, whose state is added before its activation. It becomes a
            part of weight_hh.
        merge: of a Bidirectional, "concat" or "sum" (its `merge_fn`).

    Raises:
        ValueError: names of no cell, another activation or merge, an MGUCell without `reset_gate`
            that has another gate_fn, or shapes that do not fit.
        TypeError: parameters that are neither float32 nor float64.
    """
    trees = [parameters] if isinstance(parameters, Mapping) else list(parameters)
    layers = [_directions(tree) for tree in trees]
    if reverse is not None:
        if len(layers) != 1 or len(layers[0]) != 1:
            raise ValueError("[flax] expected reverse beside one cell alone, got more of them")
        layers[0].append(_cell_tree(reverse))
    if len({len(layer) for layer in layers}) != 1:
        raise ValueError("[flax] expected layers that all have one direction, or all two")
    gate, last = _function(gate_fn), _function(activation_fn)
    read = [[_direction(tree, gate, residual) for tree in layer] for layer in layers]
    cells = [*dict.fromkeys(cell for layer in read for cell, _ in layer)]
    if len(cells) > 1:
        raise ValueError(f"[flax] expected cells of one kind, got {' and '.join(cells)}")
    scans = [[direction for _, direction in layer] for layer in read]
    (cell,) = cells
    activations = {"lstm": [gate, last, last], "gru": [gate, last], "rnn": [last]}[cell]
    return layer_of_columns("flax", cell, _GATES[cell], scans, activations=activations, merge=merge)


def _function(activation: Activation) -> GateFunction:
    if activation == "hard_sigmoid":
        return GateFunction("hard_sigmoid", 1 / 6, 0.5)
    return as_function(activation)


def _directions(tree: Tree) -> list[Tree]:
    """The trees of a layer's cells."""
    if {*tree} == {"forward_rnn", "backward_rnn"}:
        return [_cell_tree(tree["forward_rnn"]), _cell_tree(tree["backward_rnn"])]
    return [_cell_tree(tree)]


def _cell_tree(tree: Tree) -> Tree:
    inner: Tree = tree["cell"] if {*tree} == {"cell"} else tree
    return inner


def _direction(tree: Tree, gate: GateFunction, residual: bool) -> tuple[str, Direction]:
    """The cell's name here, and its parameters."""
    named = {name.rstrip("_"): dense for name, dense in tree.items()}
    cell, inputs, states = _cell_of(named, gate)
    kernel, bias = _joined(inputs)
    recurrent_kernel, recurrent_bias = _joined(states)
    if residual:
        if cell != "rnn":
            raise ValueError(f"[flax] expected residual=False of {cell}: only a SimpleCell has it")
        recurrent_kernel = recurrent_kernel + np.eye(
            *recurrent_kernel.shape, dtype=recurrent_kernel.dtype
        )
    return cell, Direction(kernel, recurrent_kernel, bias, recurrent_bias)


def _cell_of(named: Tree, gate: GateFunction) -> tuple[str, Sequence[Tree], Sequence[Tree]]:
    """The cell's name here, and what multiplies input and state, gate by gate."""
    if {*named} == {"dense_i", "dense_h"}:
        rows, columns = (*np.shape(named["dense_h"]["kernel"]), 0, 0)[:2]
        cell = {4 * rows: "lstm", 3 * rows: "gru"}.get(columns, "rnn")
        return cell, [named["dense_i"]], [named["dense_h"]]
    if {*named} == {"if", "hf", "in", "hn"}:
        of_x, of_h = named["if"], named["hf"]
        if named["hn"].get("bias") is None:  # no reset gate
            if gate.name != "sigmoid":
                raise ValueError(f"[flax] expected gate_fn sigmoid without reset_gate, got {gate}")
            of_x, of_h = _constant(of_x, _OPEN), _constant(of_h, 0.0)
        return "gru", [of_x, named["if"], named["in"]], [of_h, named["hf"], named["hn"]]
    for cell, gates in {**_GATES, "rnn": ("",)}.items():
        names = [[side + gate for gate in gates] for side in "ih"]
        if {*named} == {*names[0], *names[1]}:
            inputs, states = ([named[name] for name in side] for side in names)
            return cell, inputs, states
    raise ValueError(
        f"[flax] expected the parameters of an LSTM, GRU, MGU or simple cell, "
        f"got {', '.join(sorted(named))}"
    )


def _constant(dense: Tree, value: float) -> Tree:
    """What gives the value whatever it reads, in the shape of `dense`."""
    kernel = np.zeros_like(np.asarray(dense["kernel"]))
    return {"kernel": kernel, "bias": np.full(kernel.shape[-1:], value, kernel.dtype)}


def _joined(parts: Sequence[Tree]) -> tuple[Array, Array | None]:
    """Kernels side by side, and biases, zero where only others have one."""
    kernels = [np.asarray(part["kernel"]) for part in parts]
    if all(part.get("bias") is None for part in parts):
        return np.concatenate(kernels, axis=-1), None
    biases = [
        np.zeros(kernel.shape[-1:], kernel.dtype) if part.get("bias") is None else part["bias"]
        for kernel, part in zip(kernels, parts, strict=True)
    ]
    return np.concatenate(kernels, axis=-1), np.concatenate(biases)
