"""Random changes of series in training, so that few of them teach more."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unrolled.training import Array


@dataclass(frozen=True)
class Changes:
    """How a series may be changed without becoming another one.

    Attributes:
        shift: deviation of what is added to each channel of a series, the same at all its steps, in
            `levels`.
        jitter: deviation of what is added to each value, in `noises`.
        stretch: by what part a series is made longer or shorter at most, 0..1 without 1.
        levels: (C,) deviations of the means of series, see `fitted`.
        noises: (C,) deviations of values from those beside them.

    Raises:
        ValueError: one of them is out of range.
    """

    shift: float = 0.0
    jitter: float = 0.0
    stretch: float = 0.0
    levels: Array | float = 1.0
    noises: Array | float = 1.0

    def __post_init__(self) -> None:
        for name, value, most in (
            ("shift", self.shift, np.inf),
            ("jitter", self.jitter, np.inf),
            ("stretch", self.stretch, 1.0),
        ):
            if not 0.0 <= value < most:
                raise ValueError(f"expected 0 <= {name} < {most}, got {value}")

    def fitted(self, encoded: Sequence[Array], channels: int) -> "Changes":
        """Returns changes as large as series differ by themselves.

        A shift is relative to how far the means of series lie apart, so that series of which each
        was standardised by itself are not shifted; noise is relative to what a value has beside
        its neighbours, so that it does not hide what smooth series say.

        Args:
            encoded: (T, I) each, as `__call__` takes them.
            channels: C.
        """
        totals, counts, squares, pairs = (np.zeros((len(encoded), channels)) for _ in range(4))
        for place, each in enumerate(encoded):
            values, there = each[:, :channels], _there(each, channels)
            totals[place], counts[place] = values.sum(axis=0), there.sum(axis=0)
            both = there[1:] & there[:-1]
            squares[place] = np.square(np.where(both, np.diff(values, axis=0), 0.0)).sum(axis=0)
            pairs[place] = both.sum(axis=0)
        means = np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)
        noises = np.sqrt(squares.sum(axis=0) / np.maximum(2 * pairs.sum(axis=0), 1))
        return replace(self, levels=np.nanstd(means, axis=0), noises=noises)

    def __call__(self, series: Array, channels: int, rng: np.random.Generator) -> Array:
        """Returns a changed series.

        Args:
            series: (T, I) as `Channels.encode` has it, of which the first `channels` are values.
            channels: C; where I is 2 * C the others say which values are there, and a missing one
                stays 0.
            rng: what is drawn from.
        """
        series = self._stretched(series, channels, rng)
        noise = self.shift * self.levels * rng.standard_normal((1, channels))
        noise = noise + self.jitter * self.noises * rng.standard_normal((len(series), channels))
        changed: Array = series.copy()
        changed[:, :channels] += noise
        changed[:, :channels] *= _there(series, channels)
        return changed

    def _stretched(self, series: Array, channels: int, rng: np.random.Generator) -> Array:
        """The series at more or fewer steps; between its own where no value can be missing."""
        steps = len(series)
        part = self.stretch * rng.uniform(-1.0, 1.0)
        count = max(1, round(steps * (1.0 + part)))
        if count == steps:
            return series
        places = np.linspace(0.0, steps - 1.0, count)
        if series.shape[1] > channels:  # between a value and a missing one there is nothing
            nearest: Array = series[np.rint(places).astype(np.int64)]
            return nearest
        before = np.floor(places).astype(np.int64)
        after = np.minimum(before + 1, steps - 1)
        share = (places - before)[:, None].astype(series.dtype)
        between: Array = series[before] * (1 - share) + series[after] * share
        return between


def _there(series: Array, channels: int) -> Array:
    """(T, C) bool: which values of a series (T, I) are there."""
    if series.shape[1] == channels:
        return np.ones(series.shape, bool)
    there: Array = series[:, channels:] > 0.0
    return there
