"""Models of video as ONNX graphs: frames of all clips in, one after the other.

Letters of free sizes: N frames of all clips together, T steps of the longest one, B clips.
"""

from ..models import EfficientNet, VideoModel
from ..models._conv_norm import ConvNorm
from ..models._frame_network import FrameNetwork
from ..models._video_encoder import VideoEncoder
from . import _onnx_layers as layers
from ._onnx_graph import Graph
from ._onnx_models import Options, conv_norm, image_features, mean


def video_model(graph: Graph, model: VideoModel, options: Options) -> None:
    """images (N, ...) and lengths (B,) to y (T, B, V), pooled (B, V)."""
    hidden, _, lengths = video_encoder(graph, model.encoder)
    if model.pooled:
        hidden = mean(graph, hidden, lengths)
    y = layers.linear(graph, "head", model.head, hidden)
    graph.output(y, "y", (*(() if model.pooled else ("T",)), "B", model.head.output_size))


def video_encoder(graph: Graph, encoder: VideoEncoder) -> tuple[str, tuple[str, ...], str]:
    """The inputs images (N, ...) and lengths (B,); returns h (T, B, D * U), last states, lengths.

    Images are (N, H, W, C), or features (N, F).
    """
    images = graph.input("images", ("N", *encoder.image))
    lengths = graph.input("lengths", ("B",), whole=True)
    starts = graph.node("CumSum", lengths, graph.constant(0), exclusive=1)
    seen = images
    if encoder.context > 1:
        seen = _in_context(graph, images, starts, encoder.context)
    if encoder.network is not None:
        seen = _features(graph, encoder.network, seen)
    u = graph.node("Relu", layers.linear(graph, "encoder.project", encoder.project, seen))
    hidden, last = layers.recurrent(
        graph, "encoder.rnn", encoder.rnn, _side_by_side(graph, u, starts, lengths), lengths=lengths
    )
    return hidden, last, lengths


def _in_context(graph: Graph, images: str, starts: str, context: int) -> str:
    """Each frame with those before it in its clip, as `in_context` of the models."""
    frame = graph.range(graph.size(images, 0))
    rows = graph.unsqueeze(frame, 1)
    begun = graph.node("LessOrEqual", starts, rows)  # (N, B)
    start = graph.node("Where", begun, starts, graph.constant([0]))
    step = graph.node("Sub", frame, graph.node("ReduceMax", start, axes=[1], keepdims=0))
    parts = []
    for back in range(context - 1, 0, -1):
        before = graph.node("Sub", frame, graph.node("Min", step, graph.constant([back])))
        parts.append(graph.node("Gather", images, before, axis=0))
    return graph.node("Concat", *parts, images, axis=-1)


def _features(graph: Graph, network: FrameNetwork | EfficientNet, images: str) -> str:
    """What a network says (N, F) of images (N, H, W, C)."""
    owner = "encoder.network"
    x = graph.node("Transpose", images, perm=[0, 3, 1, 2])
    if isinstance(network, EfficientNet):
        return image_features(graph, owner, network, x)
    *convolutions, row = network._parts
    for number, part in enumerate(convolutions, 1):
        assert isinstance(part, ConvNorm)
        x = conv_norm(graph, f"{owner}.conv{number}", part.conv, part.norm, x)
    if row._pool is not None:
        return graph.node("Flatten", graph.node("GlobalMaxPool", x))
    return graph.node("Flatten", graph.node("Transpose", x, perm=[0, 2, 3, 1]))


def _side_by_side(graph: Graph, rows: str, starts: str, lengths: str) -> str:
    """(N, F), clip after clip, to (T, B, F), with anything behind the end of a clip."""
    longest = graph.node("ReduceMax", lengths, axes=[0], keepdims=1)
    places = graph.node("Add", graph.unsqueeze(graph.range(longest), 1), starts)
    last = graph.node("Sub", graph.size(rows, 0), graph.constant([1]))
    return graph.node("Gather", rows, graph.node("Min", places, last), axis=0)
