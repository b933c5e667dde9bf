"""The language model is the composition of its parts, and its memory is that of one chunk."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from stacks import as_tuple, forward_roundings, gradient_roundings, reference_stack
from tolerances import assert_close, assert_same_bits, assert_slope, slope_along
from unrolled import reference
from unrolled.models import LanguageModel

T, B, V, E, H = 6, 3, 13, 5, 8


def make(rng: np.random.Generator, **options: Any) -> LanguageModel:
    sizes = {"embedding_size": E, "hidden_size": H}
    return LanguageModel(V, **(sizes | options), rng=rng)


def draw_text(rng: np.random.Generator, steps: int = T) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and the targets one step ahead, of which one does not count."""
    text = rng.integers(0, V, (steps + 1, B))
    targets = text[1:].copy()
    targets[steps // 2, 1] = -1
    return np.ascontiguousarray(text[:-1]), targets


@pytest.mark.parametrize("vocabulary", [V, 40], ids=["characters", "words"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("layers", [1, 2])
def test_loss_and_gradients_equal_specification(
    cell: str, layers: int, tied: bool, vocabulary: int, dtype: Any, rng: np.random.Generator
) -> None:
    """Tokens are fewer than words and more than characters, so the embedding goes either way."""
    sizes = {"embedding_size": H if tied else E, "hidden_size": H}
    options = {"cell": cell, "num_layers": layers, "tied": tied, "dtype": dtype}
    model = LanguageModel(vocabulary, **sizes, **options, rng=rng)
    tokens, targets = draw_text(rng)
    counted = np.count_nonzero(targets >= 0)
    (loss, state), pullback = model.loss_vjp(tokens, targets)
    pullback()

    p = {name: array.astype(np.float64) for name, array in model.parameters.items()}
    table = p["head.weight"] if tied else p["embedding.weight"]
    hidden = reference_stack(model.rnn, table[tokens])["y"]
    losses, dhidden, dweight, dbias = reference.linear_cross_entropy_vjp(
        hidden.reshape(-1, H), p["head.weight"], p["head.bias"], targets.ravel(), 1 / counted
    )
    stack = reference_stack(model.rnn, table[tokens], dy=dhidden.reshape(T, B, H))
    dtable = np.zeros_like(table)
    np.add.at(dtable, tokens, stack["dx"])
    expected = {f"rnn.{name}": grad for name, grad in stack["grads"].items()}
    expected |= {"head.bias": dbias, "head.weight": dweight + dtable if tied else dweight}
    expected |= {} if tied else {"embedding.weight": dtable}

    forward = forward_roundings(model.rnn, T) + H + vocabulary
    backward = gradient_roundings(model.rnn, T, B) + H + vocabulary
    assert_close(loss, losses.sum() / counted, K=forward, kind="head", dtype=dtype)
    for got, want in zip(as_tuple(state), stack["state"], strict=True):
        assert_close(got, want, K=forward, kind="forward", what="state")
    assert set(model.grads) == set(expected)
    for name, want in expected.items():
        assert_close(model.grads[name], want, K=backward, kind="gradient", what=name)

    separate, final = model.losses(tokens, targets)
    assert_close(separate, losses.reshape(T, B), K=forward, kind="head")
    assert_same_bits(final, state)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_gradient_is_the_slope(cell: str, tied: bool, rng: np.random.Generator) -> None:
    sizes = {"embedding_size": H} if tied else {}
    model = make(rng, cell=cell, num_layers=2, dropout=0.2, tied=tied, dtype="float64", **sizes)
    tokens, targets = draw_text(rng)

    def run() -> Any:
        return model.loss_vjp(tokens, targets, rng=np.random.default_rng(4))

    run()[1](3.0)
    for name, place in model.flat.slices.items():
        direction = np.zeros_like(model.flat.values)
        direction[place] = rng.standard_normal(place.stop - place.start)
        slope = 3.0 * slope_along(lambda: run()[0][0], model.flat.values, direction)
        terms = model.flat.grads * direction
        scale = float(np.abs(terms).sum()) + 2.0 * run()[0][0]
        assert_slope(float(terms.sum()), slope, scale, name)


def test_state_carries_over(cell: str, rng: np.random.Generator) -> None:
    model = make(rng, cell=cell, num_layers=2)
    tokens, targets = draw_text(rng, 8)
    whole, final = model.losses(tokens, targets)
    first, state = model.losses(tokens[:3], targets[:3])
    second, state = model.losses(tokens[3:], targets[3:], state)
    assert_same_bits(np.concatenate([first, second]), whole)
    assert_same_bits(state, final)
    (_, state), _ = model.loss_vjp(tokens[:3], targets[:3])
    (loss, state), _ = model.loss_vjp(tokens[3:], targets[3:], state)
    counted = np.count_nonzero(targets[3:] >= 0)
    expected = second.sum(dtype=np.float64) / counted
    assert_close(loss, expected, K=H + V, kind="head", dtype=np.float32)
    assert_same_bits(state, final)


def test_stream_predicts_what_the_sequence_does(cell: str, rng: np.random.Generator) -> None:
    model = make(rng, cell=cell, num_layers=2)
    tokens, targets = draw_text(rng)
    losses, state = model.losses(tokens, targets)
    stream = model.stream(batch=B)
    logits = np.stack([stream.step(t) for t in tokens])
    log_p = reference.log_softmax(logits)
    picked = -np.take_along_axis(log_p, np.maximum(targets, 0)[..., None], 2)[..., 0]
    assert_close(losses, np.where(targets < 0, 0.0, picked), K=H + V, kind="head")
    assert_same_bits(stream.state, state)


def test_stream_is_a_snapshot_with_a_state(rng: np.random.Generator) -> None:
    model = make(rng)
    tokens = rng.integers(0, V, (4, B))
    stream = model.stream(B)
    model.flat.values[:] = 0
    first = stream.step(tokens[0])
    assert first.any()
    state = stream.state
    second = stream.step(tokens[1])
    fork = stream.fork()
    assert_same_bits(fork.step(tokens[0]), first)
    stream.state = state
    assert_same_bits(stream.step(tokens[1]), second)
    stream.reset()
    assert_same_bits(stream.step(tokens[0]), first)
    with pytest.raises(ValueError, match=r"tokens of shape \(B,\) = \(3,\), got \(2,\)"):
        stream.step(tokens[0, :2])


def test_config_rebuilds_the_architecture(cell: str, rng: np.random.Generator) -> None:
    model = make(rng, cell=cell, num_layers=2, dropout=0.1, dtype=np.float64)
    config = json.loads(json.dumps(model.config))
    other = LanguageModel.from_config(config, init="zeros")
    assert other.config == model.config
    assert not other.flat.values.any()
    other.load_parameters(model.parameters)
    assert_same_bits(other.flat.values, model.flat.values)


def test_describe(rng: np.random.Generator) -> None:
    model = make(rng, dropout=0.5)
    count = V * E + 4 * H * (E + H + 2) + V * (H + 1)
    text = model.describe()
    assert text.splitlines()[0] == f"language model, {count:,} parameters, float32"
    assert "Embedding(13, 5)" in text
    assert "SoftmaxHead(8, 13" in text
    assert "Dropout(0.5)" in text


def test_nothing_counts(rng: np.random.Generator) -> None:
    model = make(rng)
    tokens, _ = draw_text(rng)
    (loss, _), pullback = model.loss_vjp(tokens, np.full_like(tokens, -1))
    pullback()
    assert loss == 0.0
    assert not model.flat.grads.any()


def test_memory_does_not_grow_with_the_text(rng: np.random.Generator) -> None:
    steps, batch, hidden = 32, 8, 128
    model = LanguageModel(V, embedding_size=8, hidden_size=hidden, rng=rng)
    tokens = rng.integers(0, V, (steps, batch))
    stream = model.stream(batch)

    def peak(chunks: int) -> int:
        state = None
        tracemalloc.start()
        for _ in range(chunks):
            (_, state), pullback = model.loss_vjp(tokens, tokens, state)
            pullback()
            _, state = model.losses(tokens, tokens, state)
            for token in tokens:
                stream.step(token)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)
    # 17 chunks more would keep 17 such arrays, if anything kept one; the two are for the
    # interpreter's own lists of free objects.
    assert peak(20) < peak(3) + 2 * steps * batch * hidden * 4


def test_errors(rng: np.random.Generator) -> None:
    model = make(rng)
    tokens, targets = draw_text(rng)
    with pytest.raises(ValueError, match=r"\[LanguageModel\] expected tokens of shape \(T, B\)"):
        model.losses(tokens[:, 0], targets[:, 0])
    with pytest.raises(ValueError, match=r"expected targets of shape \(T, B\) = \(6, 3\), got"):
        model.loss_vjp(tokens, targets[1:])
    with pytest.raises(ValueError):
        model.losses(np.full_like(tokens, V), targets)
    with pytest.raises(ValueError, match="embedding_size == hidden_size, got 5 and 8"):
        make(rng, tied=True)
    with pytest.raises(ValueError, match="needs rng"):
        make(rng, dropout=0.5).loss_vjp(tokens, targets)
    with pytest.raises(ValueError, match="expected vocab_size"):
        LanguageModel(0, rng=rng)
