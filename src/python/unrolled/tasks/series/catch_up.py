"""Intervals as they stand at the end of a series: they have followed what came true until then."""

import numpy as np

from unrolled.models import ForecastModel

from .calibration import BAND, Spread, followed
from .data import Values
from .rolling import Part, roll_model
from .windows import Indices, Windows


def catch_up(
    model: ForecastModel,
    windows: Windows,
    begins: Indices,
    ends: Indices,
    spread: Spread,
    most: int,
) -> Values:
    """Returns the factors (series, H, D) that forecasts from the ends of series have.

    Forecasts are made again from the steps that were new to the model, as a stream would have made
    them, and each value that came true moves the factors of its series; see `calibration`.

    Args:
        windows: of the series, with `ends` for limits.
        begins: (series,) the first step that the model neither learned from nor was chosen by.
        ends: (series,) 1 or more: nothing is known from here on.
        spread: what the factors of each series begin with.
        most: about so many forecasts are made.
    """
    fresh = np.maximum(ends - np.maximum(begins, 1), 0)
    found: Values = np.tile(spread, (len(ends), 1, 1))
    if not fresh.any():
        return found
    stride = max(int(fresh.sum()) // most, 1)
    # The last forecast is the one whose factors are wanted; what it is of is not known yet.
    part = Part(ends - fresh // stride * stride, ends + windows.horizon)
    rolled = roll_model(model, windows, part, stride, levels=BAND)
    factors = followed(spread, rolled, stride)
    last = np.flatnonzero(rolled.steps == ends[rolled.series] - 1)
    found[rolled.series[last]] = np.moveaxis(factors[:, last], 1, 0)
    return found
