"""The two graphs of a model that writes: what its encoder says, and a step of its stream."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_exported import Exported
from tolerances import assert_close
from unrolled import functional
from unrolled.interop.onnx import export, parts
from unrolled.layers import state_arrays
from unrolled.models import (
    BeamOptions,
    CaptionModel,
    DecoderStream,
    Seq2Seq,
    VideoEncoderConfig,
    VideoModel,
    beam_search,
)
from unrolled.training import Adam

pytest.importorskip("onnx", reason="onnx comes with the extra [onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime comes with the extra [onnx]")

U, V, E, H, S = 7, 9, 4, 6, 5
#: Of the sources: alone, ragged with one that is empty, all shorter than S, none but empty ones.
LENGTHS = ([5], [5, 0, 3], [2, 4, 1], [0, 0])
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dot-one-way": {"score": "dot", "bidirectional": False, "tied": False},
    "additive-gru": {"score": "additive", "cell": "gru", "num_layers": 2},
    "concat-rnn": {"score": "concat", "cell": "rnn_tanh", "tied": False},
    "fed": {"input_feeding": True, "num_layers": 3},
    "fed-concat-gru": {"input_feeding": True, "score": "concat", "cell": "gru", "tied": False},
    "peephole": {"score": "additive", "cell": "lstm_peephole", "num_layers": 2},
}
VIDEO: dict[str, dict[str, Any]] = {
    "features": {"image": (4,), "network": "none"},
    "features-in-context": {"image": (4,), "network": "none", "context": 3, "num_layers": 1},
    "small": {"image": (9, 7, 2), "channels": (4, 5), "cell": "lstm", "bidirectional": False},
    "small-pooled": {"image": (9, 7, 2), "channels": (4, 5), "context": 2, "pooled": True},
    "efficientnet": {"image": (2, 3, 320), "network": "efficientnet-lite0@16"},
}


def make(rng: np.random.Generator, **options: Any) -> Seq2Seq:
    return with_biases(Seq2Seq(U, V, **{"embedding_size": E, "hidden_size": H, **options}, rng=rng))


def with_biases(model: Any) -> Any:
    """The model as if something had been learned: biases, and norms that do something."""
    rng = np.random.default_rng(1)
    for array in model.parameters.values():
        if array.ndim == 1:
            array[:] = rng.uniform(0.5, 1.0, array.shape)
    return model


def steps_of(model: Any) -> int:
    """Roundings from one step's inputs to its outputs.

    A score sums H products of numbers up to 1, so a rounding of it is up to H times as large.
    """
    decoder = model.decoder
    rnn, places = decoder.rnn, decoder.attention.memory_size
    each = rnn.num_layers * (2 * E + 2 * rnn.hidden_size + 4)
    return int(each + (places + rnn.hidden_size) ** 2 + S + 2 * places + E + V)


def check_steps(
    stream: DecoderStream,
    decoder: Any,
    memory: np.ndarray,
    states: dict[str, np.ndarray],
    lengths: np.ndarray,
    K: int,
    each: int,
) -> None:
    """Goes through a text side by side; K and `each` are roundings before it and in a step."""
    rng = np.random.default_rng(2)
    for t in range(1, 5):
        tokens = rng.integers(0, V, lengths.size)
        logits, weights = stream.step(tokens)
        got = decoder(tokens=tokens, memory=memory, memory_lengths=lengths, **states)
        expected = {"log_p": functional.log_softmax(logits), "weights": weights}
        expected |= zip(("h_n", "c_n"), state_arrays(stream._rnn.state), strict=False)
        if "o_n" in got:
            expected["o_n"] = stream._previous
        assert got.keys() == expected.keys()
        for name, array in expected.items():
            assert_close(array, got[name], K=K + t * each, kind="peer", what=name)
        for b, length in enumerate(lengths):
            assert not got["weights"][b, length:].any()
            assert_close(got["weights"][b].sum(), float(length > 0), K=2 * S, kind="peer")
        states = {name: got[name.replace("_0", "_n")] for name in states}


@pytest.mark.parametrize("kind", KINDS)
def test_the_two_graphs(kind: str, rng: np.random.Generator, tmp_path: Path) -> None:
    model = make(rng, **KINDS[kind])
    encoder = Exported(model, tmp_path, part="encoder")
    decoder = Exported(model, tmp_path, part="decoder")
    assert encoder.inputs == ["sources", "lengths"]
    each = steps_of(model)
    for ends in LENGTHS:
        lengths = np.array(ends)
        sources = rng.integers(0, U, (S, lengths.size))
        memory, state = model.encode(sources, lengths)
        states = encoder(sources=sources, lengths=lengths)
        K = model.encoder.num_layers * S * (2 * E + 2 * H + 4) + H
        got = states.pop("memory")
        assert_close(memory, got, K=K, kind="peer", what="memory")
        for name, array in zip(("h_0", "c_0"), state_arrays(state), strict=False):
            assert_close(array, states[name], K=K, kind="peer", what=name)
        stream = model.packed().start(memory, lengths, state)
        check_steps(stream, decoder, got, states, lengths, K, each)
    held = [init for file in (encoder, decoder) for init in file.proto.graph.initializer]
    sizes = [np.prod(init.dims) for init in held if not init.name.startswith("constant_")]
    assert sum(sizes) == model.num_parameters  # a tied matrix is stored once


@pytest.mark.parametrize("kind", KINDS)
def test_float64_runs_here(kind: str, rng: np.random.Generator, tmp_path: Path) -> None:
    """ONNX Runtime has no recurrent kernels for it; the backend has."""
    backend = pytest.importorskip("unrolled.interop.onnx_backend", reason="needs onnx")
    model = make(rng, dtype="float64", **KINDS[kind])

    def runner(part: str) -> Any:
        exported = Exported(model, tmp_path, part=part)
        prepared = backend.prepare(exported.proto)
        return lambda **feed: dict(zip(exported.outputs, prepared.run(feed), strict=True))

    lengths = np.array([5, 0, 3])
    sources = rng.integers(0, U, (S, 3))
    memory, state = model.encode(sources, lengths)
    states = runner("encoder")(sources=sources, lengths=lengths)
    got = states.pop("memory")
    assert got.dtype == states["h_0"].dtype == np.float64
    K = model.encoder.num_layers * S * (2 * E + 2 * H + 4) + H
    assert_close(memory, got, K=K, kind="peer")
    stream = model.packed().start(memory, lengths, state)
    check_steps(stream, runner("decoder"), got, states, lengths, K, steps_of(model))


def test_what_stands_behind_the_ends_does_not_matter(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    model = make(rng, score="additive")
    decoder = Exported(model, tmp_path, part="decoder")
    memory = rng.standard_normal((S, 2, H)).astype(np.float32)
    feed = {name: np.zeros((1, 2, H), np.float32) for name in ("h_0", "c_0")}
    feed |= {"tokens": np.array([1, 2]), "memory_lengths": np.array([2, 4])}
    first = decoder(memory=memory, **feed)
    memory[2:, 0], memory[4:, 1] = 1e30, -1e30
    for name, array in decoder(memory=memory, **feed).items():
        np.testing.assert_array_equal(array, first[name])


def documented() -> str:
    """The program of the docstring that searches greedily."""
    blocks = re.findall(r"^::\n\n((?: {4}.*\n|\n)+)", inspect.getdoc(export), re.MULTILINE)
    (program,) = (block for block in blocks if "InferenceSession" in block)
    return textwrap.dedent(program)


def backwards(rng: np.random.Generator, batch: int) -> tuple[np.ndarray, ...]:
    """Sources of 0 to S places, and each read backwards with its end, the token 0."""
    sources, lengths = rng.integers(1, U, (S, batch)), rng.integers(0, S + 1, batch)
    place = lengths - 1 - np.arange(S + 1)[:, None]
    targets = np.where(place >= 0, np.take_along_axis(sources, np.maximum(place, 0), 0), 0)
    return sources, lengths, targets, lengths + 1


@pytest.mark.parametrize("kind", ["plain", "additive-gru", "fed"])
def test_the_documented_search_finds_the_same_words(
    kind: str, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model that has learnt to write sources backwards."""
    model = make(rng, **KINDS[kind], embedding_size=16, hidden_size=32)
    optimizer = Adam(model, lr=1e-2)
    for _ in range(100):
        _, pullback = model.loss_vjp(*backwards(rng, 32))
        pullback(1.0)
        optimizer.step()
        model.zero_grads()
    for part in parts(model):
        export(model, tmp_path / f"{part}.onnx", part=part)
    sources, lengths, targets, _ = backwards(rng, 20)
    names = {"onnxruntime": onnxruntime, "np": np, "N": S + 2}
    names |= {"sources": sources, "lengths": lengths}
    monkeypatch.chdir(tmp_path)
    exec(documented(), names)
    found = [row[: [*row, 0].index(0)] for row in np.stack(names["written"], 1).tolist()]
    memory, state = model.encode(sources, lengths)
    stream = model.packed().start(memory, lengths, state)
    greedy = BeamOptions(width=1, length_penalty=0.0)
    ours = beam_search(stream, lengths, np.full(lengths.size, S + 2), greedy)
    assert found == [list(best.tokens) for (best,) in ours]
    wanted = [target[:n].tolist() for target, n in zip(targets.T, lengths, strict=True)]
    assert sum(map(list.__eq__, found, wanted)) > 10


@pytest.mark.parametrize("ends", [[4], [3, 0, 5]], ids=str)
@pytest.mark.parametrize("kind", VIDEO)
def test_captions(kind: str, ends: list[int], rng: np.random.Generator, tmp_path: Path) -> None:
    config = VideoEncoderConfig(**{"features": 8, "hidden_size": H, **VIDEO[kind]})
    model = with_biases(CaptionModel(config, V, embedding_size=E, rng=rng))
    encoder = Exported(model, tmp_path, part="encoder")
    decoder = Exported(model, tmp_path, part="decoder")
    lengths = np.array(ends)
    images = rng.standard_normal((lengths.sum(), *config.image)).astype(np.float32)
    memory, state = model.encode(images, lengths)
    states = encoder(images=images, lengths=lengths)
    got = states.pop("memory")
    K = roundings(model.encoder, config)
    assert_close(memory, got, K=K, kind="peer", what="memory")
    for name, array in zip(("h_0", "c_0"), state_arrays(state), strict=False):
        assert_close(array, states[name], K=K + 2 * H, kind="peer", what=name)
    stream = model.packed().start(memory, lengths, state)
    check_steps(stream, decoder, got, states, lengths, K + 2 * H, steps_of(model))


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("kind", VIDEO)
def test_answers_about_clips(
    kind: str, pooled: bool, rng: np.random.Generator, tmp_path: Path
) -> None:
    config = VideoEncoderConfig(**{"features": 8, "hidden_size": H, **VIDEO[kind]})
    model = with_biases(VideoModel(config, V, pooled=pooled, rng=rng))
    exported = Exported(model, tmp_path)
    for ends in ([4], [3, 0, 5], [1, 1]):
        lengths = np.array(ends)
        images = rng.standard_normal((lengths.sum(), *config.image)).astype(np.float32)
        y = exported(images=images, lengths=lengths)["y"]
        K = roundings(model.encoder, config) + 2 * H + S
        assert_close(model(images, lengths), y, K=K, kind="peer")


def roundings(encoder: Any, config: VideoEncoderConfig) -> int:
    """K from frames to the encoder's outputs, up to S steps."""
    network = encoder.network.parameters if encoder.network else {}
    sums = sum(array[0].size for array in network.values() if array.ndim > 1)
    sums += encoder.project.input_size
    return int(sums + config.num_layers * S * (config.features + 3 * H + 4))
