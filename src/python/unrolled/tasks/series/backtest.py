"""Scores of forecasts as they would have been made at the time, beside others'."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from unrolled.models import ForecastModel
from unrolled.training import Array

from .baselines import Matrix, linear, naive, seasonal_naive
from .calibration import BAND, Spread, followed, widened
from .data import Panel, Values
from .rolling import Part, Rolled, Simple, roll_model
from .scores import LEVELS, Scores, score, table
from .windows import Indices, Scale, Windows

#: What the model is called in tables.
_OURS = "this model"


@dataclass(frozen=True)
class Backtest:
    """Forecasts of a model beside those of others, with what came true.

    Attributes:
        rows: method -> scores, the model first.
        series: series -> scores of the model, where they are asked for.
        windows: how many forecasts were made.
        fixed: share of the truth in the 90% interval without following what came true; None
            without calibration.
    """

    rows: tuple[tuple[str, Scores], ...]
    series: tuple[tuple[str, Scores], ...]
    windows: int
    fixed: float | None = None


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
    spread: Spread | None = None,
    by_series: bool = False,
) -> Backtest:
    """Scores a model, the last value, the last season and a regression on the same windows.

    Args:
        scales: of the series; "standardised" means by these.
        regression: matrices of `baselines.Ridge`; None = leave it out.
        learned: (series,) steps that the model learned from: the MASE is relative to them.
        spread: how intervals are calibrated; from there on they follow what came true, as in
            `Forecaster.predict` and in a stream.
        by_series: score each series too.

    Raises:
        ValueError: no forecast fits into the part.
    """
    count, season = windows.targets, windows.season
    others: dict[str, Simple] = {"last value": lambda last, _: naive(last, windows.horizon)}
    if season > 1:
        others["last season"] = partial(_season, horizon=windows.horizon, season=season)
    if regression is not None:
        others["regression"] = partial(linear, matrices=regression)
    try:
        rolled = roll_model(model, windows, part, stride, levels=LEVELS, others=others)
    except ValueError as error:
        raise ValueError(
            f"{error}: hold out more with --test, or choose a shorter --horizon"
        ) from None
    together = Scale(
        np.array([scale.mean[:count] for scale in scales])[rolled.series],
        np.array([scale.deviation[:count] for scale in scales])[rolled.series],
        scales[0].logs,
    )
    # In the units of the data, of logarithms too.
    ends = learned.tolist()
    deviations = np.array(
        [
            Scale.of(series, max(end, 1)).deviation[:count]
            for series, end in zip(panel.series, ends, strict=True)
        ]
    )
    seasonal = np.array(
        [
            _seasonal_error(series.targets[:end], season)
            for series, end in zip(panel.series, ends, strict=True)
        ]
    )
    truth = together.back(rolled.truth)
    forecasts = {_OURS: together.back(rolled.mean)}
    forecasts.update({name: together.back(each) for name, each in rolled.others.items()})
    bands = _bands(rolled, rolled.bands, together)
    fixed: float | None = None
    if spread is not None and rolled.levels:
        plain = _bands(rolled, widened(rolled.bands, _median(rolled), spread[:, None]), together)
        fixed = _scored(truth, forecasts[_OURS], deviations, seasonal, rolled, plain).coverage
        adapted = followed(spread, rolled, stride)
        bands = _bands(rolled, widened(rolled.bands, _median(rolled), adapted), together)

    def scored(name: str, which: Indices | slice = slice(None)) -> Scores:
        ours = bands if name == _OURS else None
        return _scored(truth, forecasts[name], deviations, seasonal, rolled, ours, which)

    rows = tuple((name, scored(name)) for name in forecasts)
    singles = tuple(
        (panel.series[number].name, scored(_OURS, np.flatnonzero(rolled.series == number)))
        for number in (np.unique(rolled.series).tolist() if by_series else ())
    )
    return Backtest(rows, singles, truth.shape[1], fixed)


def _scored(
    truth: Values,
    forecast: Values,
    deviations: Values,
    seasonal: Values,
    rolled: Rolled,
    bands: Values | None,
    which: Indices | slice = slice(None),
) -> Scores:
    of = rolled.series[which]
    ours = None if bands is None else bands[:, which]
    return score(truth[:, which], forecast[:, which], deviations[of], seasonal[of], ours)


def _median(rolled: Rolled) -> Array:
    """(H, W, D)."""
    median: Array = rolled.bands[..., rolled.levels.index(BAND[1])]
    return median


def _bands(rolled: Rolled, bands: Array, scale: Scale) -> Values | None:
    """In the units of the data, (H, W, D, Q)."""
    if not rolled.levels:
        return None
    return np.moveaxis(scale.back(np.moveaxis(bands, -1, 0)), 0, -1)


def _season(last: Array, history: Array, *, horizon: int, season: int) -> Array:
    return seasonal_naive(last, history, horizon, season)


def lines(found: Backtest) -> list[str]:
    """Returns the table of scores, with what is to be said below it."""
    text = table(found.rows)
    if found.fixed is not None:
        text.append(
            "(intervals follow what came true on the way, as those of forecasts do; without that "
            f"{found.fixed:.1%})"
        )
    return text


def _seasonal_error(targets: Values, season: int) -> Values:
    """(D,) mean absolute error of the seasonal naive forecast one season ahead; 0 if untold."""
    season = min(season, max(len(targets) - 1, 1))
    errors = np.abs(targets[season:] - targets[:-season])
    observed = ~np.isnan(errors)
    total = np.where(observed, errors, 0.0).sum(axis=0)
    mean: Values = total / np.maximum(observed.sum(axis=0), 1)
    return mean
