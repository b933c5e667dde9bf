"""A sequence-to-sequence model is its definition: slopes, ragged batches, streams, checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerances import STEP, assert_close, assert_same_bits, assert_slope
from unrolled.models import Seq2Seq

U, V, E, H = 7, 9, 4, 6
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "additive-gru": {"score": "additive", "cell": "gru", "num_layers": 2},
    "one-way": {"bidirectional": False, "score": "dot", "tied": False},
    "fed": {"input_feeding": True, "num_layers": 2},
    "fed-gru": {"input_feeding": True, "score": "concat", "cell": "gru"},
}


def make(rng: np.random.Generator, **options: Any) -> Seq2Seq:
    sizes: dict[str, Any] = {"embedding_size": E, "hidden_size": H}
    return Seq2Seq(U, V, **(sizes | options), rng=rng)


def draw(rng: np.random.Generator) -> tuple[Any, ...]:
    sources, targets = rng.integers(0, U, (5, 4)), rng.integers(1, V, (6, 4))
    ends, lasts = np.array([5, 1, 3, 4]), np.array([2, 6, 1, 4])
    targets[lasts - 1, range(4)] = 0
    return sources, ends, targets, lasts


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_the_slope(kind: str, rng: np.random.Generator) -> None:
    model = make(rng, dropout=0.3, dtype="float64", **KINDS[kind])
    batch = draw(rng)

    def loss_vjp() -> Any:
        return model.loss_vjp(*batch, smoothing=0.1, rng=np.random.default_rng(1))

    _, pullback = loss_vjp()
    pullback(2.0)
    values, centre = model.flat.values, model.flat.values.copy()
    for name, grad in model.grads.items():
        if name != "embedding.weight":
            assert grad.any(), name
    for _ in range(2):
        direction = rng.standard_normal(values.shape)

        def loss(sign: float) -> float:
            values[:] = centre + sign * STEP * direction  # noqa: B023
            return 2.0 * loss_vjp()[0]

        difference = (loss(1.0) - loss(-1.0)) / (2 * STEP)
        terms = model.flat.grads * direction
        assert_slope(float(terms.sum()), difference, float(np.abs(terms).sum()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_alone_is_as_in_a_batch(kind: str, rng: np.random.Generator) -> None:
    model = make(rng, **KINDS[kind])
    sources, ends, targets, lasts = draw(rng)
    losses, weights = model.losses(sources, ends, targets, lasts)
    loss, _ = model.loss_vjp(sources, ends, targets, lasts)
    assert_close(loss, losses.sum() / lasts.sum(), K=60, kind="head", dtype=np.float32)
    for b, (S, T) in enumerate(zip(ends, lasts, strict=True)):
        rows = slice(b, b + 1)
        alone, own = model.losses(sources[:S, rows], ends[rows], targets[:T, rows], lasts[rows])
        assert_same_bits(losses[:T, b], alone[:, 0])
        assert not losses[T:, b].any()
        assert_same_bits(weights[:T, b, :S], own[:, 0])
        assert not weights[T:, b].any()
        assert not weights[:, b, S:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_the_whole_target(kind: str, rng: np.random.Generator) -> None:
    model = make(rng, **KINDS[kind])
    sources, ends, targets, _ = draw(rng)
    lasts = np.full(4, 6)
    losses, weights = model.losses(sources, ends, targets, lasts)
    memory, state = model.encode(sources, ends)
    stream = model.packed().start(memory, ends, state)
    order = np.arange(4)
    tokens = np.zeros(4, np.int64)
    for t in range(6):
        logits, read = stream.step(tokens)
        assert_same_bits(read, weights[t, order])
        chosen = logits.astype(np.float64)
        log_p = chosen - np.log(np.exp(chosen).sum(axis=1, keepdims=True))
        mine = -log_p[range(len(order)), targets[t, order]]
        assert_close(losses[t, order], mine, K=30, kind="head", dtype=np.float32)
        keep = rng.integers(0, len(order), 3 + t % 3)
        stream.keep(keep)
        order = order[keep]
        assert_same_bits(stream.sources, order)
        tokens = targets[t, order]


def test_label_smoothing_is_its_definition(rng: np.random.Generator) -> None:
    model = make(rng, dtype="float64")
    batch = draw(rng)
    plain, uniform = model.loss_vjp(*batch)[0], 0.0
    sources, ends, targets, lasts = batch
    memory, state = model.encode(sources, ends)
    for v in range(V):
        inputs = np.vstack([np.zeros_like(targets[:1]), targets[:-1]])
        losses, _ = model.decoder.losses(
            inputs, np.full_like(targets, v), lasts, memory, ends, state
        )
        uniform += float(losses.sum()) / int(lasts.sum()) / V
    smoothed = model.loss_vjp(*batch, smoothing=0.2)[0]
    assert smoothed == pytest.approx(0.8 * plain + 0.2 * uniform, rel=1e-12)


def test_it_can_be_built_again(rng: np.random.Generator) -> None:
    model = make(rng, input_feeding=True, num_layers=2, tied=False)
    again = Seq2Seq.from_config(model.config, init="zeros")
    again.load_parameters(model.parameters)
    batch = draw(rng)
    assert_same_bits(again.losses(*batch), model.losses(*batch))
    assert f"{model.num_parameters:,} parameters" in model.describe()


def test_errors(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=r"\[Seq2Seq\] expected an even hidden_size"):
        make(rng, hidden_size=5)
    model = make(rng, dropout=0.5)
    sources, ends, targets, lasts = draw(rng)
    with pytest.raises(ValueError, match=r"sources of shape \(S, B\) with lengths \(B,\)"):
        model.encode(sources[:, 0], ends)
    with pytest.raises(ValueError, match=r"targets of shape \(T, B\) with lengths \(B,\)"):
        model.losses(sources, ends, targets, lasts[:2])
    with pytest.raises(ValueError, match="needs rng in vjp"):
        model.loss_vjp(sources, ends, targets, lasts)
    with pytest.raises(ValueError, match=r"tokens in 0 \.\. 6, got"):
        model.encode(sources + 7, ends)
