"""Attention, convolutions, and the models that have them, on a CUDA device: those of the host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tolerances import assert_close
from unrolled import layers, models

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree"
)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def compare(
    device: Any, layer: Any, run: Callable[[Callable[[np.ndarray], Any]], list[Any]], K: int
) -> None:
    """`run(put)` on the host and on the device, and the gradients of the parameters."""
    layer.zero_grads()
    expected = [*run(np.asarray), *(each.copy() for each in layer.grads.values())]
    running = {n: v.copy() for n, v in layer.parameters.items() if "running_" in n}
    for name in running:  # as they were before
        layer.parameters[name][...] = 1.0 if name.endswith("var") else 0.0
    assert layer.to("cuda") is layer
    layer.zero_grads()
    actual = [*run(device.put), *layer.grads.values()]
    for a, e in zip(actual, expected, strict=True):
        assert_close(device.get(a), e, K=K, kind="ranks")
    for name, value in running.items():
        assert_close(device.get(layer.parameters[name]), value, K=K, kind="ranks")


@pytest.mark.parametrize("score", ["dot", "general", "concat", "additive"])
def test_attention(emulated_device: Any, score: Any) -> None:
    attention = layers.Attention(6, 6, score, size=5, rng=rng())
    lengths, places = np.array([3, 1, 0]), np.array([4, 2, 3])

    def run(put: Any) -> list[Any]:
        queries, memory = put(normal(3, 3, 6)), put(normal(4, 3, 6, seed=1))
        options: dict[str, Any] = {"lengths": lengths, "memory_lengths": places}
        plain = attention(queries, memory, **options)
        (contexts, weights), pullback = attention.vjp(queries, memory, **options)
        gradients = pullback(put(normal(3, 3, 6, seed=2)))
        reader = attention.reader(memory, memory_lengths=places)
        read = reader(put(normal(2, 6)), np.array([2, 0]))
        return [*plain, contexts, weights, *gradients, *read]

    compare(emulated_device, attention, run, K=300)


@pytest.mark.parametrize("score", ["dot", "general", "concat", "additive"])
def test_attention_in_steps(emulated_device: Any, score: Any) -> None:
    """Each query is the context before."""
    attention = layers.Attention(6, 6, score, rng=rng())
    live = np.array([[1, 1, 1], [1, 0, 1], [1, 0, 0]])

    def run(put: Any) -> list[Any]:
        steps = attention.steps_vjp(put(normal(4, 3, 6)), 3, memory_lengths=np.array([4, 2, 3]))
        context = put(normal(3, 6, seed=1))
        for t in range(3):
            context = steps(t, context, live[t])
        gradient = put(normal(3, 6, seed=2))
        for t in reversed(range(3)):
            gradient = steps.pull(t, gradient)
        return [context, gradient, steps.finish(), steps.weights]

    compare(emulated_device, attention, run, K=500)


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_reversed_layer(emulated_device: Any, batch_first: bool) -> None:
    layer = layers.Reversed(layers.GRU(3, 4, batch_first=batch_first, rng=rng()))
    options: dict[str, Any] = {"lengths": np.array([5, 2, 0])}
    shape = (3, 5) if batch_first else (5, 3)
    options["resets"] = rng(2).random(shape) < 0.3

    def run(put: Any) -> list[Any]:
        (y, state), pullback = layer.vjp(put(normal(*shape, 3)), **options)
        dx, dstate = pullback(put(normal(*shape, 4)))
        return [y, state, dx, dstate, layer(put(normal(*shape, 3)))[0]]

    compare(emulated_device, layer, run, K=300)


LAYERS: dict[str, Callable[[], Any]] = {
    "conv": lambda: layers.Conv2d(4, 6, (3, 2), (2, 1), 1, activation="relu", rng=rng()),
    "depthwise": lambda: layers.Conv2d(4, 4, 3, 2, "same", groups=4, bias=False, rng=rng()),
    "norm": lambda: layers.BatchNorm2d(4, activation="relu6"),
    "max pool": lambda: layers.MaxPool2d(2, padding=1),
    "mean pool": lambda: layers.AvgPool2d((2, 3)),
    "global": layers.GlobalAvgPool2d,
}


@pytest.mark.parametrize("which", LAYERS)
def test_layers_over_images(emulated_device: Any, which: str) -> None:
    layer = LAYERS[which]()
    plain = layer(normal(2, 5, 7, 4))

    def run(put: Any) -> list[Any]:
        y, pullback = layer.vjp(put(normal(2, 5, 7, 4)))
        return [y, pullback(put(normal(*y.shape, seed=1)))]

    if layer.parameters:
        compare(emulated_device, layer, run, K=200)
    else:  # it computes where its input lies
        for a, e in zip(run(emulated_device.put), run(np.asarray), strict=True):
            assert_close(emulated_device.get(a), e, K=20, kind="ranks")
    if which != "norm":
        y = layer(emulated_device.put(normal(2, 5, 7, 4)))
        assert_close(emulated_device.get(y), plain, K=50, kind="ranks")


TRANSLATORS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fed": {"input_feeding": True, "num_layers": 2, "dropout": 0.3},
    "gru": {"cell": "gru", "score": "additive", "tied": False, "dropout": 0.2},
    "forwards": {"bidirectional": False, "score": "dot", "num_layers": 2},
}


@pytest.mark.parametrize("which", TRANSLATORS)
def test_sequence_to_sequence(emulated_device: Any, which: str) -> None:
    model = models.Seq2Seq(9, 11, embedding_size=6, hidden_size=8, **TRANSLATORS[which], rng=rng())
    draw = rng(2)
    sources, targets = draw.integers(0, 9, (5, 3)), draw.integers(0, 11, (4, 3))
    batch = (sources, np.array([5, 2, 4]), targets, np.array([4, 1, 3]))

    def run(put: Any) -> list[Any]:
        loss, pullback = model.loss_vjp(*batch, smoothing=0.1, rng=rng(3))
        pullback(2.0)
        losses, weights = model.losses(*batch)
        assert type(losses) is type(weights) is np.ndarray
        return [np.float32(loss), losses, weights]

    compare(emulated_device, model, run, K=4000)


@pytest.mark.parametrize("fed", [False, True])
def test_beam_search(emulated_device: Any, fed: bool) -> None:
    model = models.Seq2Seq(9, 11, embedding_size=6, hidden_size=8, input_feeding=fed, rng=rng())
    sources, lengths = rng(2).integers(0, 9, (5, 3)), np.array([5, 2, 4])

    def search() -> list[list[Any]]:
        memory, state = model.encode(sources, lengths)
        stream = model.packed().start(memory, lengths, state)
        return models.beam_search(stream, lengths, np.full(3, 6), models.BeamOptions(width=3))

    expected = search()
    model.to("cuda")
    for mine, truth in zip(search(), expected, strict=True):
        assert [each.tokens for each in mine] == [each.tokens for each in truth]
        assert [each.score for each in mine] == pytest.approx([e.score for e in truth], rel=1e-4)


ACOUSTIC: dict[str, dict[str, Any]] = {
    "stacked": {},
    "conv": {"conv": 3, "bidirectional": True, "dropout": 0.2},
    "pooled": {"pooled": True, "num_layers": 1, "cell": "lstm"},
}


@pytest.mark.parametrize("which", ACOUSTIC)
def test_an_acoustic_model(emulated_device: Any, which: str) -> None:
    """One sequence is shorter than what a step sees."""
    model = models.AcousticModel(7, 5, hidden_size=6, **ACOUSTIC[which], rng=rng())
    lengths = np.array([20, 2, 13])
    x = normal(20, 3, 7)

    def run(put: Any) -> list[Any]:
        y, pullback = model.vjp(x, lengths, rng=rng(3))
        pullback(put(normal(*y.shape, seed=1)))
        return [y, model(x, lengths)]

    compare(emulated_device, model, run, K=4000)
    with pytest.raises(ValueError, match="expected a layer on the host"):
        model.stream()


@pytest.mark.parametrize("conv", [0, 4])
def test_a_model_of_series(emulated_device: Any, conv: int) -> None:
    options: dict[str, Any] = {"conv": conv, "strides": (2, 1)} if conv else {}
    model = models.SeriesModel(3, 4, hidden_size=5, dropout=0.2, **options, rng=rng())
    x, lengths = normal(12, 3, 3), np.array([12, 5, 8])

    def run(put: Any) -> list[Any]:
        y, pullback = model.vjp(x, lengths, rng=rng(3))
        pullback(put(normal(*y.shape, seed=1)))
        return [y]

    compare(emulated_device, model, run, K=4000)
    y = emulated_device.get(model(x, lengths))
    assert_close(y, model.to("cpu")(x, lengths), K=4000, kind="ranks")


FORECASTS: dict[str, dict[str, Any]] = {
    "direct": {"context": 4, "members": 2, "dropout": 0.2},
    "autoregressive": {"context": 4, "decoder": "autoregressive", "distribution": "gaussian"},
    "counts": {"distribution": "negative-binomial", "cell": "lstm", "num_layers": 2},
}


@pytest.mark.parametrize("which", FORECASTS)
def test_a_forecasting_model(emulated_device: Any, which: str) -> None:
    """Arrays of its calls lie on the host, wherever the model lies."""
    model = models.ForecastModel(
        3, 2, 2, 4, hidden_size=5, numbers=1, categories=(3,), **FORECASTS[which], rng=rng()
    )
    origins, context = np.array([2, 5, 5]), FORECASTS[which].get("context", 0)
    x, future = normal(6, 2, 3), normal(4, 6, 2)
    last, history = normal(6, 2) + 3, normal(6, 2, context)
    static = (normal(2, 1), np.array([[2], [0]]))
    more: dict[str, Any] = {"static": static}
    if model.autoregressive:
        more["truth"] = normal(4, 6, 2, seed=1)

    def run(put: Any) -> list[Any]:
        params, pullback = model.vjp(x, origins, future, last, history, **more, rng=rng(3))
        pullback(normal(*params.shape, seed=1))
        hidden = model.read(x, origins, static=static)
        outlook = model.outlook(hidden, future, last, history, paths=3, rng=rng(4))
        return [params, model(x, origins, future, last, history, **more), outlook.mean()]

    compare(emulated_device, model, run, K=4000)


NETWORKS: dict[str, dict[str, Any]] = {
    "small": {"image": (9, 8, 2), "channels": (3, 4), "context": 2},
    "pooled": {"image": (9, 8, 2), "channels": (3, 4), "pooled": True},
    "features": {"image": (6,), "network": "none"},
}


@pytest.mark.parametrize("which", NETWORKS)
def test_video(emulated_device: Any, which: str) -> None:
    config = {
        "network": "small", "channels": (3,), "features": 5, "hidden_size": 4, "num_layers": 1,
        **NETWORKS[which],
    }  # fmt: skip
    lengths = np.array([3, 1, 4])
    images = normal(8, *config["image"])
    model = models.VideoModel(config, 3, pooled=True, rng=rng())

    def run(put: Any) -> list[Any]:
        y, pullback = model.vjp(images, lengths, rng=rng(3))
        pullback(put(normal(*y.shape, seed=1)))
        return [y]

    compare(emulated_device, model, run, K=4000)
    y = emulated_device.get(model(images, lengths))
    assert_close(y, model.to("cpu")(images, lengths), K=4000, kind="ranks")


def test_captions(emulated_device: Any) -> None:
    config = {"image": (6,), "network": "none", "features": 5, "hidden_size": 4, "num_layers": 1}
    config["channels"] = ()
    model = models.CaptionModel(config, 7, embedding_size=4, rng=rng())
    lengths, targets = np.array([3, 4]), rng(2).integers(0, 7, (3, 2))
    images = normal(7, 6)

    def run(put: Any) -> list[Any]:
        loss, pullback = model.loss_vjp(images, lengths, targets, np.array([3, 2]), rng=rng(3))
        pullback(1.0)
        return [np.float32(loss)]

    compare(emulated_device, model, run, K=4000)


def test_a_pretrained_network(emulated_device: Any) -> None:
    """With the statistics of the batch, of two places in the end, it would be chaos."""
    network = models.EfficientNet(width=0.25, depth=0.3, stem=4, features=8, rng=rng())

    def run(put: Any) -> list[Any]:
        y, pullback = network.vjp(put(normal(2, 32, 32, 3)))
        return [y, pullback(put(normal(*y.shape, seed=1)), needs_dx=True)]

    compare(emulated_device, network, run, K=20_000)
