"""How good forecasts are.

Shapes: W forecasts, H horizon, D targets, Q levels. NaN in the truth counts for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .data import Values

#: The levels whose pinball loss makes up the CRPS, and the interval whose coverage is told.
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
_INTERVAL = (0.05, 0.95)


@dataclass(frozen=True)
class Scores:
    """Errors of many forecasts; those in a series' own deviations are called standardised.

    Attributes:
        mse, mae: squared and absolute error, standardised.
        rmse: in the units of the data.
        smape: mean of 200 |y - f| / (|y| + |f|), in percent.
        mase: absolute error over that of the seasonal naive forecast inside the training part.
        crps: continuous ranked probability score, standardised: twice the mean pinball loss over
            `LEVELS`; None without intervals.
        coverage: share of the truth inside the 90% interval, 0..1; None without intervals.
    """

    mse: float
    mae: float
    rmse: float
    smape: float
    mase: float
    crps: float | None = None
    coverage: float | None = None


def score(
    truth: Values,
    forecast: Values,
    deviation: Values,
    seasonal_error: Values,
    quantiles: Values | None = None,
    levels: Sequence[float] = LEVELS,
) -> Scores:
    """Scores forecasts.

    Args:
        truth: (H, W, D), NaN where missing.
        forecast: (H, W, D).
        deviation: (W, D) of each series, what "standardised" divides by.
        seasonal_error: (W, D) mean absolute error of the seasonal naive forecast in training.
        quantiles: (H, W, D, Q) at `levels`.
    """
    observed = ~np.isnan(truth)
    error = np.where(observed, truth - forecast, 0.0)
    count = max(int(observed.sum()), 1)
    scaled = error / deviation
    size = np.abs(np.where(observed, truth, 0.0)) + np.abs(forecast)
    relative = 2.0 * np.abs(error) / np.where(size > 0.0, size, 1.0)
    usable = np.where(seasonal_error > 0.0, seasonal_error, np.nan)
    mase = np.abs(error) / usable
    mase_count = (observed & ~np.isnan(usable)).sum()
    crps = coverage = None
    if quantiles is not None:
        away = np.where(observed, truth, 0.0)[..., None] - quantiles
        asked = np.asarray(levels)
        pinball = np.maximum(asked * away, (asked - 1.0) * away).mean(axis=-1) / deviation
        crps = float(2.0 * np.where(observed, pinball, 0.0).sum() / count)
        low, high = (quantiles[..., list(levels).index(level)] for level in _INTERVAL)
        coverage = float((observed & (truth >= low) & (truth <= high)).sum() / count)
    return Scores(
        mse=float((scaled * scaled).sum() / count),
        mae=float(np.abs(scaled).sum() / count),
        rmse=float(np.sqrt((error * error).sum() / count)),
        smape=float(100.0 * relative.sum() / count),
        mase=float(np.nansum(mase) / mase_count) if mase_count else float("nan"),
        crps=crps,
        coverage=coverage,
    )


def table(rows: Sequence[tuple[str, Scores]]) -> list[str]:
    """Returns scores as lines of text, a method each."""
    lines = [
        f"{'':16s} {'MSE':>8s} {'MAE':>8s} {'RMSE':>10s} {'sMAPE':>8s} {'MASE':>7s} {'CRPS':>7s}  "
        "in 90%"
    ]
    for name, s in rows:
        crps = "" if s.crps is None else f"{s.crps:7.3f}"
        coverage = "" if s.coverage is None else f"{s.coverage:8.1%}"
        lines.append(
            f"{name:16s} {s.mse:8.4f} {s.mae:8.4f} {s.rmse:10.4g} {s.smape:7.2f}% {s.mase:7.3f} "
            f"{crps:>7s}{coverage}"
        )
    return lines
