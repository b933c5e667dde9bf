"""A model of whole series is its parts put together, alone as in a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerances import STEP, assert_close, assert_same_bits, assert_slope
from unrolled.models import SeriesModel

T, B, I, O, H = 7, 4, 3, 2, 5  # noqa: E741


def make(rng: np.random.Generator, **options: Any) -> SeriesModel:
    """With norms as if something had been learned, where there are any."""
    model = SeriesModel(I, O, hidden_size=H, **options, rng=rng)
    for name, values in model.parameters.items():
        if "norm" in name:
            values[...] = rng.uniform(0.5, 1.5, values.shape)
    return model


@pytest.mark.parametrize("both", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("convolved", [{}, {"conv": 3}, {"conv": 3, "strides": (2, 3)}], ids=str)
def test_a_series_alone_is_as_in_a_batch(
    convolved: dict[str, Any], both: bool, cell: str, rng: np.random.Generator
) -> None:
    model = make(rng, num_layers=2, cell=cell, bidirectional=both, **convolved)
    lengths = np.array([T, 1, 4, 2])
    x = rng.standard_normal((T, B, I)).astype(np.float32)
    x[np.arange(T)[:, None] >= lengths] = np.nan  # what stands behind the end is not read
    y = model(x, lengths)
    for b, steps in enumerate(lengths):
        alone = model(np.ascontiguousarray(x[:steps, b : b + 1]))
        K = T * (I + 8 * H) + len(convolved) * 50
        assert_close(y[b], alone[0].astype(np.float64), K=K, kind="forward")


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


@pytest.mark.parametrize("strides", [(1, 1), (2, 1), (2, 2)])
def test_convolutions_are_a_window_around_each_step(
    strides: tuple[int, int], rng: np.random.Generator
) -> None:
    front_end = make(rng, conv=4, strides=strides, dtype="float64").front_end
    assert front_end is not None
    lengths = np.array([T, 1, 4, 2])
    x = rng.standard_normal((T, B, I))
    y = front_end(x, lengths)
    assert y.shape == (len(range(0, T, strides[0] * strides[1])), B, 4)
    for b, steps in enumerate(lengths):
        row = x[:steps, b]
        for (conv, norm), stride in zip(front_end.parts, strides, strict=True):
            weight = conv.parameters["weight"][..., 0]  # (O, C, k)
            half = weight.shape[2] // 2
            wide = np.pad(row, ((half, half), (0, 0)))
            rows = [
                np.einsum("ock,kc->o", weight, wide[t : t + weight.shape[2]])
                for t in range(0, len(row), stride)
            ]
            p = norm.parameters
            scaled = (np.array(rows) - p["running_mean"]) / np.sqrt(p["running_var"] + norm.eps)
            row = np.maximum(scaled * p["weight"] + p["bias"], 0.0)
        assert_close(y[: len(row), b], row, K=64, kind="forward")
        assert not y[len(row) :, b].any()
        assert front_end.steps(lengths)[b] == len(row)


def test_norms_see_the_steps_of_series_alone(rng: np.random.Generator) -> None:
    model = make(rng, conv=3, strides=(2, 1), dtype="float64")
    x, lengths = rng.standard_normal((T, B, I)), np.array([T, 1, 4, 2])
    state = model.flat.values.copy()
    y, _ = model.vjp(x, lengths)
    after = model.flat.values.copy()
    assert (after != state).any()  # the running statistics have moved
    model.flat.values[...] = state
    x[np.arange(T)[:, None] >= lengths] = np.nan
    longer = np.concatenate([x, np.full((5, B, I), np.nan)])
    assert_same_bits(model.vjp(longer, lengths)[0], y)
    assert_same_bits(model.flat.values, after)
    # One step alone has no variance: it leaves the statistics as they are.
    alone = np.ascontiguousarray(x[:1, :1])
    assert_close(model.vjp(alone)[0], model(alone), K=64, kind="forward")
    assert_same_bits(model.flat.values, after)


@pytest.mark.parametrize("convolved", [{}, {"conv": 3, "strides": (2, 1)}], ids=str)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gradient_is_the_slope(
    cell: str, convolved: dict[str, Any], rng: np.random.Generator
) -> None:
    model = make(rng, num_layers=2, cell=cell, dropout=0.3, dtype="float64", **convolved)
    x, lengths = rng.standard_normal((T, B, I)), np.array([T, 1, 4, 2])
    y, pullback = model.vjp(x, lengths, rng=np.random.default_rng(1))
    dy = rng.standard_normal(y.shape)
    pullback(dy)
    values, centre = model.flat.values, model.flat.values.copy()
    for name, grad in model.grads.items():
        assert grad.any() != ("running" in name), name
    for _ in range(3):
        direction = rng.standard_normal(values.shape)

        def loss(sign: float) -> float:
            # The batch moves the running statistics, which training does not read.
            values[:] = centre + sign * STEP * direction  # noqa: B023
            return float((model.vjp(x, lengths, rng=np.random.default_rng(1))[0] * dy).sum())

        difference = (loss(1.0) - loss(-1.0)) / (2 * STEP)
        terms = model.flat.grads * direction
        assert_slope(float(terms.sum()), difference, float(np.abs(terms).sum()))


def test_the_model_can_be_built_again(rng: np.random.Generator) -> None:
    model = make(rng, num_layers=2, cell="lstm", dropout=0.2, conv=4, strides=(1, 2))
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
    with pytest.raises(ValueError, match="strides are those of the convolutions"):
        SeriesModel(I, O, strides=(2, 1))
    for strides in ((0, 1), (8, 1), (1, 6), (1,), (1, 1, 1)):
        with pytest.raises(ValueError, match=r"expected strides of 1 to 7 and 1 to 5, got"):
            SeriesModel(I, O, conv=3, strides=strides)
