"""An acoustic model is its parts put together, for ragged batches as for single sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerances import STEP, assert_close, assert_same_bits, assert_slope
from unrolled.models import AcousticModel

F, V, H = 4, 5, 6


def make(rng: np.random.Generator, **options: Any) -> AcousticModel:
    sizes: dict[str, Any] = {"hidden_size": H, "num_layers": 2, "stack": 3, "stride": 2}
    return AcousticModel(F, V, **(sizes | options), rng=rng)


def test_a_step_sees_its_frames(rng: np.random.Generator) -> None:
    model = make(rng)
    x = rng.standard_normal((8, 2, F)).astype(np.float32)
    stacked = model.stacked(x)
    assert stacked.shape == (3, 2, 3 * F)
    for n in range(3):
        expected = np.concatenate([x[2 * n + i] for i in range(3)], axis=1)
        assert_same_bits(stacked[n], expected)
    assert model.steps(np.arange(10)).tolist() == [0, 1, 1, 1, 1, 2, 2, 3, 3, 4]
    for frames in range(10):
        count = len(model.stacked(x[:1].repeat(frames, axis=0)))
        assert count == model.steps(np.array(frames))
    short = model.stacked(x[:2])
    assert_same_bits(short[0, :, : 2 * F], stacked[0, :, : 2 * F])
    assert not short[0, :, 2 * F :].any()


@pytest.mark.parametrize("pooled", [False, True], ids=["steps", "pooled"])
@pytest.mark.parametrize("both", [False, True], ids=["causal", "both-ways"])
def test_padding_changes_nothing(
    cell: str, pooled: bool, both: bool, rng: np.random.Generator
) -> None:
    model = make(rng, cell=cell, pooled=pooled, bidirectional=both)
    lengths = np.array([9, 0, 1, 5])
    x = rng.standard_normal((9, 4, F)).astype(np.float32)
    y = model(x, lengths)
    for b, frames in enumerate(lengths):
        alone = model(x[:frames, b : b + 1])
        K = 9 * (3 * F + 8 * H)
        if pooled:
            assert_close(y[b], alone[0].astype(np.float64), K=K, kind="forward")
            continue
        steps = model.steps(np.array(frames))
        assert len(alone) == steps
        assert_close(y[:steps, b], alone[:, 0].astype(np.float64), K=K, kind="forward")


@pytest.mark.parametrize("pooled", [False, True], ids=["steps", "pooled"])
def test_gradient_is_the_slope(pooled: bool, rng: np.random.Generator) -> None:
    model = make(rng, pooled=pooled, bidirectional=True, dropout=0.3, dtype="float64")
    x, lengths = rng.standard_normal((9, 3, F)), np.array([9, 2, 6])
    y, pullback = model.vjp(x, lengths, rng=np.random.default_rng(1))
    dy = rng.standard_normal(y.shape)
    if not pooled:
        dy[np.arange(len(dy))[:, None] >= model.steps(lengths)] = 0
    pullback(dy)
    values, centre = model.flat.values, model.flat.values.copy()
    direction = rng.standard_normal(values.shape)

    def loss(sign: float) -> float:
        values[:] = centre + sign * STEP * direction
        return float((model.vjp(x, lengths, rng=np.random.default_rng(1))[0] * dy).sum())

    difference = (loss(1.0) - loss(-1.0)) / (2 * STEP)
    terms = model.flat.grads * direction
    assert_slope(float(terms.sum()), difference, float(np.abs(terms).sum()))


def test_an_answer_about_the_end(rng: np.random.Generator) -> None:
    """The mean from `starts` on, with the state of all that was before."""
    model = make(rng, pooled=True, dtype="float64")
    x, starts = rng.standard_normal((11, 3, F)), np.array([0, 4, 50])
    hidden, _ = model.rnn(model.stacked(x))
    expected = np.stack([hidden[:, 0].mean(0), hidden[2:, 1].mean(0), hidden[-1, 2]])
    y, pullback = model.vjp(x, None, starts)
    assert_close(y, model.head(expected), K=5, kind="forward")
    assert_same_bits(model(x, None, starts), y)
    dy = rng.standard_normal(y.shape)
    pullback(dy)
    dmean = dy @ model.head.parameters["weight"]
    dhidden = np.zeros_like(hidden)
    dhidden[:, 0], dhidden[2:, 1], dhidden[-1, 2] = dmean[0] / 5, dmean[1] / 3, dmean[2]
    got = model.rnn.grads["weight_hh_l0"].copy()
    model.zero_grads()
    model.rnn.vjp(model.stacked(x))[1](dhidden)
    assert_close(got, model.rnn.grads["weight_hh_l0"], K=5 * 3 * H, kind="gradient")


def test_it_can_be_built_again(rng: np.random.Generator) -> None:
    model = make(rng, pooled=True, dropout=0.2, cell="lstm")
    again = AcousticModel.from_config(model.config, init="zeros")
    again.load_parameters(model.parameters)
    x = rng.standard_normal((7, 2, F)).astype(np.float32)
    assert_same_bits(again(x), model(x))


def test_errors(rng: np.random.Generator) -> None:
    with pytest.raises(
        ValueError, match=r"\[AcousticModel\] expected stride <= stack, got 4 and 3"
    ):
        make(rng, stride=4)
    model = make(rng)
    with pytest.raises(ValueError, match=r"x of shape \(T, B, F\) = \(T, B, 4\), got \(3, 2, 5\)"):
        model(np.zeros((3, 2, 5), np.float32))
    with pytest.raises(ValueError, match=r"lengths of shape \(B,\) = \(2,\), got \(3,\)"):
        model.vjp(np.zeros((3, 2, F), np.float32), np.array([1, 2, 3]))
