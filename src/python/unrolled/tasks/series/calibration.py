"""Intervals made as wide as they have to be: by what came true where nothing was learned.

A model's 90% interval need not hold 90% of what comes. Split conformal prediction asks of each
forecast of the part that chooses the model how far the truth was from the median, in half-widths of
the interval on its side: the 90% quantile of these, a step of the horizon and a target at a time,
is what all distances from the median are multiplied by. Forecasts that overlap say less than so
many that do not, so the factor is raised as the deviates of a normal distribution are where the
deviation is known from so few (Student's t). As series go on, the factors follow, in a stream and
in tables (`catch_up`): each value that comes true outside makes them larger, each inside a little
smaller, until one of ten is outside.

Sources: Romano, Patterson and Candes, "Conformalized quantile regression", 2019; Gibbs and Candes,
"Adaptive conformal inference under distribution shift", 2021; Angelopoulos, Candes and Tibshirani,
"Conformal PID control for time series prediction", 2023 (quantile tracking).

Shapes: H horizon, W forecasts, D targets, Q levels; factors (H, D).
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TypeAlias

import numpy as np

from unrolled.models import t_quantile
from unrolled.training import Array

from .data import Values
from .rolling import Rolled

#: Factors (H, D) of the distance from the median.
Spread: TypeAlias = Values

#: The interval that is calibrated, with the median.
BAND = (0.05, 0.5, 0.95)
_INSIDE = BAND[2] - BAND[0]

#: How much a value that came true moves the logarithm of a factor, per step of the horizon: so that
#: forecasts that share no step move it by about as much as in quantile tracking.
_RATE = 0.1

#: Factors are kept between one over this and this.
_MOST = 20.0

#: The least half-width that a distance is measured by, standardised.
_LEAST = 1e-6


def checked_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Returns the levels of quantiles; ValueError unless all are between 0 and 1."""
    for level in levels:
        if not 0.0 < level < 1.0:
            raise ValueError(f"expected levels of quantiles between 0 and 1, got {level}")
    return tuple(levels)


def away(truth: Array, bands: Array) -> Values:
    """Distances from the median in half-widths: truth (...), bands (..., 3) of `BAND`."""
    low, median, high = np.moveaxis(bands.astype(np.float64), -1, 0)
    above = truth >= median
    width = np.where(above, high - median, median - low)
    found: Values = np.abs(truth - median) / np.maximum(width, _LEAST)
    return found


def calibrate(rolled: Rolled, stride: int) -> Spread:
    """Returns the factors that forecasts of a held-out part call for.

    Of n forecasts that were observed it is the ceil(0.9 (n + 1))-th smallest distance: with it the
    next one is inside with a probability of at least 90%, if it is as they are. With fewer than
    nine that is more than was seen; the largest is taken. Of n forecasts `stride` apart about
    n * stride / H share no step.
    """
    bands = np.stack([rolled.bands[..., rolled.levels.index(level)] for level in BAND], axis=-1)
    distances = np.sort(away(rolled.truth, bands), axis=1)  # NaN at the end
    counts = (~np.isnan(distances)).sum(axis=1)  # (H, D)
    ranks = np.minimum(np.ceil(_INSIDE * (counts + 1) - 1e-9).astype(np.int64), counts)
    chosen = np.take_along_axis(distances, np.maximum(ranks - 1, 0)[:, None], axis=1)[:, 0]
    apart = counts * min(stride / len(counts), 1.0)
    raised = t_quantile(BAND[2], np.maximum(apart, 2.0)) / NormalDist().inv_cdf(BAND[2])
    spread: Spread = np.where(counts > 0, np.clip(chosen * raised, 1.0 / _MOST, _MOST), 1.0)
    return spread


def widened(bands: Array, median: Array, factors: Values) -> Array:
    """Returns quantiles (..., Q) with their distances from the median (...) multiplied."""
    centre = median[..., None]
    scaled: Array = centre + (bands - centre) * factors[..., None].astype(bands.dtype)
    return scaled


class Following:
    """Factors (H, D) of one series that follow what comes true."""

    def __init__(self, spread: Spread, stride: int = 1) -> None:
        self._logs = np.log(spread)
        horizon = len(spread)
        # Forecasts of step h that were made less than h apart share steps.
        self._rates = (_RATE / np.maximum(np.arange(1, horizon + 1) / stride, 1.0))[:, None]

    @property
    def factors(self) -> Spread:
        """As they are now."""
        return np.exp(self._logs)

    def see(self, steps: Array, distances: Values, used: Spread) -> None:
        """Takes what came true.

        Args:
            steps: (K,) different places in 0 .. H - 1.
            distances: (K, D), see `away`; NaN where it is not known.
            used: (K, D) factors that the forecast was made with.
        """
        outside = np.where(np.isnan(distances), 1.0 - _INSIDE, distances > used)
        moved = self._logs[steps] + self._rates[steps] * (outside - (1.0 - _INSIDE))
        self._logs[steps] = np.clip(moved, -math.log(_MOST), math.log(_MOST))


def followed(spread: Spread, rolled: Rolled, stride: int) -> Values:
    """Returns the factors (H, W, D) that forecasts would have had at their time.

    Each series begins with `spread` and knows only what had come true when a forecast was made.
    """
    bands = np.stack([rolled.bands[..., rolled.levels.index(level)] for level in BAND], axis=-1)
    distances = away(rolled.truth, bands)
    factors = np.empty_like(distances)
    behind = -(-np.arange(1, len(spread) + 1) // stride)  # forecasts until step h has come true
    for number in np.unique(rolled.series).tolist():
        places = np.flatnonzero(rolled.series == number)
        places = places[np.argsort(rolled.steps[places])]
        following = Following(spread, stride)
        for i, place in enumerate(places.tolist()):
            steps = np.flatnonzero(behind <= i)
            if steps.size:
                made = places[i - behind[steps]]
                following.see(steps, distances[steps, made], factors[steps, made])
            factors[:, place] = following.factors
    return factors
