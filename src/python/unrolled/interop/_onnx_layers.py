"""Layers as nodes of an ONNX graph.

Each function adds what a layer computes at inference to a graph and returns the names of values.
`owner` is the layer's name in the model, under which its parameters are found in the file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .. import functional
from ..layers import AdaptiveSoftmaxHead, Attention, Conv2d, Embedding, Linear, Recurrent, Reversed
from ..layers._types import Array
from ._onnx_graph import Graph, weights
from ._onnx_operators import OPERATORS


def recurrent(
    graph: Graph,
    owner: str,
    layer: Recurrent[Any] | Reversed[Any],
    x: str,
    *,
    lengths: str = "",
    initial: Sequence[str] = (),
) -> tuple[str, tuple[str, ...]]:
    """A stack of recurrent layers.

    Shapes: x (T, B, I), y (T, B, D*H), states (L*D, B, H), whatever the layer's `batch_first`.

    Args:
        lengths: (B,) int64; "": all rows take T steps.
        initial: the states before the first step; none: zeros, or what the layer learned.

    Returns:
        y and the final states.

    Raises:
        ValueError: ONNX has no operator for the cell.
    """
    direction = "forward"
    if isinstance(layer, Reversed):
        owner, layer, direction = f"{owner}.layer".lstrip("."), layer.layer, "reverse"
    elif layer.num_directions == 2:
        direction = "bidirectional"
    if layer.cell not in OPERATORS:
        raise ValueError(
            f"[onnx.export] expected a cell out of {', '.join(OPERATORS)}, "
            f"got {layer.cell!r}, for which ONNX has no operator"
        )
    if layer.zoneout:
        raise ValueError(f"[onnx.export] ONNX has no zoneout, which {layer!r} has")
    if layer.cell_clip is not None:
        raise ValueError(
            f"[onnx.export] ONNX clips no state c (its clip is one of the gates), as {layer!r} does"
        )
    lens = graph.to_int32(lengths) if lengths else ""
    directions = layer.num_directions
    states = len(functional.cell_info(layer.cell).states)
    form = _StateForm.of(layer)
    each = [form.split(graph, state, n) for n, state in enumerate(initial)]
    if not initial and layer.learn_initial_state:
        each = _learned(graph, layer, x)
    final: list[list[str]] = [[] for _ in range(states)]
    for k, sizes in enumerate(layer._layers):
        first = [parts[k] for parts in each]
        w, r, bias, peepholes = _parameters(graph, owner, layer, k)
        inputs = [x, w, r, bias, lens, *(first or [""] * states), peepholes]
        while not inputs[-1]:
            inputs.pop()
        y, *last = graph.nodes(
            OPERATORS[layer.cell].op_type,
            inputs,
            1 + states,
            hidden_size=sizes.hidden,
            direction=direction,
            **OPERATORS[layer.cell].attributes(directions, layer.gates),
        )
        for names, name in zip(final, last, strict=True):
            names.append(name)
        if directions == 1:
            y = graph.squeeze(y, 1)
        elif layer.merge == "sum":  # (T, D, B, H)
            y = graph.node("ReduceSum", y, graph.constant([1]), keepdims=0)
        else:
            rows = graph.node("Transpose", y, perm=[0, 2, 1, 3])
            y = graph.reshape(rows, 0, 0, sizes.outputs)
        x = graph.node("Add", y, x) if sizes.residual else y
    return x, tuple(form.join(graph, names) for names in final)


@dataclass(frozen=True)
class _StateForm:
    """How the states of all layers lie in one array; see `StateForm` of the layers.

    Attributes:
        axis: on which the layers follow each other.
        sizes: of each layer on this axis, for each state.
    """

    axis: int
    sizes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, layer: Recurrent[Any]) -> "_StateForm":
        if len({*layer.hidden_sizes}) == 1:
            return cls(0, ((layer.num_directions,) * len(layer._state_names),) * layer.num_layers)
        return cls(2, layer._form.sizes)

    def split(self, graph: Graph, state: str, number: int) -> list[str]:
        """State `number` of each layer."""
        if len(self.sizes) == 1:
            return [state]
        sizes = graph.constant([of[number] for of in self.sizes])
        return graph.nodes("Split", (state, sizes), len(self.sizes), axis=self.axis)

    def join(self, graph: Graph, states: Sequence[str]) -> str:
        """Undoes `split`."""
        return states[0] if len(states) == 1 else graph.node("Concat", *states, axis=self.axis)


def _learned(graph: Graph, layer: Recurrent[Any], x: str) -> list[list[str]]:
    """For each state the learned initial ones (D, B, H) of each layer, B that of x (T, B, I)."""
    batch, directions = graph.size(x, 1), layer.num_directions

    def of_layer(state: int, k: int) -> str:
        scans = layer._scans[k * directions : (k + 1) * directions]
        rows = np.stack([layer.parameters[scan.initial[state]] for scan in scans])[:, None]
        ends = [graph.constant([size]) for size in (directions, rows.shape[2])]
        shape = graph.node("Concat", ends[0], batch, ends[1], axis=0)
        return graph.node("Expand", graph.constant(rows), shape)

    states = range(len(layer._state_names))
    return [[of_layer(state, k) for k in range(layer.num_layers)] for state in states]


def _parameters(graph: Graph, owner: str, layer: Recurrent[Any], k: int) -> list[str]:
    """W, R, B and P of layer k, "" for what is not there."""
    operator, arrays = OPERATORS[layer.cell], layer.parameters
    suffixes = (f"_l{k}", f"_l{k}_reverse")[: layer.num_directions]

    def stacked(name: str, convert: Callable[[Array], Array], *kinds: str) -> str:
        directions = [
            np.concatenate([convert(arrays[kind + suffix]) for kind in kinds])
            for suffix in suffixes
        ]
        return weights(graph, owner, f"{name}_l{k}", np.stack(directions))

    matrices = [stacked(name, operator.to_onnx, name) for name in ("weight_ih", "weight_hh")]
    bias = stacked("bias", operator.to_onnx, "bias_ih", "bias_hh") if layer.bias else ""
    there = f"weight_unit{suffixes[0]}" in arrays
    units = stacked("weight_unit", operator.peepholes, "weight_unit") if there else ""
    return [*matrices, bias, units]


def linear(graph: Graph, owner: str, layer: Linear, x: str) -> str:
    """y (..., O) of x (..., I)."""
    weight = weights(graph, owner, "weight", layer.parameters["weight"])
    y = graph.node("MatMul", x, graph.node("Transpose", weight))
    if not layer.bias:
        return y
    return graph.node("Add", y, weights(graph, owner, "bias", layer.parameters["bias"]))


def head(graph: Graph, owner: str, layer: Linear | AdaptiveSoftmaxHead, x: str) -> str:
    """Logits (..., V) of x (..., H); of an adaptive softmax log p."""
    if isinstance(layer, Linear):
        return linear(graph, owner, layer, x)
    own, frequent = layer.parameters, layer.cutoffs[0]

    def log_softmax(name: str, weight: Any, bias: Any) -> str:
        product = graph.node("MatMul", x, weights(graph, owner, f"{name}.weight", weight.T))
        logits = graph.node("Add", product, weights(graph, owner, f"{name}.bias", bias))
        return graph.node("LogSoftmax", logits, axis=-1)

    first = log_softmax(
        "first",
        np.concatenate((own["weight"][:frequent], own["cluster_weight"])),
        np.concatenate((own["bias"][:frequent], own["cluster_bias"])),
    )
    parts = [graph.slice(first, -1, 0, frequent)]
    bounds = (*layer.cutoffs, layer.output_size)
    for cluster, (low, high) in enumerate(pairwise(bounds)):
        tail = log_softmax(f"cluster_{cluster}", own["weight"][low:high], own["bias"][low:high])
        place = frequent + cluster
        parts.append(graph.node("Add", tail, graph.slice(first, -1, place, place + 1)))
    return graph.node("Concat", *parts, axis=-1)


def embedding(graph: Graph, owner: str, layer: Embedding, indices: str) -> str:
    """Vectors (..., E) of indices (...), int64; those below 0 count from the end here."""
    return graph.node("Gather", weights(graph, owner, "weight", layer.weight), indices)


def attention(
    graph: Graph, owner: str, layer: Attention, query: str, memory: str, lengths: str
) -> tuple[str, str]:
    """The context (B, M) and the weights (B, S) of one query (B, H) over memory (S, B, M).

    A source of length 0 has weights and a context of zeros, as here.
    """
    own = layer.parameters

    def product(x: str, name: str) -> str:
        matrix = graph.node("Transpose", weights(graph, owner, name, own[name]))
        return graph.node("MatMul", x, matrix)

    if layer._query_weight is not None:
        query = product(query, layer._query_weight)
    if layer._scale != 1.0:
        query = graph.node("Mul", query, graph.constant(layer._scale))
    if "bias" in own:
        query = graph.node("Add", query, weights(graph, owner, "bias", own["bias"]))
    sources = graph.node("Transpose", memory, perm=[1, 0, 2])  # (B, S, M)
    if "vector" in own:
        keys = product(sources, "memory_weight")
        hidden = graph.node("Tanh", graph.node("Add", keys, graph.unsqueeze(query, 1)))
        vector = weights(graph, owner, "vector", own["vector"])
        scores = graph.node("MatMul", hidden, graph.unsqueeze(vector, 1))
    else:
        scores = graph.node("MatMul", sources, graph.unsqueeze(query, 2))  # (B, S, 1)
    places = graph.node("Transpose", scores, perm=[1, 0, 2])
    # Not -inf, which would make NaN of a source without places.
    least = float(np.finfo(graph.dtype).min)
    soft = graph.node("Softmax", inside(graph, places, lengths, least), axis=0)
    rows = graph.node("Transpose", inside(graph, soft, lengths, 0.0), perm=[1, 2, 0])
    return graph.squeeze(graph.node("MatMul", rows, sources), 1), graph.squeeze(rows, 1)


def inside(graph: Graph, x: str, lengths: str, outside: float) -> str:
    """x (T, B, H) with a number after the end of each row."""
    step = graph.unsqueeze(graph.range(graph.size(x, 0)), 1)
    before = graph.node("Less", step, lengths)
    return graph.node("Where", graph.unsqueeze(before, 2), x, graph.constant(outside))


def conv(graph: Graph, owner: str, layer: Conv2d, x: str) -> str:
    """y (N, O, H', W') of images (N, C, H, W), channels first as ONNX has them."""
    arrays, windows = layer.parameters, layer.windows
    inputs = [x, weights(graph, owner, "weight", arrays["weight"])]
    if layer.bias:
        inputs.append(weights(graph, owner, "bias", arrays["bias"]))
    return convolution(graph, inputs, windows, layer.groups, layer.activation)


def convolution(
    graph: Graph,
    inputs: Sequence[str],
    windows: functional.Windows,
    groups: int,
    activation: functional.Activation,
) -> str:
    """A convolution of images, weight and maybe bias, with an activation."""
    if windows.padding == "same":
        around: dict[str, Any] = {"auto_pad": "SAME_UPPER"}
    else:
        (top, bottom), (left, right) = windows.padding
        around = {"pads": [top, left, bottom, right]}
    y = graph.node(
        "Conv", *inputs, kernel_shape=windows.kernel, strides=windows.stride, group=groups, **around
    )
    if activation == "relu":
        return graph.node("Relu", y)
    if activation == "relu6":
        return graph.node("Clip", y, graph.constant(0.0), graph.constant(6.0))
    return y
