"""Random changes of series in training, so that few of them teach more."""

from dataclasses import dataclass

import numpy as np

from unrolled.training import Array


@dataclass(frozen=True)
class Changes:
    """How a series may be changed without becoming another one.

    Values are of variance 1 over the training set, so sizes are parts of a channel's deviation.

    Attributes:
        shift: deviation of what is added to each channel of a series, the same at all its steps.
        jitter: deviation of what is added to each value.
        stretch: by what part a series is made longer or shorter at most, 0..1 without 1.

    Raises:
        ValueError: one of them is out of range.
    """

    shift: float = 0.0
    jitter: float = 0.0
    stretch: float = 0.0

    def __post_init__(self) -> None:
        for name, value, most in (
            ("shift", self.shift, np.inf),
            ("jitter", self.jitter, np.inf),
            ("stretch", self.stretch, 1.0),
        ):
            if not 0.0 <= value < most:
                raise ValueError(f"expected 0 <= {name} < {most}, got {value}")

    def __call__(self, series: Array, channels: int, rng: np.random.Generator) -> Array:
        """Returns a changed series.

        Args:
            series: (T, I) as `Channels.encode` has it, of which the first `channels` are values.
            channels: C; where I is 2 * C the others say which values are there, and a missing one
                stays 0.
            rng: what is drawn from.
        """
        series = self._stretched(series, channels, rng)
        noise = self.shift * rng.standard_normal((1, channels))
        noise = noise + self.jitter * rng.standard_normal((len(series), channels))
        changed: Array = series.copy()
        changed[:, :channels] += noise
        if series.shape[1] > channels:
            changed[:, :channels] *= series[:, channels:]
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
