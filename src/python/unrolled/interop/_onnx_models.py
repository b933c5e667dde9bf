"""Models as ONNX graphs: what each reads, computes and gives.

Each function adds the inputs, the nodes and the outputs of one model; `options` say which of the
optional ones. Letters of free sizes: T steps, B batch, N steps or rows that follow from them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional
from ..layers import (
    AdaptiveSoftmaxHead,
    BatchNorm2d,
    Conv2d,
    Embedding,
    Linear,
    Recurrent,
    Reversed,
)
from ..models import AcousticModel, EfficientNet, LanguageModel, SequenceModel, SeriesModel
from ..models._conv_front_end import ConvFrontEnd
from ..models._conv_norm import ConvNorm
from ..models._mbconv import MBConv
from ..models._series_front_end import SeriesFrontEnd
from . import _onnx_layers as layers
from ._onnx_graph import Graph

#: A slice's end that is the end of the axis, whatever its size.
_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Options:
    """Which of a model's optional inputs and outputs there are.

    Attributes:
        state: the states before the first step, and after the last one.
        lengths: of the rows.
    """

    state: bool = False
    lengths: bool = False


def lengths_input(graph: Graph, options: Options) -> str:
    """The input `lengths` (B,), "" where there is none."""
    return graph.input("lengths", ("B",), whole=True) if options.lengths else ""


def stack(
    graph: Graph,
    owner: str,
    layer: Recurrent[Any] | Reversed[Any],
    x: str,
    options: Options,
    lengths: str = "",
) -> str:
    """Recurrent layers with their states as inputs h_0, c_0 and outputs h_n, c_n, if wanted."""
    sizes = layer.layer if isinstance(layer, Reversed) else layer
    names = functional.cell_info(sizes.cell).states if options.state else ()
    shapes = [(first, "B", last) for first, _, last in sizes._shapes(1)]
    initial = [graph.input(f"{name}_0", shape) for name, shape in zip(names, shapes, strict=False)]
    y, final = layers.recurrent(graph, owner, layer, x, lengths=lengths, initial=initial)
    for name, value, shape in zip(names, final, shapes, strict=False):
        graph.output(value, f"{name}_n", shape)
    return y


def recurrent_layer(graph: Graph, model: Recurrent[Any] | Reversed[Any], options: Options) -> None:
    """x (T, B, I) to y (T, B, D*H); batch-first (B, T, .)."""
    sizes = model.layer if isinstance(model, Reversed) else model
    first = ("B", "T") if sizes.batch_first else ("T", "B")
    x = graph.input("x", (*first, sizes.input_size))
    if sizes.batch_first:
        x = graph.node("Transpose", x, perm=[1, 0, 2])
    y = stack(graph, "", model, x, options, lengths_input(graph, options))
    if sizes.batch_first:
        y = graph.node("Transpose", y, perm=[1, 0, 2])
    graph.output(y, "y", (*first, sizes.output_size))


def linear_layer(graph: Graph, model: Linear | AdaptiveSoftmaxHead, options: Options) -> None:
    """x (N, I) to y (N, O); of an adaptive softmax log p."""
    x = graph.input("x", ("N", model.input_size))
    graph.output(layers.head(graph, "", model, x), "y", ("N", model.output_size))


def embedding_layer(graph: Graph, model: Embedding, options: Options) -> None:
    """indices (T, B) to y (T, B, E)."""
    indices = graph.input("indices", ("T", "B"), whole=True)
    y = layers.embedding(graph, "", model, indices)
    graph.output(y, "y", ("T", "B", model.embedding_size))


def language_model(graph: Graph, model: LanguageModel, options: Options) -> None:
    """tokens (T, B) to logits (T, B, V) of the tokens that follow."""
    tokens = graph.input("tokens", ("T", "B"), whole=True)
    owner = "head" if model.config["tied"] else "embedding"
    embedded = layers.embedding(graph, owner, model.embedding, tokens)
    hidden = stack(graph, "rnn", model.rnn, embedded, options)
    logits = layers.head(graph, "head", model.head, hidden)
    graph.output(logits, "logits", ("T", "B", model.config["vocab_size"]))


def sequence_model(graph: Graph, model: SequenceModel, options: Options) -> None:
    """x (T, B, I) to y (B, O), or, of every step, (T, B, O)."""
    x = graph.input("x", ("T", "B", model.rnn.input_size))
    lengths = lengths_input(graph, options)
    hidden, (h, *_) = layers.recurrent(graph, "rnn", model.rnn, x, lengths=lengths)
    if not model.every_step:
        hidden = graph.squeeze(graph.slice(h, 0, -1, _END), 0)
    shape = ("T", "B") if model.every_step else ("B",)
    y = layers.linear(graph, "head", model.head, hidden)
    graph.output(y, "y", (*shape, model.head.output_size))


def series_model(graph: Graph, model: SeriesModel, options: Options) -> None:
    """x (T, B, I) to logits y (B, O) of each series as a whole."""
    x = graph.input("x", ("T", "B", model.input_size))
    lengths = lengths_input(graph, options)
    if model.front_end is not None:
        x, lengths = _series_front_end(graph, model.front_end, x, lengths)
    hidden, _ = layers.recurrent(graph, "rnn", model.rnn, x, lengths=lengths)
    average = mean(graph, hidden, lengths)
    if lengths:
        hidden = layers.inside(graph, hidden, lengths, -np.inf)
    maximum = graph.node("ReduceMax", hidden, axes=[0], keepdims=0)
    pooled = graph.node("Concat", average, maximum, axis=1)
    y = layers.linear(graph, "head", model.head, pooled)
    graph.output(y, "y", ("B", model.head.output_size))


def _series_front_end(
    graph: Graph, front_end: SeriesFrontEnd, x: str, lengths: str
) -> tuple[str, str]:
    """x (T, B, I) to y (N, B, K), and the lengths of its rows, if there are any."""
    x = layers.inside(graph, x, lengths, 0.0) if lengths else x
    parts = zip(front_end.parts, front_end.strides, strict=True)
    for number, ((conv, norm), stride) in enumerate(parts, 1):
        images = graph.unsqueeze(graph.node("Transpose", x, perm=[1, 2, 0]), 3)  # (B, I, T, 1)
        images = conv_norm(graph, f"front_end.{number}", conv, norm, images)
        x = graph.node("Transpose", graph.squeeze(images, 3), perm=[2, 0, 1])
        if lengths:
            more = graph.node("Add", lengths, graph.constant([stride - 1]))
            lengths = graph.node("Div", more, graph.constant([stride]))
            x = layers.inside(graph, x, lengths, 0.0)
    return x, lengths


def acoustic_model(graph: Graph, model: AcousticModel, options: Options) -> None:
    """x (T, B, F), one frame or more, to logits y (N, B, V), pooled (B, V).

    With `lengths` in frames also steps (B,), how many of the N are a row's.
    """
    x = graph.input("x", ("T", "B", model.features))
    frames = lengths_input(graph, options)
    if frames:
        x = layers.inside(graph, x, frames, 0.0)
    lack = graph.node("Sub", graph.constant([model.stack]), graph.size(x, 0))
    lack = graph.node("Max", lack, graph.constant([0]))
    after = graph.node("Concat", graph.constant([0] * 3), lack, graph.constant([0] * 2), axis=0)
    x = graph.node("Pad", x, after)
    if model.front_end is None:
        ends = [i - model.stack + 1 or _END for i in range(model.stack)]
        parts = [graph.slice(x, 0, i, end, model.stride) for i, end in enumerate(ends)]
        seen = graph.node("Concat", *parts, axis=2)
    else:
        seen = _front_end(graph, model.front_end, x)
    steps = _steps(graph, model, frames) if frames else ""
    hidden, _ = layers.recurrent(graph, "rnn", model.rnn, seen, lengths=steps)
    if model.pooled:
        hidden = mean(graph, hidden, steps)
    y = layers.linear(graph, "head", model.head, hidden)
    graph.output(y, "y", (*(() if model.pooled else ("N",)), "B", model.head.output_size))
    if steps:
        graph.output(steps, "steps", ("B",), whole=True)


def _steps(graph: Graph, model: AcousticModel, frames: str) -> str:
    """`AcousticModel.steps`: max(frames - k, 0) // q + 1, none of no frames."""
    zero, one = graph.constant([0]), graph.constant([1])
    more = graph.node("Max", graph.node("Sub", frames, graph.constant([model.stack])), zero)
    steps = graph.node("Add", graph.node("Div", more, graph.constant([model.stride])), one)
    return graph.node("Where", graph.node("Greater", frames, zero), steps, zero)


def _front_end(graph: Graph, front_end: ConvFrontEnd, x: str) -> str:
    """Convolutions: x (T, B, F) to (N, B, F' * C)."""
    images = graph.unsqueeze(graph.node("Transpose", x, perm=[1, 0, 2]), 1)  # (B, 1, T, F)
    for number, conv in enumerate(front_end._layers, 1):
        images = layers.conv(graph, f"front_end.conv{number}", conv, images)
    steps = graph.node("Transpose", images, perm=[2, 0, 3, 1])
    return graph.reshape(steps, 0, 0, front_end.output_size)


def mean(graph: Graph, hidden: str, lengths: str) -> str:
    """The mean (B, H) over the steps of each row, zero after its end; zero of no steps."""
    if not lengths:
        return graph.node("ReduceMean", hidden, axes=[0], keepdims=0)
    total = graph.node("ReduceSum", hidden, graph.constant([0]), keepdims=0)
    count = graph.to_float(graph.node("Max", lengths, graph.constant([1])))
    return graph.node("Div", total, graph.unsqueeze(count, 1))


def image_network(graph: Graph, model: EfficientNet, options: Options) -> None:
    """images (N, C, H, W) to features (N, F) and, where there is a classifier, logits (N, V).

    Norms are within their convolutions; channels come first, as ONNX has them.
    """
    x = graph.input("images", ("N", model.channels, "H", "W"))
    features = image_features(graph, "", model, x)
    graph.output(features, "features", ("N", model.output_size))
    if model.classifier is not None:
        logits = layers.linear(graph, "classifier", model.classifier, features)
        graph.output(logits, "logits", ("N", model.classifier.output_size))


def image_features(graph: Graph, owner: str, model: EfficientNet, x: str) -> str:
    """features (N, F) of images (N, C, H, W)."""
    for number, part in enumerate(model._parts[:-1]):
        name = f"{owner}.part{number}".lstrip(".")
        if isinstance(part, MBConv):
            y = x
            for place, each in enumerate(part._layers):
                assert isinstance(each, ConvNorm)
                y = conv_norm(graph, f"{name}.{place}", each.conv, each.norm, y)
            x = graph.node("Add", y, x) if part.residual else y
        else:
            assert isinstance(part, ConvNorm)
            x = conv_norm(graph, name, part.conv, part.norm, x)
    return graph.node("Flatten", graph.node("GlobalAveragePool", x))


def conv_norm(graph: Graph, owner: str, conv: Conv2d, norm: BatchNorm2d, x: str) -> str:
    """A convolution with the norm that follows, which is within it, channels first."""
    scale, shift = norm.scale_and_shift()
    weight = conv.parameters["weight"] * scale[:, None, None, None]
    inputs = [x, graph.constant(weight, f"{owner}.weight"), graph.constant(shift, f"{owner}.bias")]
    return layers.convolution(graph, inputs, conv.windows, conv.groups, norm.activation)
