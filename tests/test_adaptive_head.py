"""The adaptive softmax is the distribution of its definition, and its gradient the slope."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from text_models import TEXT, make_model
from tolerances import STEP, assert_close, assert_same_bits, assert_slope
from unrolled import reference
from unrolled.layers import AdaptiveSoftmaxHead, frequency_cutoffs
from unrolled.models import LanguageModel
from unrolled.tasks import language_model as lm

T, B, H, V = 5, 4, 6, 23
CUTOFFS = ([1], [22], [4], [3, 9], [2, 3, 11, 20])


def make(rng: np.random.Generator, cutoffs: Any, dtype: Any = np.float32) -> AdaptiveSoftmaxHead:
    layer = AdaptiveSoftmaxHead(H, V, cutoffs, dtype=dtype, rng=rng)
    layer.flat.values[:] = rng.standard_normal(layer.flat.values.shape)
    return layer


def draw(rng: np.random.Generator, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    x = rng.standard_normal((T, B, H)).astype(dtype)
    targets = rng.integers(0, V, (T, B))
    targets[0] = 0, V - 1, -1, -1
    return x, targets


def definition(layer: AdaptiveSoftmaxHead, x: np.ndarray) -> np.ndarray:
    """log p (..., V) in float64, class by class."""
    p = {name: value.astype(np.float64) for name, value in layer.parameters.items()}
    z = x.astype(np.float64) @ p["weight"].T + p["bias"]
    u = x.astype(np.float64) @ p["cluster_weight"].T + p["cluster_bias"]
    bounds = [*layer.cutoffs, V]
    first = reference.log_softmax(np.concatenate([z[..., : bounds[0]], u], axis=-1))
    result = np.empty_like(z)
    result[..., : bounds[0]] = first[..., : bounds[0]]
    for i, (low, high) in enumerate(pairwise(bounds)):
        within = reference.log_softmax(z[..., low:high])
        result[..., low:high] = first[..., bounds[0] + i, None] + within
    return result


@pytest.mark.parametrize("cutoffs", CUTOFFS, ids=str)
def test_values_are_those_of_the_definition(
    cutoffs: list[int], dtype: Any, rng: np.random.Generator
) -> None:
    layer, (x, targets) = make(rng, cutoffs, dtype), draw(rng, dtype)
    log_p = definition(layer, x)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=-1), 1.0)
    chosen = -np.take_along_axis(log_p, np.abs(targets)[..., None], -1)[..., 0]
    losses = np.where(targets < 0, 0.0, chosen)

    K = 2 * (H + V)  # two steps
    assert_close(layer.logits(x), log_p, K=K, kind="head")
    assert_close(layer.losses(x, targets), losses, K=K, kind="head")
    loss, _ = layer.loss_vjp(x, targets)
    assert_close(loss, losses.sum() / (T * B - 2), K=K, kind="head", dtype=dtype)
    packed = layer.packed()
    expected = layer.logits(x)
    layer.flat.values[:] = 0
    assert_same_bits(packed(x.reshape(-1, H)).reshape(T, B, V), expected)


@pytest.mark.parametrize("cutoffs", CUTOFFS, ids=str)
def test_gradient_is_the_slope(cutoffs: list[int], rng: np.random.Generator) -> None:
    layer, (x, targets) = make(rng, cutoffs, np.float64), draw(rng, np.float64)
    layer.flat.grads[:] = 1.0  # pullbacks add
    dx = layer.loss_vjp(x, targets)[1](3.0)
    grads = layer.flat.grads - 1.0

    for what, values, gradient in (("x", x, dx), ("parameters", layer.flat.values, grads)):
        direction = rng.standard_normal(values.shape)
        centre = values.copy()
        values[...] = centre + STEP * direction
        above = layer.loss_vjp(x, targets)[0]
        values[...] = centre - STEP * direction
        below = layer.loss_vjp(x, targets)[0]
        values[...] = centre
        terms = gradient * direction
        scale = float(np.abs(terms).sum()) + above + below
        assert_slope(float(terms.sum()), 3.0 * (above - below) / (2 * STEP), scale, what)


def test_where_nothing_counts(rng: np.random.Generator) -> None:
    layer, (x, targets) = make(rng, [3, 9]), draw(rng, np.float32)
    loss, pullback = layer.loss_vjp(x, np.full_like(targets, -1))
    assert loss == 0.0
    assert not pullback().any()
    assert not layer.flat.grads.any()


def test_values_are_those_of_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason='pip install "unrolled[peers]"')
    layer, (x, targets) = make(rng, [3, 9], np.float64), draw(rng, np.float64)
    layer.parameters["bias"][3:] = 0  # torch's clusters have none
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(H, V, [3, 9], div_value=1.0, head_bias=True)
    p = {name: torch.tensor(value) for name, value in layer.parameters.items()}
    state = {
        "head.weight": torch.cat([p["weight"][:3], p["cluster_weight"]]),
        "head.bias": torch.cat([p["bias"][:3], p["cluster_bias"]]),
    }
    for i, rows in enumerate((slice(3, 9), slice(9, V))):
        state |= {f"tail.{i}.0.weight": torch.eye(H), f"tail.{i}.1.weight": p["weight"][rows]}
    theirs.double().load_state_dict(state)
    counted = targets >= 0
    output, loss = theirs(torch.tensor(x[counted]), torch.tensor(targets[counted]))
    K = 2 * (H + V)
    assert_close(layer.loss_vjp(x, targets)[0], loss.item(), K=K, kind="peer", dtype=np.float64)
    assert_close(-layer.losses(x, targets)[counted], output.detach().numpy(), K=K, kind="peer")


@pytest.mark.parametrize("cutoffs", [[], [V], [0], [3, 3], [9, 3], [3, V]], ids=str)
def test_wrong_cutoffs(cutoffs: list[int]) -> None:
    with pytest.raises(ValueError, match=r"\[AdaptiveSoftmaxHead\] expected"):
        AdaptiveSoftmaxHead(H, V, cutoffs)


def test_wrong_arrays(rng: np.random.Generator) -> None:
    layer, (x, targets) = make(rng, [3]), draw(rng, np.float32)
    with pytest.raises(ValueError, match=r"\[AdaptiveSoftmaxHead\] expected targets of shape"):
        layer.losses(x, targets.T)
    with pytest.raises(ValueError, match=r"\[AdaptiveSoftmaxHead\] expected x of shape"):
        layer.loss_vjp(x[..., 1:], targets)
    targets[1, 1] = -2
    assert layer.losses(x, targets)[1, 1] == 0.0
    targets[1, 1] = V
    with pytest.raises(ValueError, match=rf"targets in 0 \.\. {V - 1} .*, got {V}"):
        layer.losses(x, targets)


def test_cutoffs_by_frequency() -> None:
    with pytest.raises(ValueError, match="expected 10 classes or more, got 9"):
        frequency_cutoffs(9)
    assert frequency_cutoffs(10) == (1, 3)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_language_model(tied: bool, rng: np.random.Generator) -> None:
    options = {"embedding_size": H, "hidden_size": H, "tied": tied, "adaptive": (3, 9)}
    model = LanguageModel(V, **options, rng=rng)
    text = rng.integers(0, V, (T + 1, B))
    losses, _ = model.losses(text[:-1], text[1:])
    stream = model.stream(B)
    for tokens, targets, expected in zip(text, text[1:], losses, strict=False):
        log_p = stream.step(tokens)
        assert_close(-log_p[range(B), targets], expected, K=2 * T * (5 * H + V), kind="head")

    (before, _), pullback = model.loss_vjp(text[:-1], text[1:])
    pullback(1.0)
    model.flat.values[:] -= 0.1 * model.flat.grads
    assert model.loss_vjp(text[:-1], text[1:])[0][0] < before

    config = json.loads(json.dumps(model.config))
    again = LanguageModel.from_parameters(config, model.parameters)
    assert_same_bits(again.losses(text[:-1], text[1:])[0], model.losses(text[:-1], text[1:])[0])
    with pytest.raises(ValueError, match=r"fewer than those up to"):
        LanguageModel.from_parameters(config | {"adaptive": [3, 9, 11]}, model.parameters)


def test_task(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    (tmp_path / "text.txt").write_text(TEXT * 4)
    path = tmp_path / "lm.safetensors"
    options = {"level": "word", "adaptive": True, "tied": True, "hidden": 16, "batch": 4}
    trained = lm.train(
        tmp_path / "text.txt", output=path, steps=60, steps_per_update=16, quiet=True, **options
    )
    size = len(trained.vocabulary)
    assert trained.model.head.cutoffs == frequency_cutoffs(size)
    untrained = make_model(TEXT, "word", embedding_size=16, hidden_size=16, tied=True)
    assert lm.evaluate(trained, TEXT).nats < lm.evaluate(untrained, TEXT).nats
    loaded = lm.load(path)
    assert lm.evaluate(loaded, TEXT).nats == lm.evaluate(trained, TEXT).nats
    assert lm.generate(loaded, "the cat", length=20, seed=1)
    best = lm.suggest(loaded, "the ")
    assert best
    assert best == sorted(best, key=lambda suggestion: -suggestion.probability)
