"""Recurrent layers out of ONNX models.

    from unrolled.interop import onnx

    for node in onnx.recurrent_nodes("model.onnx"):
        print(node.name, node.layer)
        y, state = node.layer(x)                     # trainable, as any layer

Needs the extra [onnx].
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .._extras import import_extra
from ..layers import Recurrent
from ..layers._types import Array
from ._onnx_constants import Constants, graphs_of
from ._onnx_operators import DEFAULT_ACTIVATIONS, OPERATORS, Operator

#: A file, its bytes, or an `onnx.ModelProto`.
Model: TypeAlias = "str | os.PathLike[str] | bytes | Any"


@dataclass(frozen=True)
class RecurrentNode:
    """A node of the operators LSTM, GRU or RNN as a layer.

    Attributes:
        name: of the node, or of its first output where it has none.
        operator: "LSTM", "GRU" or "RNN".
        layer: with the node's weights; reads (T, B, I), with the node's `layout` 1 (B, T, I). Its
            output (T, B, D*H) has the directions side by side; ONNX's Y is (T, D, B, H).
        x: the value of the graph that the node reads.
        y: the value of the graph that it writes; "" if nobody reads it.
    """

    name: str
    operator: str
    layer: Recurrent[Any]
    x: str
    y: str


def recurrent_nodes(model: Model) -> list[RecurrentNode]:
    """Returns every recurrent node of a model, those of its If branches and loops included.

    Weights may be constants, or whatever the model computes from constants.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no ONNX model, or a node does what no layer here does (other activations,
            peepholes, clipping, coupled gates, a reset gate before the product, reverse alone), or
            its weights come from outside; the text names the node.
        ImportError: the extra [onnx] is not installed.
    """
    proto = _read(model)
    constants = Constants(proto)
    return [
        _recurrent_node(node, constants)
        for graph in graphs_of(proto.graph)
        for node in graph.node
        if node.op_type in DEFAULT_ACTIVATIONS and node.domain in ("", "ai.onnx")
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


def _recurrent_node(node: Any, constants: Constants) -> RecurrentNode:
    onnx = import_extra("onnx", "onnx")
    name = node.name or next(filter(None, node.output), node.op_type)
    where = f"[onnx] {node.op_type} {name}"
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    inputs = [*node.input, *[""] * (8 - len(node.input))]
    cell = _cell(where, node.op_type, attributes, peepholes=bool(inputs[7]))
    weight_ih, weight_hh = (constants.value(inputs[place], where) for place in (1, 2))
    bias = constants.value(inputs[3], where) if inputs[3] else None
    operator = OPERATORS[cell]
    directions, hidden = _sizes(where, operator, attributes, weight_ih, weight_hh, bias)
    layer: Recurrent[Any] = Recurrent(
        cell,
        weight_ih.shape[2],
        hidden,
        bias=bias is not None,
        batch_first=bool(attributes.get("layout", 0)),
        bidirectional=directions == 2,
        dtype=weight_ih.dtype,
        init="zeros",
    )
    values: dict[str, Array] = {}
    for direction, suffix in enumerate(("_l0", "_l0_reverse")[:directions]):
        values["weight_ih" + suffix] = operator.from_onnx(weight_ih[direction])
        values["weight_hh" + suffix] = operator.from_onnx(weight_hh[direction])
        if bias is not None:
            for which, half in zip(
                ("bias_ih", "bias_hh"), np.split(bias[direction], 2), strict=True
            ):
                values[which + suffix] = operator.from_onnx(half)
    layer.load_parameters(values)
    return RecurrentNode(name, node.op_type, layer, node.input[0], node.output[0])


def _cell(where: str, op_type: str, attributes: Mapping[str, Any], *, peepholes: bool) -> str:
    """The cell that does what the node does."""
    direction = attributes.get("direction", b"forward").decode()
    if direction not in ("forward", "bidirectional"):
        raise ValueError(f"{where} reads in the direction {direction!r}, which no layer does alone")
    given = [item.decode().capitalize() for item in attributes.get("activations", [])]
    expected = list(DEFAULT_ACTIVATIONS[op_type])
    activations = given or expected * (1 + (direction == "bidirectional"))
    half = activations[: len(expected)]
    unknown = {
        "peepholes": peepholes,
        "clip": "clip" in attributes,
        "input_forget": bool(attributes.get("input_forget", 0)),
        "linear_before_reset = 0": op_type == "GRU"
        and not attributes.get("linear_before_reset", 0),
        "activation_alpha": bool(attributes.get("activation_alpha")),
        "activation_beta": bool(attributes.get("activation_beta")),
        f"activations {activations}": (
            activations != half * (len(activations) // max(len(half), 1))
            or half not in ([expected, ["Relu"]] if op_type == "RNN" else [expected])
        ),
    }
    if missing := [name for name, wanted in unknown.items() if wanted]:
        raise ValueError(f"{where} needs {', '.join(missing)}, which no cell here has")
    if op_type == "RNN":
        return "rnn_relu" if half == ["Relu"] else "rnn_tanh"
    return op_type.lower()


def _sizes(
    where: str,
    operator: Operator,
    attributes: Mapping[str, Any],
    weight_ih: Array,
    weight_hh: Array,
    bias: Array | None,
) -> tuple[int, int]:
    """Directions D and hidden size H, once W (D, G*H, I), R (D, G*H, H) and B (D, 2*G*H) agree."""
    directions = 2 if attributes.get("direction", b"forward") == b"bidirectional" else 1
    hidden = weight_hh.shape[-1] if weight_hh.ndim else 0
    rows = len(operator.order) * hidden
    good = (
        weight_hh.shape == (directions, rows, hidden)
        and weight_ih.ndim == 3
        and weight_ih.shape[:2] == (directions, rows)
        and attributes.get("hidden_size", hidden) == hidden
        and (bias is None or bias.shape == (directions, 2 * rows))
    )
    if not good:
        raise ValueError(
            f"{where} has weights of shapes {weight_ih.shape}, {weight_hh.shape} and "
            f"{None if bias is None else bias.shape}, which do not fit together"
        )
    return directions, hidden
