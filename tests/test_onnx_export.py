"""What is exported computes the same in ONNX Runtime, for any steps and batch from one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_exported import Exported
from tolerances import assert_close
from unrolled.interop.onnx import recurrent_nodes
from unrolled.layers import (
    GRU,
    LSTM,
    RNN,
    AdaptiveSoftmaxHead,
    Embedding,
    Linear,
    Recurrent,
    Reversed,
    SoftmaxHead,
    as_state,
    state_arrays,
)
from unrolled.models import (
    AcousticModel,
    ForecastModel,
    LanguageModel,
    SequenceModel,
    SeriesModel,
)

pytest.importorskip("onnx", reason="onnx comes with the extra [onnx]")
pytest.importorskip("onnxruntime", reason="onnxruntime comes with the extra [onnx]")

I, H = 5, 7  # noqa: E741
SHAPES = [(1, 1), (6, 3), (11, 2)]  # T, B
LAYERS: dict[str, Any] = {
    "lstm": LSTM,
    "gru": GRU,
    "gru_reset_before": lambda *sizes, **options: GRU(*sizes, reset_after=False, **options),
    "rnn": RNN,
    "relu": lambda *sizes, **options: RNN(*sizes, nonlinearity="relu", **options),
    "lstm_peephole": lambda *sizes, **options: Recurrent("lstm_peephole", *sizes, **options),
    "lstm_coupled": lambda *sizes, **options: Recurrent("lstm_coupled", *sizes, **options),
}


def draw(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def some_lengths(steps: int, batch: int) -> np.ndarray:
    return np.maximum(steps - 2 * np.arange(batch), 1)


@pytest.mark.parametrize("batch_first", [False, True], ids=["steps-first", "batch-first"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", LAYERS)
def test_recurrent_layers(
    kind: str,
    layers: int,
    bidirectional: bool,
    bias: bool,
    batch_first: bool,
    rng: np.random.Generator,
    tmp_path: Path,
) -> None:
    layer = LAYERS[kind](
        I, H, layers, bias=bias, bidirectional=bidirectional, batch_first=batch_first, rng=rng
    )
    exported = Exported(layer, tmp_path, state=True, lengths=True)
    for steps, batch in SHAPES:
        x = draw(rng, steps, batch, I)
        x = x.swapaxes(0, 1).copy() if batch_first else x
        shape = (layers * layer.num_directions, batch, H)
        first = [draw(rng, *shape) for _ in range(2 if "lstm" in kind else 1)]
        lengths = some_lengths(steps, batch)
        y, state = layer(x, as_state(tuple(first)), lengths=lengths)
        named = dict(zip(("h_0", "c_0"), first, strict=False))
        got = exported(x=x, lengths=lengths, **named)
        K = layers * steps * (I + 2 * H + 4)
        assert_close(y, got["y"], K=K, kind="peer")
        for name, array in zip(("h_n", "c_n"), state_arrays(state), strict=False):
            assert_close(array, got[name], K=K, kind="peer", what=name)


STACKS: dict[str, dict[str, Any]] = {
    "sum": {"hidden_size": H, "num_layers": 2, "bidirectional": True, "merge": "sum"},
    "residual": {"hidden_size": H, "num_layers": 3, "bidirectional": True, "residual": True},
    "widths": {"hidden_size": (H, 4), "bidirectional": True},
    "learned": {"hidden_size": (H, 4), "bidirectional": True, "learn_initial_state": True},
    "learned-one": {"hidden_size": H, "learn_initial_state": True},
}


@pytest.mark.parametrize("state", [False, True], ids=["", "state"])
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
@pytest.mark.parametrize("stack", STACKS)
def test_options_of_stacks(
    stack: str, kind: Any, state: bool, rng: np.random.Generator, tmp_path: Path
) -> None:
    layer = kind(I, **STACKS[stack], rng=rng)
    for name, array in layer.parameters.items():
        if name.startswith("initial_"):
            array[...] = draw(rng, *array.shape)
    exported = Exported(layer, tmp_path, state=state, lengths=True)
    for steps, batch in SHAPES:
        x, lengths = draw(rng, steps, batch, I), some_lengths(steps, batch)
        first = tuple(draw(rng, *shape) for shape in layer._shapes(batch)) if state else ()
        y, final = layer(x, as_state(first) if state else None, lengths)
        got = exported(x=x, lengths=lengths, **dict(zip(("h_0", "c_0"), first, strict=False)))
        K = layer.num_layers * steps * (I + 3 * H + 4)
        assert_close(y, got["y"], K=K, kind="peer")
        named = zip(("h_n", "c_n"), state_arrays(final), strict=False)
        for name, array in named if state else ():
            assert_close(array, got[name], K=K, kind="peer", what=name)


def test_learned_states_of_a_layer_that_reads_backwards(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    layer = GRU(I, H, 2, learn_initial_state=True, rng=rng)
    layer.parameters["initial_h_l1"][...] = draw(rng, H)
    x = draw(rng, 6, 3, I)
    backwards = Reversed(layer)
    got = Exported(backwards, tmp_path)(x=x)["y"]
    assert_close(backwards(x)[0], got, K=2 * 6 * (I + 2 * H + 4), kind="peer")


def test_without_options(rng: np.random.Generator, tmp_path: Path) -> None:
    layer = LSTM(I, H, rng=rng)
    exported = Exported(layer, tmp_path)
    x = draw(rng, 6, 3, I)
    assert exported.outputs == ["y"]
    assert_close(layer(x)[0], exported(x=x)["y"], K=6 * (I + H + 4), kind="peer")


@pytest.mark.parametrize("batch_first", [False, True])
def test_reverse_alone(batch_first: bool, rng: np.random.Generator, tmp_path: Path) -> None:
    layer = Reversed(LSTM(I, H, 2, batch_first=batch_first, rng=rng))
    exported = Exported(layer, tmp_path, lengths=True, state=True)
    x, lengths = draw(rng, 6, 3, I), np.array([6, 2, 4])
    x = x.swapaxes(0, 1).copy() if batch_first else x
    h, c = draw(rng, 2, 3, H), draw(rng, 2, 3, H)
    y, (h_n, c_n) = layer(x, (h, c), lengths)
    got = exported(x=x, lengths=lengths, h_0=h, c_0=c)
    for name, array in (("y", y), ("h_n", h_n), ("c_n", c_n)):
        assert_close(array, got[name], K=2 * 6 * (I + H + 4), kind="peer", what=name)


def test_parts_of_a_stream(rng: np.random.Generator, tmp_path: Path) -> None:
    """The states that come out go in with the next part."""
    layer = GRU(I, H, 2, rng=rng)
    exported = Exported(layer, tmp_path, state=True)
    x, h = draw(rng, 9, 2, I), np.zeros((2, 2, H), np.float32)
    parts = []
    for part in np.split(x, [4, 5]):
        got = exported(x=part, h_0=h)
        parts.append(got["y"])
        h = got["h_n"]
    y, state = layer(x)
    assert_close(np.concatenate(parts), y, K=2 * 9 * (I + H + 3), kind="peer")
    assert_close(h, state, K=2 * 9 * (I + H + 3), kind="peer")


@pytest.mark.parametrize("kind", LAYERS)
def test_there_and_back(kind: str, rng: np.random.Generator, tmp_path: Path) -> None:
    layer = LAYERS[kind](I, H, bidirectional=True, rng=rng)
    (node,) = recurrent_nodes(Exported(layer, tmp_path).path)
    for name, array in node.layer.parameters.items():
        np.testing.assert_array_equal(array, layer.parameters[name])


def test_float64_runs_here(rng: np.random.Generator, tmp_path: Path) -> None:
    """ONNX Runtime has no kernel for it; the backend has."""
    backend = pytest.importorskip("unrolled.interop.onnx_backend", reason="needs onnx")
    layer = LSTM(I, H, 2, dtype=np.float64, rng=rng)
    exported = Exported(layer, tmp_path)
    x = rng.standard_normal((6, 3, I))
    (y,) = backend.prepare(exported.proto).run([x])
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, layer(x)[0])


def test_whole_models_run_here(rng: np.random.Generator, tmp_path: Path) -> None:
    backend = pytest.importorskip("unrolled.interop.onnx_backend", reason="needs onnx")
    model = AcousticModel(8, 4, hidden_size=H, conv=3, bidirectional=True, rng=rng)
    exported = Exported(model, tmp_path, lengths=True)
    x, lengths = draw(rng, 30, 2, 8), np.array([30, 17])
    y, steps = backend.prepare(exported.proto).run({"x": x, "lengths": lengths})
    assert_close(y, model(x, lengths), K=30 * (40 + 2 * H + 3) + 3 * 25 + 2 * H, kind="peer")
    np.testing.assert_array_equal(steps, model.steps(lengths))


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: Linear(I, 4, rng=rng),
        lambda rng: Linear(I, 4, bias=False, rng=rng),
        lambda rng: SoftmaxHead(I, 4, rng=rng),
        lambda rng: AdaptiveSoftmaxHead(I, 9, [3, 5], rng=rng),
    ],
    ids=["linear", "no-bias", "softmax", "adaptive"],
)
def test_heads(make: Any, rng: np.random.Generator, tmp_path: Path) -> None:
    layer = make(rng)
    exported = Exported(layer, tmp_path)
    for rows in (1, 6):
        x = draw(rng, rows, I)
        y = layer(x) if type(layer) is Linear else layer.logits(x)
        assert_close(y, exported(x=x)["y"], K=I + 20, kind="peer")


def test_embedding(rng: np.random.Generator, tmp_path: Path) -> None:
    layer = Embedding(9, I, rng=rng)
    exported = Exported(layer, tmp_path)
    for shape in SHAPES:
        indices = rng.integers(0, 9, shape)
        np.testing.assert_array_equal(exported(indices=indices)["y"], layer(indices))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cell": "gru", "num_layers": 2},
        {"tied": True, "embedding_size": H, "cell": "rnn_tanh"},
        {"adaptive": [4, 8], "dropout": 0.5},
    ],
    ids=str,
)
def test_language_model(options: dict[str, Any], rng: np.random.Generator, tmp_path: Path) -> None:
    model = LanguageModel(20, **{"embedding_size": I, "hidden_size": H, **options}, rng=rng)
    exported = Exported(model, tmp_path, state=True)
    for steps, batch in SHAPES:
        tokens = rng.integers(0, 20, (steps, batch))
        _, state = model.rnn(draw(rng, 1, batch, model.rnn.input_size))
        hidden, last = model.rnn(model.embedding(tokens), state)
        named = {f"{n}_0": each for n, each in zip("hc", state_arrays(state), strict=False)}
        got = exported(tokens=tokens, **named)
        K = 2 * steps * (I + 2 * H + 4) + H + 20
        assert_close(model.head.logits(hidden), got["logits"], K=K, kind="peer")
        assert_close(state_arrays(last)[0], got["h_n"], K=K, kind="peer")
    sizes = [int(np.prod(t.dims)) for t in exported.proto.graph.initializer if t.data_type == 1]
    assert sum(sizes) == model.num_parameters  # a tied matrix is stored once


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_sequence_model(
    cell: str, every_step: bool, rng: np.random.Generator, tmp_path: Path
) -> None:
    model = SequenceModel(
        I, 4, hidden_size=H, num_layers=2, cell=cell, every_step=every_step, rng=rng
    )
    exported = Exported(model, tmp_path, lengths=True)
    for steps, batch in SHAPES:
        x, lengths = draw(rng, steps, batch, I), some_lengths(steps, batch)
        got = exported(x=x, lengths=lengths)["y"]
        assert_close(model(x, lengths), got, K=2 * steps * (I + H + 4) + H, kind="peer")


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("options", [{}, {"conv": 3, "strides": (2, 1)}], ids=str)
def test_series_model(
    options: dict[str, Any], ragged: bool, rng: np.random.Generator, tmp_path: Path
) -> None:
    model = SeriesModel(I, 4, hidden_size=H, num_layers=2, **options, rng=rng)
    for name, values in model.parameters.items():
        if "norm" in name:  # as if something had been learned
            values[...] = rng.uniform(0.5, 1.5, values.shape)
    exported = Exported(model, tmp_path, lengths=ragged)
    for steps, batch in SHAPES:
        x, lengths = draw(rng, steps, batch, I), some_lengths(steps, batch)
        feed = {"lengths": lengths} if ragged else {}
        y = model(x, lengths if ragged else None)
        K = 2 * steps * (I + 2 * H + 3) + 4 * H + steps + len(options) * 25
        assert_close(y, exported(x=x, **feed)["y"], K=K, kind="peer")


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"stack": 4, "stride": 1, "bidirectional": True}, {"stack": 1, "stride": 1}, {"conv": 3}],
    ids=str,
)
def test_acoustic_model(
    options: dict[str, Any],
    pooled: bool,
    ragged: bool,
    rng: np.random.Generator,
    tmp_path: Path,
) -> None:
    """Also of fewer frames than a step sees, and of a row without any."""
    model = AcousticModel(8, 4, hidden_size=H, pooled=pooled, **options, rng=rng)
    exported = Exported(model, tmp_path, lengths=ragged)
    for frames, batch in [*SHAPES, (30, 4)]:
        x = draw(rng, frames, batch, 8)
        lengths = None
        feed = {}
        if ragged:
            feed["lengths"] = lengths = some_lengths(frames, batch)
            lengths[0] = 0 if batch > 3 else lengths[0]
        got = exported(x=x, **feed)
        K = frames * (40 + 2 * H + 3) + 3 * 25 + 2 * H + frames
        assert_close(model(x, lengths), got["y"], K=K, kind="peer")
        if lengths is not None:
            np.testing.assert_array_equal(got["steps"], model.steps(lengths))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cell": "lstm", "context": 4, "members": 2, "distribution": "gaussian"},
        {"distribution": "quantile", "numbers": 2, "keep": True},
        {"distribution": "point", "categories": [3, 4], "keep": True},
        {"distribution": "negative-binomial", "numbers": 1, "categories": [3], "keep": True},
        {"distribution": "negative-binomial", "context": 4},
    ],
    ids=str,
)
def test_forecast_model(options: dict[str, Any], rng: np.random.Generator, tmp_path: Path) -> None:
    options = dict(options)
    keep = options.pop("keep", False)
    model = ForecastModel(I, 3, 2, 5, hidden_size=H, **options, rng=rng)
    if keep:
        model.keep = np.array([0.25, 0.75], np.float32)
    exported = Exported(model, tmp_path)
    for steps, batch in SHAPES:
        origins = np.array([0, steps - 1])
        count, horizon = 2 * batch, min(steps, 5)
        given: dict[str, Any] = {
            "x": draw(rng, steps, batch, I),
            "origins": origins,
            "future": draw(rng, horizon, count, 3),
            "last": draw(rng, count, 2),
            "history": draw(rng, count, 2, 4),
        }
        numbers = draw(rng, batch, options.get("numbers", 0))
        tables = options.get("categories", [])
        places = rng.integers(0, 3, (batch, len(tables)))
        units = rng.uniform(0.5, 2.0, (count, 2)).astype(np.float32)
        params = model(**given, static=(numbers, places), units=units)
        feed = given | {"units": units, "static_numbers": numbers, "static_categories": places}
        got = exported(**{name: feed[name] for name in exported.inputs})["params"]
        assert_close(params, got, K=(steps + horizon) * (I + 20 + H + 4) + 40, kind="peer")
