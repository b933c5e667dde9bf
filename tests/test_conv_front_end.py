"""Convolutions before recurrent layers: gradients, ragged batches and streams as without them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tolerances import STEP, assert_close, assert_same_bits, assert_slope
from unrolled.layers import Conv2d
from unrolled.models import AcousticModel

F, V, H = 9, 5, 6


def make(rng: np.random.Generator, **options: Any) -> AcousticModel:
    return AcousticModel(F, V, hidden_size=H, conv=3, **options, rng=rng)


def test_it_is_its_two_convolutions(rng: np.random.Generator) -> None:
    front_end = make(rng).front_end
    assert front_end is not None
    x = rng.standard_normal((17, 2, F)).astype(np.float32)
    y = front_end(x)
    assert y.shape == ((17 - front_end.reach) // front_end.stride + 1, 2, front_end.output_size)
    for b in range(2):
        images = x[None, :, b, :, None]
        for conv in (front_end._children["conv1"], front_end._children["conv2"]):
            assert isinstance(conv, Conv2d)
            images = np.maximum(conv(images), 0)
        assert_same_bits(y[:, b], images[0].reshape(len(y), -1))
    for step in range(len(y)):
        start = step * front_end.stride
        assert_same_bits(front_end(x[start : start + front_end.reach])[0], y[step])


@pytest.mark.parametrize("pooled", [False, True], ids=["steps", "pooled"])
def test_gradient_is_the_slope(pooled: bool, rng: np.random.Generator) -> None:
    model = make(rng, pooled=pooled, bidirectional=True, dtype="float64")
    x, lengths = rng.standard_normal((15, 3, F)), np.array([15, 2, 11])
    for name in ("conv1", "conv2"):  # without them frames of zeros lie at the relu's kink
        model.parameters[f"front_end.{name}.bias"][:] = rng.standard_normal(3)
    y, pullback = model.vjp(x, lengths)
    assert_same_bits(model(x, lengths), y)
    dy = rng.standard_normal(y.shape)
    if not pooled:
        dy[np.arange(len(dy))[:, None] >= model.steps(lengths)] = 0
    pullback(dy)
    values, centre = model.flat.values, model.flat.values.copy()
    direction = rng.standard_normal(values.shape)

    def loss(sign: float) -> float:
        values[:] = centre + sign * STEP * direction
        return float((model(x, lengths) * dy).sum())

    difference = (loss(1.0) - loss(-1.0)) / (2 * STEP)
    terms = model.flat.grads * direction
    assert_slope(float(terms.sum()), difference, float(np.abs(terms).sum()))
    assert np.abs(model.grads["front_end.conv1.weight"]).max() > 0


def test_padding_changes_nothing(rng: np.random.Generator) -> None:
    model = make(rng, pooled=True)
    lengths = np.array([14, 0, 1, 8, 9])
    x = rng.standard_normal((14, 5, F)).astype(np.float32)
    y = model(x, lengths)
    for b, frames in enumerate(lengths):
        alone = model(x[:frames, b : b + 1])
        assert_close(y[b], alone[0].astype(np.float64), K=14 * (3 * F + 8 * H), kind="forward")
    y, pullback = model.vjp(x[:0])
    pullback(np.ones_like(y))
    assert not model.grads["front_end.conv1.weight"].any()


def test_a_stream_is_the_model_over_the_whole(isa: str, rng: np.random.Generator) -> None:
    model = make(rng)
    frames = rng.standard_normal((41, F)).astype(np.float32)
    whole, _ = model.rnn(model.stacked(frames[:, None]))
    stream = model.stream()
    kept = model.flat.values.copy()
    model.flat.values[:] = 0  # a stream holds the parameters of its beginning
    for cuts in ([0, 41], [0, 1, 2, 3, 20, 20, 41], list(range(42))):
        parts = [stream(frames[start:stop]) for start, stop in itertools.pairwise(cuts)]
        assert_same_bits(np.concatenate(parts), whole[:, 0])
        stream.reset()
    with pytest.raises(ValueError, match=r"frames of shape \(T, F\) = \(T, 9\), got \(3, 8\)"):
        stream(np.zeros((3, 8), np.float32))
    model.flat.values[:] = kept
    again = AcousticModel.from_config(model.config, init="zeros")
    again.load_parameters(model.parameters)
    assert_same_bits(again(frames[:, None]), model(frames[:, None]))


def test_errors() -> None:
    with pytest.raises(ValueError, match="conv >= 0, got -1"):
        AcousticModel(F, V, conv=-1)
