"""Random changes of series are what they say, and as large as the series ask for."""

from __future__ import annotations

import numpy as np
import pytest

from tolerances import assert_same_bits
from unrolled.tasks.series.changes import Changes


def test_changes_are_what_they_say() -> None:
    series, rng = np.ones((50, 3), np.float32) * np.arange(3), np.random.default_rng(0)
    assert_same_bits(Changes()(series, 3, rng), series)
    shifted = Changes(shift=1.0)(series, 3, rng) - series
    assert np.ptp(shifted, axis=0).max() < 1e-6
    assert np.abs(shifted[0]).min() > 0.0
    assert np.ptp(Changes(jitter=1.0)(series, 3, rng) - series, axis=0).min() > 1.0
    ramp = np.linspace(0.0, 1.0, 50, dtype=np.float32)[:, None]
    for _ in range(5):
        longer = Changes(stretch=0.4)(ramp, 1, rng)
        assert 30 <= len(longer) <= 70
        np.testing.assert_allclose(longer, np.linspace(0.0, 1.0, len(longer))[:, None], atol=1e-6)
    for name, value in (("shift", -1.0), ("jitter", np.inf), ("stretch", 1.0)):
        with pytest.raises(ValueError, match=f"expected 0 <= {name} < "):
            Changes(**{name: value})


def test_changes_are_as_large_as_series_differ() -> None:
    """Between series in level, beside its neighbours in noise; a missing value says nothing."""
    rng = np.random.default_rng(3)
    levels, noises = np.array([0.0, 2.0, 0.5]), np.array([0.1, 0.0, 1.0])
    series = []
    for _ in range(400):
        noise = noises * rng.standard_normal((60, 3))
        series.append(levels * rng.standard_normal(3) + noise - noise.mean(axis=0))
    found = Changes(shift=0.5, jitter=0.3).fitted(series, 3)
    assert (found.shift, found.jitter) == (0.5, 0.3)
    # Deviations of 400 levels and of 24,000 differences: five of the error of each.
    np.testing.assert_allclose(found.levels, levels, atol=1e-12, rtol=5 / np.sqrt(800))
    np.testing.assert_allclose(found.noises, noises, atol=1e-12, rtol=5 / np.sqrt(24_000))
    there = rng.random((400, 60, 3)) < 0.7
    there[0] = False
    gaps = [
        np.concatenate([np.where(m, s, 0.0), m], axis=1) for m, s in zip(there, series, strict=True)
    ]
    found = Changes().fitted(gaps, 3)
    np.testing.assert_allclose(found.noises, noises, atol=1e-12, rtol=5 / np.sqrt(10_000))
    assert found.levels[0] < 0.02  # 0.1 over the root of about 42 values
    alone = Changes().fitted([np.ones((1, 3))], 3)
    assert not np.any([alone.levels, alone.noises])
