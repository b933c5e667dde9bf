"""The forecasting model as an ONNX graph.

Letters of free sizes: T steps, B series, R origins, N = R * B forecasts, K steps to come,
C values of the past.
"""

import math

import numpy as np

from ..models import ForecastModel, Quantiles
from ..models._distributions import LEAST_MEAN
from ..models._forecast_member import ForecastMember
from . import _onnx_layers as layers
from ._onnx_graph import Graph
from ._onnx_models import Options
from ._onnx_seq2seq import bridge


def forecast_model(graph: Graph, model: ForecastModel, options: Options) -> None:
    """The arguments of `ForecastModel.__call__` to params (K, N, D, P).

    Without resets, units where the numbers are no counts, and static where nothing is static.

    Raises:
        ValueError: the decoder is autoregressive.
    """
    if model.autoregressive:
        raise ValueError(
            "[onnx.export] expected a ForecastModel with the decoder 'direct': an autoregressive "
            "one draws each step before it reads it"
        )
    targets, config = model.targets, model.config
    x = graph.input("x", ("T", "B", config["input_size"]))
    origins = graph.input("origins", ("R",), whole=True)
    future = graph.input("future", ("K", "N", config["future_size"]))
    last = graph.input("last", ("N", targets))
    history = ""
    if model.context or not model._follows:
        history = graph.input("history", ("N", targets, model.context or "C"))
    x = _with_static(graph, model, x)
    outputs = [
        _member(graph, f"member_{place}", member, x, origins, future)
        for place, member in enumerate(model.members)
    ]
    mean = graph.node("Mean", *outputs) if len(outputs) > 1 else outputs[0]
    shaped = graph.reshape(mean, 0, 0, targets, model.distribution.outputs)
    shaped = _kept(graph, model, shaped)
    location = _location(graph, model, future, last, history)
    params = _placed(graph, model, shaped, location)
    width = 3 if model.distribution.counts else model.distribution.outputs
    graph.output(params, "params", ("K", "N", targets, width))


def _with_static(graph: Graph, model: ForecastModel, x: str) -> str:
    """x with what is said of each series, (T, B, I + E)."""
    numbers, tables = model.config["numbers"], model.static._tables
    parts = [graph.input("static_numbers", ("B", numbers))] if numbers else []
    if tables:
        places = graph.input("static_categories", ("B", len(tables)), whole=True)
        for k, table in enumerate(tables):
            column = graph.squeeze(graph.slice(places, 1, k, k + 1), 1)
            parts.append(layers.embedding(graph, f"static.category_{k}", table, column))
    if not parts:
        return x
    said = graph.unsqueeze(graph.node("Concat", *parts, axis=1), 0)
    sizes = graph.node("Concat", graph.size(x, 0), graph.constant([1, 1]), axis=0)
    return graph.node("Concat", x, graph.node("Expand", said, sizes), axis=2)


def _member(
    graph: Graph, owner: str, member: ForecastMember, x: str, origins: str, future: str
) -> str:
    """Outputs (K, N, D*O) of one member."""
    hidden, _ = layers.recurrent(graph, f"{owner}.encoder", member.encoder, x)
    picked = graph.node("Gather", hidden, origins, axis=0)
    picked = graph.reshape(picked, -1, member.encoder.hidden_size)
    last = [graph.unsqueeze(picked, 0)] * len(member._states)
    initial = bridge(graph, f"{owner}.bridge", member.bridge, member._states, last)
    decoder = f"{owner}.decoder"
    states, _ = layers.recurrent(graph, decoder, member.decoder, future, initial=initial)
    return layers.linear(graph, f"{owner}.head", member.head, states)


def _kept(graph: Graph, model: ForecastModel, outputs: str) -> str:
    """`Distribution.shrink`, where a calibrated model does it."""
    if model.keep is None:
        return outputs
    keep, total = np.asarray(model.keep)[:, None], model.distribution.outputs
    if model.distribution.counts:
        first = graph.node("Mul", graph.slice(outputs, -1, 0, 1), graph.constant(keep))
        return graph.node("Concat", first, graph.slice(outputs, -1, 1, total), axis=-1)
    mean = graph.slice(outputs, -1, 0, 1)
    if isinstance(model.distribution, Quantiles):  # the median, as one of an odd number
        middle = total // 2
        ordered = graph.nodes("TopK", (outputs, graph.constant([middle + 1])), 2, axis=-1)[0]
        mean = graph.slice(ordered, -1, middle, middle + 1)
    taken = graph.node("Mul", mean, graph.constant(1.0 - keep))
    return _on_located(graph, model, "Sub", outputs, taken)


def _on_located(graph: Graph, model: ForecastModel, operator: str, outputs: str, by: str) -> str:
    """Adds to, or takes from, the outputs that are on the axis of the numbers."""
    located, total = getattr(model.distribution, "located", 1), model.distribution.outputs
    moved = graph.node(operator, graph.slice(outputs, -1, 0, located), by)
    if located == total:
        return moved
    return graph.node("Concat", moved, graph.slice(outputs, -1, located, total), axis=-1)


def _location(graph: Graph, model: ForecastModel, future: str, last: str, history: str) -> str:
    """(K, N, D) or (N, D), what outputs are relative to."""
    if not model._follows:
        mean = graph.node("ReduceMean", history, axes=[2], keepdims=0)
        return graph.node("Add", last, mean)
    if not model.linear:
        return last
    matrices = np.stack([each.parameters["weight"].T for each in model.linear]) / model.context
    rows = graph.node("Transpose", history, perm=[1, 0, 2])  # (D, N, C)
    path = graph.node("MatMul", rows, graph.constant(matrices, "linear"))
    path = graph.node("Transpose", path, perm=[2, 1, 0])
    return graph.node("Add", graph.slice(path, 0, 0, graph.size(future, 0)), last)


def _placed(graph: Graph, model: ForecastModel, outputs: str, location: str) -> str:
    """`Distribution.place`."""
    if not model.distribution.counts:
        return _on_located(graph, model, "Add", outputs, graph.unsqueeze(location, -1))
    units = graph.input("units", ("N", model.targets))
    log = graph.node("Asinh", graph.node("Div", location, graph.constant(2.0 * LEAST_MEAN)))
    log = graph.node("Add", log, graph.constant(math.log(LEAST_MEAN)))
    first = graph.node("Add", graph.slice(outputs, -1, 0, 1), graph.unsqueeze(log, -1))
    unit = graph.unsqueeze(graph.node("Log", units), -1)
    unit = graph.node("Expand", unit, graph.node("Shape", first))
    return graph.node("Concat", first, graph.slice(outputs, -1, 1, 2), unit, axis=-1)
