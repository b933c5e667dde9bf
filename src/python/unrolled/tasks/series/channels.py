"""Channels of series as a network reads them: of mean 0 and variance 1, with what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.training import Array, from_json

#: Of a channel's magnitude, a deviation of less is rounding: the channel is constant.
_CONSTANT = 1e-9


@dataclass(frozen=True, eq=False)
class Channels:
    """What is known of C channels from the series that a model was trained on.

    Attributes:
        mean: (C,) float64, of the values that are there.
        deviation: (C,) float64, 1 for a constant channel.
        gaps: whether values were missing. The model then reads 2 * C numbers a step: the values,
            0 in the place of a missing one, and 1 for each that is there.
    """

    mean: Array
    deviation: Array
    gaps: bool

    @property
    def count(self) -> int:
        """The number C of channels."""
        return len(self.mean)

    @property
    def input_size(self) -> int:
        """Numbers of a step, as the model reads it."""
        return self.count * (2 if self.gaps else 1)

    @classmethod
    def of(cls, series: Sequence[Array], *, gaps: bool = False) -> "Channels":
        """What there is to know of series (C, T), of which there is one at least.

        Args:
            series: what a model is to be trained on.
            gaps: the model is to read series with missing values, even if none of these has any.

        Raises:
            ValueError: they are not alike, or a channel has no value at all.
        """
        for place, each in enumerate(series):
            check_series(each, len(series[0]), place)
        values = np.concatenate(series, axis=1, dtype=np.float64)
        there = ~np.isnan(values)
        empty = np.flatnonzero(~there.any(axis=1))
        if empty.size:
            raise ValueError(
                f"channel {empty[0] + 1} has no value in any series to train on: leave it out"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            mean, deviation = np.nanmean(values, axis=1), np.nanstd(values, axis=1)
        large = np.flatnonzero(~np.isfinite(mean + deviation))
        if large.size:
            raise ValueError(
                f"channel {large[0] + 1} has values too large to square: divide them by something"
            )
        constant = deviation <= _CONSTANT * np.abs(mean)
        return cls(mean, np.where(constant, 1.0, deviation), gaps or not bool(there.all()))

    def encode(self, series: Array, place: int) -> Array:
        """Returns what the model reads, (T, input_size) float32, of a series (C, T).

        Args:
            series: NaN where a value is missing.
            place: of the series among others, for error texts.

        Raises:
            ValueError: the series has other channels, is empty, or has values that will not do.
        """
        check_series(series, self.count, place)
        there = ~np.isnan(series)
        if not (self.gaps or there.all()):
            raise ValueError(
                f"series {place + 1} has missing values, and the model was trained on series "
                "without: fill them, or train on series that miss some too"
            )
        with np.errstate(over="ignore"):
            values = (np.where(there, series, 0.0) - self.mean[:, None]) / self.deviation[:, None]
        values = np.where(there, values, 0.0)
        if np.abs(values).max() > np.finfo(np.float32).max:
            raise ValueError(
                f"series {place + 1} has values too far from those of the training for float32"
            )
        rows = [values, there] if self.gaps else [values]
        return np.ascontiguousarray(np.concatenate(rows).T, np.float32)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
            "gaps": self.gaps,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Channels":
        """What `to_json` gave.

        Raises:
            ValueError: it is something else.
        """
        mean, deviation = (
            np.array(from_json(list[float], values[name], name), np.float64)
            for name in ("mean", "deviation")
        )
        good = mean.shape == deviation.shape and np.isfinite([mean, deviation]).all()
        if not (good and (deviation > 0).all()):
            raise ValueError("expected as many finite means and deviations > 0 of channels")
        return cls(mean, deviation, from_json(bool, values["gaps"], "gaps"))


def check_series(series: Array, channels: int, place: int) -> None:
    """Raises ValueError unless this is a series (C, T) that a model can read; NaN are allowed."""
    if series.ndim != 2 or len(series) != channels:
        raise ValueError(
            f"expected series of shape (channels, time) with {channels} channels each, "
            f"got {series.shape} of series {place + 1}"
        )
    if not series.size:
        raise ValueError(f"series {place + 1} is empty: leave it out")
    if np.isinf(series).any():
        raise ValueError(
            f"series {place + 1} has an infinite value in channel "
            f"{np.flatnonzero(np.isinf(series).any(axis=1))[0] + 1}: replace it, or mark it as "
            "missing (NaN)"
        )
