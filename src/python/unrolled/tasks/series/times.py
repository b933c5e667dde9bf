"""Grids of time: which step a series has, and where its times stand on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

#: datetime64[s], or int64 where there are only numbers of steps.
Times = NDArray[Any]

_MINUTE, _HOUR, _DAY, _WEEK = 60, 3_600, 86_400, 604_800
_YEAR = 31_556_952  # seconds, on average

_NAMES = ((_WEEK, "week"), (_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute"), (1, "second"))


@dataclass(frozen=True)
class Step:
    """The distance between neighbouring times: of a grid that all series of a table share.

    Attributes:
        count: so many of the unit.
        unit: seconds, calendar months, or plain numbers.
    """

    count: int
    unit: Literal["s", "M", "number"]

    def __str__(self) -> str:
        if self.unit == "number":
            return "step" if self.count == 1 else f"{self.count:,} numbers"
        if self.unit == "M":
            years, months = divmod(self.count, 12)
            return _plural(self.count, "month") if months else _plural(years, "year")
        size, name = next(each for each in _NAMES if self.count % each[0] == 0)
        return _plural(self.count // size, name)

    def places(self, times: Times, start: Any) -> NDArray[np.int64]:
        """Returns how many steps each time is after `start`.

        Raises:
            ValueError: a time is between two steps; the text names it.
        """
        if self.unit == "M":
            months = times.astype("datetime64[M]")
            away = (months - np.datetime64(start, "M")).astype(np.int64)
            on_grid = (away % self.count == 0) & (_in_month(times) == _in_month(start))
            on_grid |= (away % self.count == 0) & _ends_month(times) & _ends_month(start)
        else:
            away = (times - start).astype(np.int64)
            on_grid = away % self.count == 0
        if not on_grid.all():
            raise ValueError(
                f"the time {times[np.flatnonzero(~on_grid)[0]]} is not on the grid of {self} from "
                f"{start} on: all times must be a whole number of steps apart"
            )
        places: NDArray[np.int64] = away // self.count
        return places

    def times(self, start: Any, first: int, count: int) -> Times:
        """Returns the times of steps first .. first + count - 1 after `start`."""
        places = np.arange(first, first + count) * self.count
        if self.unit == "number":
            return np.asarray(start + places)
        if self.unit == "s":
            return np.asarray(start + places.astype("timedelta64[s]"))
        months = np.datetime64(start, "M") + places.astype("timedelta64[M]")
        if _ends_month(start):
            clock = start - start.astype("datetime64[D]")
            return np.asarray((months + 1).astype("datetime64[D]") - 1 + clock)
        return np.asarray(months.astype("datetime64[s]") + _in_month(start))

    def to_json(self, time: Any) -> int | str:
        """Returns a time of the grid as a plain value."""
        return int(time) if self.unit == "number" else str(time)

    def from_json(self, value: int | str) -> Any:
        """Returns the time that `to_json` gave.

        Raises:
            ValueError: it is something else.
        """
        return np.int64(value) if self.unit == "number" else np.datetime64(value, "s")

    @property
    def season(self) -> int:
        """Steps after which people expect much the same again: a day, a week or a year; 1: none."""
        if self.unit == "number":
            return 1
        if self.unit == "M":
            return max(12 // self.count, 1)
        for period in (_DAY, _WEEK, _YEAR):
            if self.count < period:
                return max(round(period / self.count), 1)
        return 1


def find_step(series: Sequence[Times]) -> Step:
    """Returns the step of a grid: the most common distance of neighbouring times.

    Args:
        series: ascending times of each series.

    Raises:
        ValueError: no series has two times.
    """
    gaps = np.concatenate([np.diff(times).astype(np.int64) for times in series])
    if not gaps.size:
        raise ValueError("no series has two times: there is nothing to tell their distance from")
    if series[0].dtype.kind != "M":
        return Step(_most_common(gaps), "number")
    gap = _most_common(gaps)
    if gap < 28 * _DAY:
        return Step(gap, "s")
    months = np.concatenate(
        [np.diff(times.astype("datetime64[M]")).astype(np.int64) for times in series]
    )
    days = np.concatenate([_in_month(times) for times in series])
    same_day = (days == days[0]).all() or all(_ends_month(times).all() for times in series)
    return Step(_most_common(months), "M") if same_day else Step(gap, "s")


@dataclass(frozen=True)
class Calendar:
    """Where times stand in the day, the week and the year.

    Attributes:
        cycles: (period in seconds, harmonic) of each cycle.
    """

    cycles: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, step: Step, span: int) -> "Calendar":
        """The cycles that a step tells apart, and of which `span` steps hold two.

        A cycle that was seen once says no more than the date of what was learned by heart.
        """
        if step.unit == "number":
            return cls(())
        length = step.count if step.unit == "s" else step.count * _YEAR // 12
        known = ((_DAY, 1), (_DAY, 2), (_WEEK, 1), (_YEAR, 1))
        return cls(tuple(c for c in known if 2 * length <= c[0] and 2 * c[0] <= span * length))

    @property
    def width(self) -> int:
        """C: two numbers for each cycle."""
        return 2 * len(self.cycles)

    def __call__(self, times: Times) -> NDArray[np.float32]:
        """Returns a sine and a cosine of each cycle: times (N,) -> (N, C)."""
        if not self.cycles:
            return np.zeros((len(times), 0), np.float32)
        # Weeks of the epoch begin on a Thursday, which is as good as any other day.
        seconds = times.astype("datetime64[s]").astype(np.int64)
        phases = [harmonic * seconds % period / period for period, harmonic in self.cycles]
        angles = 2.0 * np.pi * np.array(phases).T
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def _most_common(gaps: NDArray[np.int64]) -> int:
    values, counts = np.unique(gaps, return_counts=True)
    return int(values[counts.argmax()])


def _in_month(times: Any) -> Any:
    """Time since the beginning of the month."""
    return times - times.astype("datetime64[M]").astype("datetime64[s]")


def _ends_month(times: Any) -> Any:
    """Whether the next day is in another month."""
    days = times.astype("datetime64[D]")
    return (days + 1).astype("datetime64[M]") != days.astype("datetime64[M]")


def _plural(count: int, name: str) -> str:
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"
