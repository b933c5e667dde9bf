"""Forecasts from one origin after the other, as they would have been made at the time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unrolled.models import ForecastModel
from unrolled.training import Array

from .baselines import Matrix, Ridge, linear, naive, seasonal_naive
from .data import Panel, Values
from .scores import LEVELS, Scores, score
from .windows import Batch, Indices, Scale, Windows

#: What the model is called in tables.
_OURS = "this model"

#: Values that are forecast at a time.
_VALUES = 1 << 19


@dataclass(frozen=True)
class Part:
    """A part of each series, by time: its steps from `begins` to before `ends`, (series,) each."""

    begins: Indices
    ends: Indices


def cut(lengths: Sequence[int], validation: float, test: float, least: int) -> list[Part]:
    """Cuts series by time into what is learned from, what chooses the model, and what scores it.

    Args:
        lengths: of the series.
        validation, test: shares of each series, or numbers of steps if 1 or more.
        least: steps that each part must have.

    Raises:
        ValueError: no series is long enough.
    """
    length = np.array(lengths, np.int64)
    tested, validated = (
        np.full_like(length, round(part)) if part >= 1.0 else np.floor(length * part).astype(int)
        for part in (test, validation)
    )
    ends = [length - tested - validated, length - tested, length]
    if ends[0].max(initial=0) < least:
        raise ValueError(
            f"the longest series has {length.max(initial=0):,} steps; with "
            f"{tested.max(initial=0):,} for --test and {validated.max(initial=0):,} for "
            f"--validation fewer than {least:,} are left to learn from: hold out less, or choose a "
            "shorter --horizon"
        )
    ends = [np.maximum(end, 0) for end in ends]
    begins = [np.zeros_like(length), ends[0], ends[1]]
    return [Part(begin, end) for begin, end in zip(begins, ends, strict=True)]


def origins(part: Part, horizon: int, stride: int) -> list[Indices]:
    """Returns for each series the steps after which forecasts begin, so that all H are inside."""
    return [
        np.arange(max(begin, 1) - 1, end - horizon, stride)
        for begin, end in zip(part.begins.tolist(), part.ends.tolist(), strict=True)
    ]


def roll(windows: Windows, part: Part, stride: int) -> Iterator[tuple[Batch, Indices]]:
    """Yields batches with forecasts from every `stride`-th step of a part.

    With each come the places of the N forecasts that are meant; others fill up a stretch.
    """
    spans = max(windows.steps - max(windows.context, windows.steps // 2), 0) // stride + 1
    places = windows.steps - 1 - stride * np.arange(spans)[::-1]
    series, ends, wanted = [], [], []
    for number, steps in enumerate(origins(part, windows.horizon, stride)):
        # From the end, so that the last stretch ends with the last origin.
        for stop in range(len(steps), 0, -spans):
            series.append(number)
            ends.append(int(steps[stop - 1]) + 1)
            wanted.append(min(spans, stop))
    size = max(_VALUES // (spans * windows.horizon * windows.targets), 1)
    for first in range(0, len(series), size):
        rows = slice(first, first + size)
        batch = windows.batch(np.array(series[rows]), np.array(ends[rows]), places)
        meant = np.arange(spans)[:, None] >= spans - np.array(wanted[rows])
        yield batch, np.flatnonzero(meant.reshape(-1))


def regress(
    learned: tuple[Windows, Part, int], held_out: tuple[Windows, Part, int], *, shared: bool
) -> Matrix:
    """Returns the matrices (D, C, H) of a `Ridge`.

    Args:
        learned, held_out: windows, a part of their series, and the stride of the origins in it.
        shared: see `Ridge`.
    """

    def whole(of: tuple[Windows, Part, int]) -> Iterator[tuple[Array, Array, Array, Array]]:
        for batch, meant in roll(*of):
            targets, observed = batch.targets[:, meant], batch.observed[:, meant]
            yield batch.history[meant], batch.last[meant], targets, observed

    windows = learned[0]
    fit = Ridge(windows.targets, windows.context, windows.horizon)
    for window in whole(learned):
        fit.add(*window)
    return fit.solve(whole(held_out), shared=shared)


def errors(model: ForecastModel, windows: Windows, part: Part, stride: int) -> list[float]:
    """Returns the root of the mean squared error of each target, standardised; 1 if untold."""
    squares, counts = np.zeros(windows.targets), np.zeros(windows.targets)
    for batch, meant in roll(windows, part, stride):
        params = model(*batch.inputs(), resets=batch.resets)[:, meant]
        observed = batch.observed[:, meant]
        away = (model.distribution.mean(params) - batch.targets[:, meant]) * observed
        squares += np.square(away, dtype=np.float64).sum(axis=(0, 1))
        counts += observed.sum(axis=(0, 1), dtype=np.float64)
    found: list[float] = np.where(
        counts > 0, np.sqrt(squares / np.maximum(counts, 1)), 1.0
    ).tolist()
    return found


@dataclass(frozen=True)
class Backtest:
    """Forecasts of a model beside those of others, with what came true.

    Attributes:
        rows: method -> scores, the model first.
        series: series -> scores of the model, where they are asked for.
        windows: how many forecasts were made.
    """

    rows: tuple[tuple[str, Scores], ...]
    series: tuple[tuple[str, Scores], ...]
    windows: int


def backtest(
    model: ForecastModel,
    panel: Panel,
    scales: Sequence[Scale],
    windows: Windows,
    part: Part,
    *,
    stride: int,
    regression: Matrix | None,
    learned: Indices,
    by_series: bool = False,
) -> Backtest:
    """Scores a model, the last value, the last season and a regression on the same windows.

    Args:
        scales: of the series; "standardised" means by these.
        regression: matrices of `baselines.Ridge`; None = leave it out.
        learned: (series,) steps that the model learned from: the MASE is relative to them.
        by_series: score each series too.
    """
    count = windows.targets
    season = windows.season
    together = Scale(
        np.array([scale.mean[:count] for scale in scales]),
        np.array([scale.deviation[:count] for scale in scales]),
        scales[0].logs,
    )
    # In the units of the data, of logarithms too.
    deviations = np.array(
        [
            Scale.of(series, max(end, 1)).deviation[:count]
            for series, end in zip(panel.series, learned.tolist(), strict=True)
        ]
    )
    seasonal = np.array(
        [
            _seasonal_error(series.targets[:end], season)
            for series, end in zip(panel.series, learned.tolist(), strict=True)
        ]
    )
    intervals = model.config["distribution"] != "point"
    truths: list[Values] = []
    found: dict[str, list[Values]] = {}
    bands: list[Values] = []
    owners: list[Indices] = []
    for batch, meant in roll(windows, part, stride):
        params = model(*batch.inputs(), resets=batch.resets)[:, meant]
        last, history = batch.last[meant], batch.history[meant]
        horizon = len(params)
        forecasts: dict[str, Array] = {
            _OURS: model.distribution.mean(params),
            "last value": naive(last, horizon),
        }
        if season > 1:
            forecasts["last season"] = seasonal_naive(last, history, horizon, season)
        if regression is not None:
            forecasts["regression"] = linear(last, history, regression)
        owner = np.tile(batch.series, len(batch.origins))[meant]
        owners.append(owner)
        scale = Scale(together.mean[owner], together.deviation[owner], together.logs)
        for name, values in forecasts.items():
            found.setdefault(name, []).append(scale.back(values))
        truth = scale.back(batch.targets[:, meant])
        truths.append(np.where(batch.observed[:, meant] > 0.0, truth, np.nan))
        if intervals:
            band = model.distribution.quantiles(params, LEVELS)
            bands.append(np.moveaxis(scale.back(np.moveaxis(band, -1, 0)), 0, -1))
    if not owners:
        raise ValueError(
            f"there is no stretch of {windows.horizon:,} steps to score forecasts on: hold out "
            "more with --test, or choose a shorter --horizon"
        )
    of = np.concatenate(owners)
    truth = np.concatenate(truths, axis=1)
    forecasts_of = {name: np.concatenate(parts, axis=1) for name, parts in found.items()}
    all_bands = np.concatenate(bands, axis=1) if intervals else None

    def scored(name: str, which: Indices | slice) -> Scores:
        ours = all_bands if name == _OURS else None
        return score(
            truth[:, which],
            forecasts_of[name][:, which],
            deviations[of[which]],
            seasonal[of[which]],
            None if ours is None else ours[:, which],
        )

    rows = tuple((name, scored(name, slice(None))) for name in forecasts_of)
    singles = tuple(
        (panel.series[number].name, scored(_OURS, np.flatnonzero(of == number)))
        for number in (np.unique(of).tolist() if by_series else ())
    )
    return Backtest(rows, singles, truth.shape[1])


def _seasonal_error(targets: Values, season: int) -> Values:
    """(D,) mean absolute error of the seasonal naive forecast one season ahead; 0 if untold."""
    season = min(season, max(len(targets) - 1, 1))
    errors = np.abs(targets[season:] - targets[:-season])
    observed = ~np.isnan(errors)
    total = np.where(observed, errors, 0.0).sum(axis=0)
    mean: Values = total / np.maximum(observed.sum(axis=0), 1)
    return mean
