"""Layers and models as ONNX models; `unrolled.interop.onnx.export`."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..layers import AdaptiveSoftmaxHead, Embedding, Layer, Linear, Recurrent, Reversed
from ..models import (
    AcousticModel,
    CaptionModel,
    EfficientNet,
    ForecastModel,
    LanguageModel,
    Seq2Seq,
    SequenceModel,
    SeriesModel,
    VideoModel,
)
from . import _onnx_models as models
from . import _onnx_seq2seq as seq2seq
from ._onnx_forecast import forecast_model
from ._onnx_graph import Graph
from ._onnx_models import Options
from ._onnx_video import video_model

#: One of the two graphs of a model that writes token after token.
Part: TypeAlias = Literal["encoder", "decoder"]

_Build: TypeAlias = Callable[[Graph, Any, Options], None]

#: How each class is written, and which options it has.
_EXPORTS: Mapping[type[Layer], tuple[_Build, tuple[str, ...]]] = {
    Recurrent: (models.recurrent_layer, ("state", "lengths")),
    Reversed: (models.recurrent_layer, ("state", "lengths")),
    Linear: (models.linear_layer, ()),
    AdaptiveSoftmaxHead: (models.linear_layer, ()),
    Embedding: (models.embedding_layer, ()),
    LanguageModel: (models.language_model, ("state",)),
    SequenceModel: (models.sequence_model, ("lengths",)),
    SeriesModel: (models.series_model, ("lengths",)),
    AcousticModel: (models.acoustic_model, ("lengths",)),
    ForecastModel: (forecast_model, ()),
    VideoModel: (video_model, ()),
    EfficientNet: (models.image_network, ()),
}

#: How each part of a model that is two graphs is written.
_PARTS: Mapping[tuple[type[Layer], Part], _Build] = {
    (Seq2Seq, "encoder"): seq2seq.encoder,
    (Seq2Seq, "decoder"): seq2seq.decoder,
    (CaptionModel, "encoder"): seq2seq.caption_encoder,
    (CaptionModel, "decoder"): seq2seq.decoder,
}


def export(
    model: Layer,
    path: str | os.PathLike[str],
    *,
    part: Part | None = None,
    state: bool = False,
    lengths: bool = False,
) -> None:
    """Writes a layer or model for inference as an ONNX model.

    ::

        from unrolled.interop import onnx

        onnx.export(lstm, "lstm.onnx", state=True)      # x, h_0, c_0 -> h_n, c_n, y

    Inputs and outputs have the names and shapes of the call in Python; steps and batch are free.

    | model | inputs | outputs |
    |---|---|---|
    | RNN, LSTM, GRU, `Recurrent`, `Reversed` | x (T, B, I) | y (T, B, D*H) |
    | `Linear`, heads | x (N, I) | y (N, O), logits of a head |
    | `Embedding` | indices (T, B) | y (T, B, E) |
    | `LanguageModel` | tokens (T, B) | logits (T, B, V) |
    | `SequenceModel` | x (T, B, I) | y (B, O), or (T, B, O) |
    | `SeriesModel` | x (T, B, I) | y (B, O) |
    | `AcousticModel` | x (T, B, F) | y (N, B, V), or (B, V); with lengths also steps (B,) |
    | `ForecastModel` | as its call | params (K, N, D, P) |
    | `VideoModel` | images (N, H, W, C) or (N, F), lengths (B,) | y (T, B, V), or (B, V) |
    | `EfficientNet` | images (N, C, H, W) | features (N, F), logits (N, V) |
    | `Seq2Seq`, encoder | sources (S, B), lengths (B,) | memory (S, B, M), h_0, c_0, o_0 |
    | `CaptionModel`, encoder | images (N, H, W, C) or (N, F), lengths (B,) | the same |
    | both, decoder | tokens, memory_lengths (B,), memory, h_0, c_0, o_0 | see below |

    Of a layer with `batch_first` x and y are (B, T, .), states (L*D, B, H) as ever.

    A model that writes token after token is two graphs, and the search stands outside of them. The
    decoder's is one step of `DecoderStream`: of B hypotheses, each with its source's column of the
    memory, it reads the last token and gives log_p (B, V) of the next one, the attention's weights
    (B, S), and the states for the next step: h_n, of an LSTM c_n, (L, B, H) each, and with input
    feeding the output o_n (B, E). Greedily, at most N tokens each, up to the token 0:

    ::

        def run(session, **inputs):
            names = [each.name for each in session.get_outputs()]
            return dict(zip(names, session.run(names, inputs)))

        encoder = onnxruntime.InferenceSession("encoder.onnx")
        decoder = onnxruntime.InferenceSession("decoder.onnx")
        states = run(encoder, sources=sources, lengths=lengths)
        fixed = {"memory": states.pop("memory"), "memory_lengths": lengths}
        tokens, written = np.zeros_like(lengths), []
        for _ in range(N):
            step = run(decoder, tokens=tokens, **fixed, **states)
            states = {name: step[name.replace("_0", "_n")] for name in states}
            tokens = step["log_p"].argmax(1)
            written.append(tokens)

    Keys of the attention that are learnt (concat, additive) are computed in each step. Images are
    as the model reads them, with channels last; where a part of its network is frozen and was
    computed once (`EfficientNet.trunk`, `OnnxBackbone`), they are what that part said.

    A row of length 0 keeps its initial state here, and has zeros in ONNX Runtime, which has no
    kernels for recurrent layers in float64 either. Weights are those of full precision.

    Args:
        model: what is written, by its parameters as they are now.
        path: the file.
        part: which graph of a model that has two; see `parts`.
        state: the states before the first step are inputs h_0 (and c_0), those after the last one
            outputs h_n (and c_n), (L*D, B, H) each, for sequences in parts.
        lengths: the lengths of rows are an input (B,), int64.

    Raises:
        ValueError: the model has no form in ONNX, or does not have the part or the option; the text
            names it.
        ImportError: the extra [onnx] is not installed.
    """
    name, graphs = type(model).__name__, _graphs(model)
    if not graphs:
        kinds = dict.fromkeys((*_EXPORTS, *(kind for kind, _ in _PARTS)))
        names = ", ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"[onnx.export] there is no graph of {name}; expected one of {names}")
    if part not in graphs:
        expected = " or ".join(map(repr, graphs))
        raise ValueError(f"[onnx.export] expected part {expected} of {name}, got {part!r}")
    build, known = graphs[part]
    for option, wanted in (("state", state), ("lengths", lengths)):
        if wanted and option not in known:
            raise ValueError(f"[onnx.export] a graph of {name} has no option {option}")
    graph = Graph(name, model.dtype)
    build(graph, model, Options(state=state, lengths=lengths))
    Path(path).write_bytes(graph.data())


def parts(model: Layer) -> tuple[Part, ...]:
    """Returns the parts that a model is written in, one graph each; none of a single graph."""
    return tuple(part for part in _graphs(model) if part is not None)


def _graphs(model: Layer) -> dict[Part | None, tuple[_Build, tuple[str, ...]]]:
    """How each graph of a model is written, by its part, and which options it has."""
    whole = next((found for kind, found in _EXPORTS.items() if isinstance(model, kind)), None)
    if whole is not None:
        return {None: whole}
    return {part: (build, ()) for (kind, part), build in _PARTS.items() if isinstance(model, kind)}
