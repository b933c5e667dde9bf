"""Models that write token after token, as two ONNX graphs: the encoder, one step of the decoder.

Whatever searches for the best targets runs outside of both. Letters of free sizes: S places of a
source, B batch.
"""

from collections.abc import Sequence

import numpy as np

from .. import functional
from ..models import CaptionModel, Seq2Seq
from ..models._bridge import Bridge
from ..models._decoder import Decoder
from . import _onnx_layers as layers
from ._onnx_graph import Graph, Shape
from ._onnx_models import Options
from ._onnx_video import video_encoder


def encoder(graph: Graph, model: Seq2Seq, options: Options) -> None:
    """sources (S, B) and lengths (B,) to what the decoder begins with."""
    sources = graph.input("sources", ("S", "B"), whole=True)
    lengths = graph.input("lengths", ("B",), whole=True)
    embedded = layers.embedding(graph, "embedding", model.embedding, sources)
    memory, last = layers.recurrent(graph, "encoder", model.encoder, embedded, lengths=lengths)
    _first(graph, model, memory, last, lengths)


def caption_encoder(graph: Graph, model: CaptionModel, options: Options) -> None:
    """images (N, ...), clip after clip, and lengths (B,) to what the decoder begins with."""
    memory, last, lengths = video_encoder(graph, model.encoder)
    _first(graph, model, memory, last, lengths)


def _first(
    graph: Graph, model: Seq2Seq | CaptionModel, memory: str, last: Sequence[str], lengths: str
) -> None:
    """Outputs memory (S, B, M), h_0 and c_0 (L, B, H) and, where it is fed, o_0 (B, E)."""
    own = model.decoder
    graph.output(memory, "memory", ("S", "B", own.attention.memory_size))
    names = functional.cell_info(own.rnn.cell).states
    states = bridge(graph, "bridge", model.bridge, names, last)
    for name, state in zip(names, states, strict=True):
        graph.output(state, f"{name}_0", _state_shape(own))
    if own.input_feeding:
        size = own.output.output_size
        rows = graph.node("Concat", graph.size(lengths, 0), graph.constant([1]), axis=0)
        zeros = graph.node("Expand", graph.constant(np.zeros((1, size))), rows)
        graph.output(zeros, "o_0", ("B", size))


def bridge(
    graph: Graph, owner: str, layer: Bridge, names: Sequence[str], states: Sequence[str]
) -> list[str]:
    """The decoder's first states (L, B, H) of the encoder's last ones (L*D, B, E), by name."""
    first: list[str] = []
    for name, maps, state in zip(names, layer._maps, states, strict=True):
        rows = graph.node("Transpose", state, perm=[1, 0, 2])
        joined = graph.reshape(rows, 0, len(maps), maps[0].input_size)  # (B, L, D*E)
        parts = [
            layers.linear(graph, f"{owner}.{name}_l{k}", each, graph.slice(joined, 1, k, k + 1))
            for k, each in enumerate(maps)
        ]
        y = graph.node("Transpose", graph.node("Concat", *parts, axis=1), perm=[1, 0, 2])
        first.append(y if first else graph.node("Tanh", y))
    return first


def decoder(graph: Graph, model: Seq2Seq | CaptionModel, options: Options) -> None:
    """One step: tokens (B,), memory and states to log_p (B, V), weights (B, S) and new states."""
    own = model.decoder
    tokens = graph.input("tokens", ("B",), whole=True)
    memory = graph.input("memory", ("S", "B", own.attention.memory_size))
    lengths = graph.input("memory_lengths", ("B",), whole=True)
    shape, size = _state_shape(own), own.output.output_size
    names = functional.cell_info(own.rnn.cell).states
    initial = [graph.input(f"{name}_0", shape) for name in names]
    table = "decoder.embedding" if own.embedding.parameters else "decoder.head"
    x = layers.embedding(graph, table, own.embedding, tokens)
    if own._scale != 1.0:
        x = graph.node("Mul", x, graph.constant(own._scale))
    if own.input_feeding:
        x = graph.node("Concat", x, graph.input("o_0", ("B", size)), axis=1)
    step = graph.unsqueeze(x, 0)
    y, final = layers.recurrent(graph, "decoder.rnn", own.rnn, step, initial=initial)
    hidden = graph.squeeze(y, 0)
    context, weights = layers.attention(
        graph, "decoder.attention", own.attention, hidden, memory, lengths
    )
    joined = graph.node("Concat", context, hidden, axis=1)
    output = graph.node("Tanh", layers.linear(graph, "decoder.output", own.output, joined))
    logits = layers.head(graph, "decoder.head", own.head, output)
    log_p = graph.node("LogSoftmax", logits, axis=1)
    graph.output(log_p, "log_p", ("B", own.head.output_size))
    graph.output(weights, "weights", ("B", "S"))
    for name, state in zip(names, final, strict=True):
        graph.output(state, f"{name}_n", shape)
    if own.input_feeding:
        graph.output(output, "o_n", ("B", size))


def _state_shape(decoder: Decoder) -> Shape:
    return (decoder.rnn.num_layers, "B", decoder.rnn.hidden_size)
