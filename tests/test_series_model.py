"""A model of whole series is its parts put together, alone as in a batch."""

from __future__ import annotations

import numpy as np
import pytest

from tolerances import STEP, assert_close, assert_same_bits, assert_slope
from unrolled.models import SeriesModel

T, B, I, O, H = 7, 4, 3, 2, 5  # noqa: E741


@pytest.mark.parametrize("both", [False, True], ids=["one-way", "both-ways"])
def test_a_series_alone_is_as_in_a_batch(cell: str, both: bool, rng: np.random.Generator) -> None:
    model = SeriesModel(I, O, hidden_size=H, num_layers=2, cell=cell, bidirectional=both, rng=rng)
    lengths = np.array([T, 1, 4, 2])
    x = rng.standard_normal((T, B, I)).astype(np.float32)
    x[np.arange(T)[:, None] >= lengths] = np.nan  # what stands behind the end is not read
    y = model(x, lengths)
    for b, steps in enumerate(lengths):
        alone = model(np.ascontiguousarray(x[:steps, b : b + 1]))
        assert_close(y[b], alone[0].astype(np.float64), K=T * (I + 8 * H), kind="forward")


def test_mean_and_maximum_over_time(rng: np.random.Generator) -> None:
    model = SeriesModel(I, O, hidden_size=H, dtype="float64", rng=rng)
    lengths = np.array([T, 1, 4, 2])
    x = rng.standard_normal((T, B, I))
    hidden, _ = model.rnn(x, lengths=lengths)
    pooled = [
        np.concatenate([hidden[:n, b].mean(axis=0), hidden[:n, b].max(axis=0)])
        for b, n in enumerate(lengths)
    ]
    assert_close(model(x, lengths), model.head(np.stack(pooled)), K=T, kind="forward")
    assert_same_bits(model.vjp(x, lengths)[0], model(x, lengths))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gradient_is_the_slope(cell: str, rng: np.random.Generator) -> None:
    model = SeriesModel(
        I, O, hidden_size=H, num_layers=2, cell=cell, dropout=0.3, dtype="float64", rng=rng
    )
    x, lengths = rng.standard_normal((T, B, I)), np.array([T, 1, 4, 2])
    y, pullback = model.vjp(x, lengths, rng=np.random.default_rng(1))
    dy = rng.standard_normal(y.shape)
    pullback(dy)
    values, centre = model.flat.values, model.flat.values.copy()
    for name, grad in model.grads.items():
        assert grad.any(), name
    for _ in range(3):
        direction = rng.standard_normal(values.shape)

        def loss(sign: float) -> float:
            values[:] = centre + sign * STEP * direction  # noqa: B023
            return float((model.vjp(x, lengths, rng=np.random.default_rng(1))[0] * dy).sum())

        difference = (loss(1.0) - loss(-1.0)) / (2 * STEP)
        terms = model.flat.grads * direction
        assert_slope(float(terms.sum()), difference, float(np.abs(terms).sum()))


def test_the_model_can_be_built_again(rng: np.random.Generator) -> None:
    model = SeriesModel(I, O, hidden_size=H, num_layers=2, cell="lstm", dropout=0.2, rng=rng)
    again = SeriesModel.from_parameters(model.config, model.parameters)
    x = rng.standard_normal((T, B, I)).astype(np.float32)
    assert_same_bits(again(x), model(x))


def test_what_the_model_refuses(rng: np.random.Generator) -> None:
    model, x = SeriesModel(I, O, hidden_size=H, rng=rng), np.zeros((T, B, I), np.float32)
    with pytest.raises(ValueError, match=r"x of shape \(T, B, I\) = \(T, B, 3\), got \(7, 4, 2\)"):
        model(x[..., :2])
    with pytest.raises(ValueError, match=r"lengths of shape \(B,\) = \(4,\), got \(2,\)"):
        model(x, np.array([1, 2]))
    for lengths in ([0, 1, 1, 1], [8, 1, 1, 1]):
        with pytest.raises(ValueError, match=r"expected lengths in 1\.\.7, got"):
            model.vjp(x, np.array(lengths))
