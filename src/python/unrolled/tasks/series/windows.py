"""Series as a model reads them, and batches of forecasts with what came true.

Numbers are standardised with the mean and the deviation of their series (`Scale`); counts are
divided by one more than their mean, so that they stay counts of a unit. A step of the
past is read as (values, differences, whether they were observed, covariates, calendar), zeros for
what is missing; a step to come as (known covariates, calendar, values of the last season). Values
are relative to the mean of the last `context` ones, those of the last season to the last one: a
level that was never seen looks like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.training import Array

from .data import Panel, Series, Values
from .static import Told
from .times import Calendar

Indices = NDArray[np.int64]

#: Deviations of less than this part of the size of a number count as none.
_CONSTANT = 1e-7

#: The sum of the squares of any number of these is finite.
_LARGEST = 1e140


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of each column of a series, as far as they are known.

    Shapes: mean and deviation (D + K + P,), of targets, known and past covariates.

    Attributes:
        logs: of the first so many columns the logarithms are standardised: those that grow by
            shares of themselves.
    """

    mean: Values
    deviation: Values
    logs: int = 0

    @classmethod
    def of(cls, series: Series, end: int, logs: int = 0, counts: int = 0) -> "Scale":
        """Of the first `end` steps; columns without a value there get 0 and 1.

        Args:
            counts: so many of the first columns are counts.

        Raises:
            ValueError: a number that has no logarithm, is no count, or is too large.
        """
        table = _logarithms(_columns(series, end), logs)
        _check_counts(table[:, :counts], series.name)
        observed = ~np.isnan(table)
        count = np.maximum(observed.sum(axis=0), 1)
        largest = np.abs(np.where(observed, table, 0.0)).max(initial=0.0)
        if largest > _LARGEST:
            raise ValueError(
                f"the series {series.name!r} has a value of size {largest:g}, the square of which "
                "float64 does not hold: leave the cell empty, or mend it"
            )
        mean = np.where(observed, table, 0.0).sum(axis=0) / count
        away = np.where(observed, table - mean, 0.0)
        deviation = np.sqrt((away * away).sum(axis=0) / count)
        constant = deviation <= _CONSTANT * np.maximum(np.abs(mean), logs > 0)
        deviation = np.where(constant, 1.0, deviation)
        deviation[:counts], mean[:counts] = 1.0 + mean[:counts], 0.0  # DeepAR's
        return cls(mean, deviation, logs)

    def to_json(self) -> list[list[float]]:
        """Returns mean and deviation as plain values."""
        return [self.mean.tolist(), self.deviation.tolist()]

    @classmethod
    def from_json(cls, values: Any, logs: int) -> "Scale":
        """Returns what `to_json` wrote.

        Raises:
            ValueError: these are no means and deviations.
        """
        mean, deviation = (np.array(each, np.float64) for each in values)
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()):
            raise ValueError("expected finite means and deviations above zero in the scale")
        return cls(mean, deviation, logs)

    def targets(self, count: int) -> "Scale":
        """That of the first `count` columns."""
        return Scale(self.mean[:count], self.deviation[:count], self.logs)

    def forward(self, table: Values) -> Array:
        """Returns numbers (N, D + K + P) standardised.

        Raises:
            ValueError: a number that has no logarithm.
        """
        scaled = (_logarithms(table, self.logs) - self.mean) / self.deviation
        # A comparison with NaN is false.
        if (np.abs(scaled) > np.finfo(np.float32).max).any():
            raise ValueError(
                f"there is {np.nanmax(np.abs(table)):g}, too far from the rest of its series for "
                "float32: leave the cell empty, or mend it"
            )
        return np.asarray(scaled, np.float32)

    def back(self, values: Array) -> Values:
        """Returns standardised numbers (..., D) of targets in their own units."""
        unscaled: Values = values.astype(np.float64) * self.deviation + self.mean
        return np.exp(unscaled, out=unscaled) if self.logs else unscaled


@dataclass(frozen=True)
class Batch:
    """Forecasts from R origins of each of B stretches of T steps; N = R * B, origin-major.

    Attributes:
        x: (T, B, I) and resets (T, B): the past.
        origins: (R,) steps of x that forecasts are made from.
        future: (H, N, F).
        last: (N, D) last values.
        history: (N, D, C) the values before, minus the last.
        targets: (H, N, D), and which of them count, observed (H, N, D), 1.0 or 0.0.
        series: (B,) and ends (B,): which stretches these are.
        units: (N, D) what one of the numbers stands for.
        truth: (H, N, D) the targets, and where one is missing the value before it.
        static: of each of the B series, see `StaticScale`.
    """

    x: Array
    resets: Any
    origins: Indices
    future: Array
    last: Array
    history: Array
    targets: Array
    observed: Array
    series: Indices
    ends: Indices
    units: Array
    truth: Array
    static: Told

    def inputs(self) -> tuple[Array, Indices, Array, Array, Array]:
        """What a `ForecastModel` reads."""
        return self.x, self.origins, self.future, self.last, self.history

    def more(self) -> dict[str, Any]:
        """What it reads by name."""
        return {
            "resets": self.resets,
            "static": self.static,
            "units": self.units,
            "truth": self.truth,
        }


def sizes(
    targets: int, known: int, past: int, calendar: Calendar, seasonal: bool
) -> tuple[int, int]:
    """Returns I and F, the numbers of a step of the past and of one to come."""
    both = known + calendar.width
    return 3 * targets + past + both, max(both + targets * seasonal, 1)


def stretch(context: int, origins: int) -> tuple[int, int]:
    """Returns the steps between the origins of a stretch, and the steps T of all of it."""
    stride = max(context // (2 * origins), 1)
    return stride, context + stride * (origins - 1)


class Windows:
    """All series of a panel in one block of memory, ready to be cut.

    Args:
        panel: the series.
        scales: of each of them.
        calendar: what is told of times.
        steps: T, the steps of a stretch.
        horizon: H.
        context: C, of the linear path, and of the mean that values are relative to.
        season: steps of a season, at most C; 1 = there is none.
        limits: for each series, steps from here on are not to be learned from; none = its length.
        static: what is said of each series; none = nothing.
    """

    def __init__(
        self,
        panel: Panel,
        scales: Sequence[Scale],
        calendar: Calendar,
        *,
        steps: int,
        horizon: int,
        context: int,
        season: int,
        limits: Sequence[int] | None = None,
        static: Told | None = None,
    ) -> None:
        self.steps, self.horizon, self.context, self.season = steps, horizon, context, season
        self.lengths = np.array([len(series) for series in panel.series], np.int64)
        limits = self.lengths.tolist() if limits is None else limits
        # Before each series room for a stretch that begins before it, behind it for a horizon.
        before = self._before = max(steps, context, 1)
        self._base = np.empty(len(panel.series), np.int64)
        at = 0
        for i, length in enumerate(self.lengths):
            self._base[i] = at + before
            at += before + int(length) + horizon
        self.targets = targets = len(panel.columns.targets)
        columns = panel.columns
        self._units = np.array([scale.deviation[:targets] for scale in scales], np.float32)
        empty = np.zeros((len(panel.series), 0))
        self._static = (empty, empty.astype(np.int64)) if static is None else static
        inputs, _ = sizes(targets, len(columns.known), len(columns.past), calendar, False)
        self._x = np.zeros((at, inputs), np.float32)
        self._future = np.zeros((at, len(columns.known) + calendar.width), np.float32)
        self._values, self._filled = (np.zeros((at, targets), np.float32) for _ in range(2))
        self._counts = np.zeros((at, targets), np.float32)
        self._starts = np.zeros(at, np.uint8)
        for i, (series, scale) in enumerate(zip(panel.series, scales, strict=True)):
            self._place(series, panel, scale, calendar, int(self._base[i]), int(limits[i]))

    def _place(
        self,
        series: Series,
        panel: Panel,
        scale: Scale,
        calendar: Calendar,
        base: int,
        limit: int,
    ) -> None:
        length, targets, known = len(series), len(panel.columns.targets), len(panel.columns.known)
        table = scale.forward(_columns(series))
        values, covariates = table[:, :targets], table[:, targets : targets + known]
        observed = ~np.isnan(values[:length])
        rows = slice(base, base + length)
        self._values[rows] = np.nan_to_num(values[:length])
        filled = _fill(values[:length])
        self._filled[rows] = filled
        self._filled[base - self._before : base] = filled[0]
        self._filled[base + length : base + length + self.horizon] = filled[-1]
        self._counts[base : base + min(limit, length)] = observed[:limit]
        self._starts[base] = 1

        ahead = min(len(table) - length, self.horizon)
        cycles = calendar(panel.step.times(series.start, 0, length + self.horizon))
        to_come = slice(base, base + length + self.horizon)
        self._future[base : base + length + ahead, :known] = np.nan_to_num(
            covariates[: length + ahead]
        )
        self._future[to_come, known : known + calendar.width] = cycles

        x = self._x[rows]
        x[:, :targets] = np.where(observed, self._values[rows] - self._means(base, length), 0.0)
        both = observed[1:] & observed[:-1]
        x[1:, targets : 2 * targets] = np.where(both, np.diff(values[:length], axis=0), 0.0)
        x[:, 2 * targets : 3 * targets] = observed
        past = table[:length, targets + known :]
        x[:, 3 * targets : 3 * targets + past.shape[1]] = np.nan_to_num(past)
        width = known + calendar.width
        if width:
            x[:, x.shape[1] - width :] = self._future[rows, :width]

    def _means(self, base: int, length: int) -> Array:
        """(N, D) of the last C values up to each step."""
        count = max(self.context, 1)
        sums = np.cumsum(self._filled[base - count : base + length], axis=0, dtype=np.float64)
        means: Array = ((sums[count:] - sums[:-count]) / count).astype(np.float32)
        return means

    def batch(self, series: Indices, ends: Indices, origins: Indices) -> Batch:
        """Cuts stretches that end before step `ends` of each series.

        Args:
            series: (B,) numbers of series.
            ends: (B,) 1 .. length of the series.
            origins: (R,) places in a stretch, 0 .. T - 1; those before a series begins count for
                nothing.
        """
        stops = self._base[series] + ends
        rows = stops + np.arange(-self.steps, 0)[:, None]  # (T, B)
        starts = self._starts[rows]
        at = rows[origins]  # (R, B)
        inside = (at >= self._base[series]).reshape(-1)
        at = at.reshape(-1)
        coming = at + np.arange(1, self.horizon + 1)[:, None]  # (H, N)
        last = self._filled[at]
        history = np.zeros((len(at), last.shape[1], self.context), np.float32)
        if self.context:
            before = self._filled[at[:, None] + np.arange(1 - self.context, 1)]  # (N, C, D)
            history[...] = np.swapaxes(before - last[:, None], 1, 2)
        return Batch(
            x=self._x[rows],
            resets=starts.astype(bool) if starts.any() else None,
            origins=origins,
            future=with_season(self._future[coming], history, self.season),
            last=last,
            history=history,
            targets=self._values[coming],
            observed=self._counts[coming] * inside[:, None].astype(np.float32),
            series=series,
            ends=ends,
            units=np.tile(self._units[series], (len(origins), 1)),
            truth=self._filled[coming],
            static=(self._static[0][series], self._static[1][series]),
        )


def with_season(future: Array, history: Array, season: int) -> Array:
    """Adds to what is known of steps to come (H, N, F) the values of the last season.

    They are relative to the last value, as the history (N, D, C) is. Where nothing is known at all
    there is a zero.
    """
    parts = [future]
    if season > 1:
        places = history.shape[2] - season + np.arange(len(future)) % season
        parts.append(np.moveaxis(history[:, :, places], 2, 0))
    elif not future.shape[2]:
        parts.append(np.zeros((*future.shape[:2], 1), future.dtype))
    return np.concatenate(parts, axis=2)


def _logarithms(table: Values, count: int) -> Values:
    """The table with its first `count` columns in logarithms."""
    if not count:
        return table
    logs: Values = table.copy()
    if (logs[:, :count] <= 0.0).any():
        raise ValueError(
            f"--log is for numbers above zero, but there is {np.nanmin(logs[:, :count]):g}"
        )
    logs[:, :count] = np.log(logs[:, :count])
    return logs


def _check_counts(table: Values, name: str) -> None:
    known = table[~np.isnan(table)]
    wrong = known[(known < 0.0) | (known != np.rint(known))]
    if wrong.size:
        raise ValueError(
            f"--head negative-binomial is for counts, 0, 1, 2 and so on, but the series {name!r} "
            f"has {wrong[0]:g}: use --head student-t, or gaussian"
        )


def _columns(series: Series, end: int | None = None) -> Values:
    """All columns side by side, (N + F, D + K + P) or those of the first `end` steps."""
    count = len(series.known)
    table = np.full((max(count, len(series)), series.targets.shape[1]), np.nan)
    table[: len(series)] = series.targets
    past = np.full((len(table), series.past.shape[1]), np.nan)
    past[: len(series)] = series.past
    columns: Values = np.concatenate([table, series.known, past], axis=1)[:end]
    return columns


def _fill(values: Array) -> Array:
    """Each missing value is the last one before it, zero (the mean) if there is none."""
    observed = ~np.isnan(values)
    places = np.where(observed, np.arange(len(values))[:, None], 0)
    places = np.maximum.accumulate(places, axis=0)
    filled: Array = np.nan_to_num(np.take_along_axis(values, places, axis=0))
    return filled
