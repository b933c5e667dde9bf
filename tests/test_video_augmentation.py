"""Clips change at random, all frames of one alike, and labels can follow; pixels are normalised."""

from __future__ import annotations

import json

import numpy as np
import pytest

from unrolled.video import (
    Augmentation,
    Normalisation,
    fixed_normalisation,
    imagenet_normalisation,
    measured_normalisation,
)

ALL = Augmentation(
    crop=(12, 16),
    shift=2,
    flip=0.5,
    rotation=10,
    scale=0.2,
    brightness=20,
    contrast=0.2,
    erase=0.5,
    warp=0.3,
)


@pytest.fixture
def clip(rng: np.random.Generator) -> np.ndarray:
    """A picture (T, H, W, C), the same in all frames."""
    clip = np.empty((24, 16, 20, 3), np.uint8)
    clip[:] = rng.integers(0, 256, clip.shape[1:])
    clip.flags.writeable = False
    return clip


def drawn(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_nothing_changes_nothing(clip: np.ndarray) -> None:
    changed = Augmentation()(clip, drawn(0))
    assert np.shares_memory(changed.images, clip)
    np.testing.assert_array_equal(changed.images, clip)
    np.testing.assert_array_equal(changed.sources, np.arange(24))


def test_all_frames_alike_and_reproducible(clip: np.ndarray) -> None:
    results = set()
    for seed in range(20):
        images, sources = ALL(clip, drawn(seed))
        assert images.shape == (len(sources), 12, 16, 3)
        assert images.dtype == np.uint8
        assert (images == images[:1]).all()
        again = ALL(clip, drawn(seed))
        np.testing.assert_array_equal(images, again.images)
        np.testing.assert_array_equal(sources, again.sources)
        results.add(images.tobytes())
    assert len(results) == 20


def test_crops_are_views_of_all_places(clip: np.ndarray) -> None:
    change, found = Augmentation(crop=(14, 18)), set()
    for seed in range(100):
        images = change(clip, drawn(seed)).images
        assert np.shares_memory(images, clip)
        places = [
            (top, left)
            for top in range(3)
            for left in range(3)
            if (images[0] == clip[0, top : top + 14, left : left + 18]).all()
        ]
        found.update(places)
        assert len(places) == 1
    assert len(found) == 9
    np.testing.assert_array_equal(change.centre(clip), clip[:, 1:15, 1:19])
    np.testing.assert_array_equal(Augmentation(flip=1.0).centre(clip), clip)


def test_flips(clip: np.ndarray) -> None:
    np.testing.assert_array_equal(Augmentation(flip=1.0)(clip, drawn(0)).images, clip[:, :, ::-1])
    flipped = [(Augmentation(flip=0.3)(clip, drawn(s)).images != clip).any() for s in range(400)]
    # Within four standard deviations of 0.3.
    assert abs(np.mean(flipped) - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 400)


def test_shifts_repeat_the_edge(clip: np.ndarray) -> None:
    padded = np.pad(clip, ((0, 0), (2, 2), (2, 2), (0, 0)), "edge")
    found = set()
    for seed in range(100):
        images = Augmentation(shift=2)(clip, drawn(seed)).images
        places = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if (images == padded[:, top : top + 16, left : left + 20]).all()
        ]
        assert len(places) == 1
        found.update(places)
    assert len(found) > 20


def test_rotation_and_scale() -> None:
    """A plane stays a plane: v = a y + b x about the middle, turned and zoomed."""
    y, x = np.mgrid[:41, :41] - 20.0
    clip = np.rint(128 + 2 * y + 3 * x).clip(0, 255).astype(np.uint8)[None, ..., None]
    slopes = []
    for seed in range(30):
        images = Augmentation(rotation=20, scale=0.25)(clip, drawn(seed)).images
        inner = images[0, 14:27, 14:27, 0].astype(float)
        points = np.stack([y[14:27, 14:27], x[14:27, 14:27], np.ones((13, 13))], axis=-1)
        plane, *_ = np.linalg.lstsq(points.reshape(-1, 3), inner.ravel(), rcond=None)
        # Each source pixel and the result are rounded: half a level each.
        assert np.abs(inner.ravel() - points.reshape(-1, 3) @ plane).max() <= 1.1
        slopes.append(complex(plane[0], plane[1]) / complex(2, 3))
    turned = np.rad2deg(np.angle(slopes))
    assert 10 < np.abs(turned).max() <= 20.5
    assert turned.min() < 0 < turned.max()
    # A slope is steeper where the picture became smaller.
    assert 0.79 <= np.abs(slopes).min() < 0.95
    assert 1.05 < np.abs(slopes).max() <= 1.26


def test_levels() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    for seed in range(20):
        images = Augmentation(brightness=30, contrast=0.3)(levels, drawn(seed)).images.ravel()
        assert (np.diff(images.astype(int)) >= 0).all()
        inside = (images > 0) & (images < 255)
        gain, offset = np.polyfit(np.arange(256)[inside], images[inside], 1)
        assert 0.7 - 0.01 <= gain <= 1.3 + 0.01
        assert abs(offset + 127.5 * gain - 127.5) <= 30.5


def test_erased_rectangles(clip: np.ndarray) -> None:
    for seed in range(20):
        images = Augmentation(erase=1.0)(clip, drawn(seed)).images
        changed = (images != clip).any(axis=(0, 3))
        rows, columns = changed.any(axis=1), changed.any(axis=0)
        area = np.count_nonzero(rows) * np.count_nonzero(columns)
        assert 0 < area <= 0.25 * 16 * 20
        assert np.unique(images[:, changed]).size == 1


def test_warped_time_says_where_frames_came_from() -> None:
    clip = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 5, 1), np.uint8)
    lengths = set()
    for seed in range(50):
        images, sources = Augmentation(warp=0.25)(clip, drawn(seed))
        np.testing.assert_array_equal(images[:, 0, 0, 0], sources)
        assert (sources[0], sources[-1]) == (0, 39)
        steps = np.diff(sources)
        assert steps.min() >= 0
        # 1.25 as a whole, and a stretch against the others at most 1.25^2.
        assert steps.max() <= 2
        assert 32 <= len(sources) <= 50
        lengths.add(len(sources))
    assert len(lengths) > 10
    for count in (0, 1, 2):
        changed = Augmentation(warp=0.25)(clip[:count], drawn(0))
        assert len(changed.images) == len(changed.sources) == count


def test_errors(clip: np.ndarray) -> None:
    for values in (
        {"flip": 1.5},
        {"erase": -0.1},
        {"warp": 1.0},
        {"scale": -0.1},
        {"shift": -1},
        {"crop": (0, 4)},
    ):
        with pytest.raises(ValueError, match=f"expected .* for {next(iter(values))}"):
            Augmentation(**values)
    with pytest.raises(ValueError, match=r"of at least the crop \(17, 20\), got"):
        Augmentation(crop=(17, 20))(clip, drawn(0))
    with pytest.raises(ValueError, match=r"expected a clip \(T, H, W, C\) of uint8"):
        Augmentation()(clip.astype(np.float32), drawn(0))


def test_normalisation(clip: np.ndarray, rng: np.random.Generator) -> None:
    other = rng.integers(0, 256, (5, 8, 8, 3), np.uint8)
    measured = measured_normalisation([clip, other])
    pixels = np.concatenate([clip.reshape(-1, 3), other.reshape(-1, 3)]).astype(np.float64)
    np.testing.assert_allclose(measured.mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(measured.deviation, pixels.std(axis=0), rtol=1e-5)
    normal = measured(clip)
    assert normal.dtype == np.float32
    assert normal.shape == clip.shape
    fixed = fixed_normalisation(3)(clip)
    np.testing.assert_array_equal(fixed, (clip.astype(np.float32) - 127) / 128)
    white = imagenet_normalisation()(np.full((1, 1, 1, 3), 255, np.uint8))
    np.testing.assert_allclose(white.ravel(), [2.2489, 2.4286, 2.64], atol=1e-4)
    again = Normalisation.from_json(json.loads(json.dumps(measured.to_json())))
    np.testing.assert_array_equal(again(clip), normal)
    black = measured_normalisation([np.zeros((2, 4, 4, 1), np.uint8)])
    assert black.deviation[0] == 1
    with pytest.raises(ValueError, match="at least one frame"):
        measured_normalisation([])
