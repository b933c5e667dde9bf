"""Layers and models as ONNX models; `unrolled.interop.onnx.export`."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
from ._onnx_forecast import forecast_model
from ._onnx_graph import Graph
from ._onnx_models import Options

#: How each class is written, and which options it has.
_EXPORTS: Mapping[type[Layer], tuple[Callable[[Graph, Any, Options], None], tuple[str, ...]]] = {
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
    EfficientNet: (models.image_network, ()),
}

#: Why a model has no graph.
_REASONS: Mapping[type[Layer], str] = {
    Seq2Seq: "its decoder reads its own words back through the attention, in a search",
    CaptionModel: "its decoder reads its own words back, in a search",
    VideoModel: "it reads clips of pictures; export its network and its layers one by one",
}


def export(
    model: Layer, path: str | os.PathLike[str], *, state: bool = False, lengths: bool = False
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
    | `EfficientNet` | images (N, C, H, W) | features (N, F), logits (N, V) |

    Of a layer with `batch_first` x and y are (B, T, .), states (L*D, B, H) as ever.

    A row of length 0 keeps its initial state here, and has zeros in ONNX Runtime, which has no
    kernels for recurrent layers in float64 either. Weights are those of full precision.

    Args:
        model: what is written, by its parameters as they are now.
        path: the file.
        state: the states before the first step are inputs h_0 (and c_0), those after the last one
            outputs h_n (and c_n), (L*D, B, H) each, for sequences in parts.
        lengths: the lengths of rows are an input (B,), int64.

    Raises:
        ValueError: the model has no form in ONNX, or does not have the option; the text names it.
        ImportError: the extra [onnx] is not installed.
    """
    name = type(model).__name__
    kind = next((kind for kind in _EXPORTS if isinstance(model, kind)), None)
    if kind is None:
        reasons = (why for kind, why in _REASONS.items() if isinstance(model, kind))
        names = ", ".join(kind.__name__ for kind in _EXPORTS)
        raise ValueError(
            f"[onnx.export] {name} is not exported: {next(reasons, 'there is no graph for it')}; "
            f"expected one of {names}"
        )
    build, known = _EXPORTS[kind]
    for option, wanted in (("state", state), ("lengths", lengths)):
        if wanted and option not in known:
            raise ValueError(f"[onnx.export] a graph of {name} has no {option}")
    graph = Graph(name, model.dtype)
    build(graph, model, Options(state=state, lengths=lengths))
    Path(path).write_bytes(graph.data())
