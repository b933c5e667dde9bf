"""Recurrent layers out of ONNX models, and layers and models as ONNX models.

    from unrolled.interop import onnx

    for node in onnx.recurrent_nodes("model.onnx"):
        print(node.name, node.layer)
        y, state = node.layer(x, node.state)         # trainable, as any layer

    onnx.export(model, "model.onnx")

Needs the extra [onnx].
"""

import os
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .._extras import import_extra
from ..layers import Recurrent, Reversed, as_state
from ..layers._types import Array
from ._onnx_constants import Constants, graphs_of
from ._onnx_node import Equations, NodeOptions, read_options
from ._onnx_operators import OPERATORS, STATES
from .onnx_export import export as export
from .onnx_export import parts as parts

#: A file, its bytes, or an `onnx.ModelProto`.
Model: TypeAlias = "str | os.PathLike[str] | bytes | Any"

#: The names of the domain of ONNX's own operators.
_ONNX = ("", "ai.onnx")


@dataclass(frozen=True)
class RecurrentNode:
    """A node of the operators LSTM, GRU or RNN as a layer.

    ::

        y, state = node.layer(x, node.state)

    Shapes: T steps, B batch, I input, H hidden, D directions.

    Attributes:
        name: of the node, or of its first output where it has none.
        operator: "LSTM", "GRU" or "RNN".
        layer: with the node's weights; reads (T, B, I), with the node's `layout` 1 (B, T, I). Its
            output (T, B, D*H) has the directions side by side; ONNX's Y is (T, D, B, H). `Reversed`
            where the node's direction is reverse.
        x: the value of the graph that the node reads.
        y: the value of the graph that it writes; "" if nobody reads it.
        lengths: the value that holds the lengths of the rows; "": all rows take T steps.
        initial: the values that hold the initial states, h before c; "": zeros.
        final: the values that the final states go to; "": nobody reads them.
        state: the initial state, (D, B, H) each, as the layer takes it, where it is a constant of
            the model; None: it is none, or zeros.
    """

    name: str
    operator: str
    layer: Recurrent[Any] | Reversed[Any]
    x: str
    y: str
    lengths: str = ""
    initial: tuple[str, ...] = ()
    final: tuple[str, ...] = ()
    state: Any = None


def recurrent_nodes(model: Model) -> list[RecurrentNode]:
    """Returns every recurrent node of a model, those of its If branches and loops included.

    Weights may be constants, or whatever the model computes from constants.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no ONNX model, or a node does what no layer here does (activations that
            differ by direction), or its weights come from outside or do not fit together; the text
            names the node.
        ImportError: the extra [onnx] is not installed.
    """
    proto = _read(model)
    constants = Constants(proto)
    opset = next((int(each.version) for each in proto.opset_import if each.domain in _ONNX), 1)
    return [
        _recurrent_node(node, opset, constants)
        for graph in graphs_of(proto.graph)
        for node in graph.node
        if node.op_type in STATES and node.domain in _ONNX
    ]


def _read(model: Model) -> Any:
    onnx = import_extra("onnx", "onnx")
    if isinstance(model, onnx.ModelProto):
        return model
    if isinstance(model, str | os.PathLike):
        path = os.fspath(model)
        with open(path, "rb") as file:
            data = file.read()
    else:
        path, data = "the model", bytes(model)
    decode_error = import_extra("google.protobuf.message", "onnx").DecodeError
    try:
        proto = onnx.load_model_from_string(data)
    except (decode_error, ValueError) as error:
        raise ValueError(f"{path} is no ONNX model: {error}") from error
    if not proto.graph.node:  # bytes of many kinds pass for a message, but for an empty one
        raise ValueError(f"{path} is no ONNX model: it has no nodes")
    return proto


def _recurrent_node(node: Any, opset: int, constants: Constants) -> RecurrentNode:
    options = read_options(node, opset)
    where, states = options.where, STATES[options.op_type]
    inputs = [*node.input, *[""] * (8 - len(node.input))]
    outputs = [*node.output, *[""] * (3 - len(node.output))]
    if not all(inputs[:3]) or len(inputs) > 8:
        raise ValueError(f"{where} expected the inputs X, W and R, and no more than 8")
    equations = _equations(options)
    cell = equations.cell
    arrays = [constants.value(inputs[n], where) if inputs[n] else None for n in (1, 2, 3, 7)]
    w, r, b, p = arrays
    assert w is not None
    assert r is not None
    inputs_size, hidden = options.hidden(w, r, b, p)
    layer: Recurrent[Any] = Recurrent(
        cell,
        inputs_size,
        hidden,
        bias=b is not None,
        batch_first=options.batch_first,
        bidirectional=len(options.reverse) == 2,
        gates=equations.gates,
        unit_parameters=equations.gates is None or p is not None,
        dtype=w.dtype,
        init="zeros",
    )
    values: dict[str, Array] = {}
    for d, suffix in enumerate(("_l0", "_l0_reverse")[: len(options.reverse)]):
        each: list[Any] = [None if array is None else array[d] for array in arrays]
        own = OPERATORS[cell].parameters(*each)
        values |= {name + suffix: array for name, array in own.items()}
    layer.load_parameters(values)
    initial = tuple(inputs[5 : 5 + len(states)])
    return RecurrentNode(
        node.name or next(filter(None, node.output), node.op_type),
        options.op_type,
        Reversed(layer) if options.reverse == (True,) else layer,
        x=inputs[0],
        y=outputs[0],
        lengths=inputs[4],
        initial=initial,
        final=tuple(outputs[1 : 1 + len(states)]),
        state=_state(options, initial, constants),
    )


def _equations(options: NodeOptions) -> Equations:
    """What the node computes in all of its directions."""
    first, *others = options.equations
    if any(each != first for each in others):
        raise ValueError(f"{options.where} has activations that differ by direction: no layer has")
    return first


def _state(options: NodeOptions, names: tuple[str, ...], constants: Constants) -> Any:
    """The initial state as a layer takes it, if it is a constant."""
    given = [name for name in names if name]
    if not given or not all(map(constants.known, given)):
        return None
    arrays = {name: constants.value(name, options.where) for name in given}
    zeros = np.zeros_like(arrays[given[0]])
    states = [arrays.get(name, zeros) for name in names]
    if options.batch_first:
        states = [np.ascontiguousarray(each.swapaxes(0, 1)) for each in states]
    return as_state(tuple(states))
