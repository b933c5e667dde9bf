"""Mixup mixes words where they begin, and the loss is that of both in the same parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tolerances import STEP, assert_close, assert_same_bits, assert_slope
from unrolled.audio import Augmentation, Normalisation
from unrolled.models import AcousticModel
from unrolled.tasks import keywords
from unrolled.tasks._clip_features import Scene, together

F = 4
PLAIN = Normalisation(np.zeros(F, np.float32), np.ones(F, np.float32))


def scenes(rng: np.random.Generator) -> list[Scene]:
    sizes = ((9, 3, 0), (5, 0, 1), (12, 7, 2))
    return [
        Scene(rng.standard_normal((t, F)).astype(np.float32), start, word)
        for t, start, word in sizes
    ]


def test_words_are_mixed_where_they_begin(rng: np.random.Generator) -> None:
    own = scenes(rng)
    others = [own[1], own[2], own[0]]
    batch = together(own, PLAIN, others, 0.75)
    assert batch.lengths.tolist() == [9, 5, 13]
    assert (batch.classes.tolist(), batch.others.tolist()) == ([0, 1, 2], [1, 2, 0])
    for b, (first, second) in enumerate(zip(own, others, strict=True)):
        word = second.frames[second.start :]
        expected = np.zeros((13, F))
        expected[: len(first.frames)] = first.frames
        expected[first.start :] *= 0.75
        expected[first.start : first.start + len(word)] += 0.25 * word
        assert_close(batch.frames[:, b], expected, K=2, kind="forward")
    alone = together(own, PLAIN)
    assert (alone.part, alone.others.tolist()) == (1.0, [0, 1, 2])
    assert_same_bits(alone.frames[:9, 0], own[0].frames)


def test_loss_of_both_words(rng: np.random.Generator) -> None:
    own = scenes(rng)
    batch = together(own, PLAIN, own[::-1], 0.75)
    model = AcousticModel(F, 3, hidden_size=5, pooled=True, dtype="float64", rng=rng)
    task = keywords.Keywords(keywords.Options())
    x = batch.frames.astype(np.float64)
    batch = type(batch)(x, batch.lengths, batch.starts, batch.classes, batch.others, batch.part)

    def loss() -> float:
        return float(task.loss(model, batch, None, rng)[0][0])

    logits = model(x, batch.lengths, batch.starts)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    rows = np.arange(3)
    expected = -(0.75 * log_p[rows, batch.classes] + 0.25 * log_p[rows, batch.others]).mean()
    assert_close(np.array(loss()), expected, K=20, kind="head")
    task.loss(model, batch, None, rng)[1](1.0)
    values, centre = model.flat.values, model.flat.values.copy()
    along = rng.standard_normal(values.shape)
    ends = []
    for sign in (1.0, -1.0):
        values[:] = centre + sign * STEP * along
        ends.append(loss())
    terms = model.flat.grads * along
    slope = (ends[0] - ends[1]) / (2 * STEP)
    assert_slope(float(terms.sum()), slope, float(np.abs(terms).sum()))


def test_bands_are_warped(rng: np.random.Generator) -> None:
    """A peak in one band moves, both ways, at most by the part that was asked for."""
    still = {"shift": 0.0, "gain": 0.0, "noise": 0.0, "time_masks": 0, "band_masks": 0}
    frames = np.zeros((3, 60), np.float32)
    frames[:, 30] = 1.0
    change = Augmentation(**still, warp=0.1)
    peaks = [int(change(frames, 0.01, rng)[0].argmax()) for _ in range(200)]
    assert 27 <= min(peaks) < 29
    assert 31 < max(peaks) <= 34
    slope = np.arange(60, dtype=np.float32)[None].repeat(2, axis=0)
    warped = change(slope, 0.01, rng)
    assert_close(warped[:, [0, -1]], slope[:, [0, -1]], K=60, kind="forward")
    assert (np.diff(warped[0]) > 0).all()
    for bands in (1, 2):
        assert change(np.ones((4, bands), np.float32), 0.01, rng).shape == (4, bands)
    assert_same_bits(Augmentation(**still)(frames, 0.01, rng), frames)


def test_errors(tmp_path: Path) -> None:
    for options in ({"mixup": -0.1}, {"warp": 0.6}, {"warp": float("nan")}):
        (name,) = options
        with pytest.raises(ValueError, match=rf"\[train keywords\] expected 0 <= {name} <= "):
            keywords.train(tmp_path, steps=1, quiet=True, **options)
