"""How much of what recurrent layers add to a regression stays: what the held-out part bears out.

Shapes: C context, H horizon, W forecasts, D targets.
"""

import numpy as np

from unrolled.models import ForecastModel
from unrolled.training import Array

from .baselines import Matrix, linear
from .data import Values
from .rolling import Part, Rolled, roll_model
from .windows import Indices, Windows


def keep_what_helps(
    model: ForecastModel, windows: Windows, part: Part, stride: int, regression: Matrix
) -> Values:
    """Draws a model to the regression that it began as, and returns how much of it stays, (D,).

    Sets `model.keep`, and moves the matrices of the linear path back by the rest. On the part that
    this is chosen by, the squared error is then no larger than that of the regression.

    Args:
        part: what chooses the model, with its windows and the stride of the origins in it.
        regression: matrices (D, C + 1, H) that the linear path began as.
    """
    path = {"regression": lambda last, history: linear(last, history, regression)}
    model.keep = None
    rolled = roll_model(model, windows, part, stride, others=path)
    keep = weights(rolled, windows.horizon)
    for d, each in enumerate(model.linear):
        began = {"weight": regression[d, :-1].T * model.context, "bias": regression[d, -1]}
        for name, values in each.parameters.items():
            values[...] = began[name] + keep[d] * (values - began[name])
    model.keep = keep
    return keep


def weights(rolled: Rolled, horizon: int) -> Values:
    """Returns the weight of the model beside the regression for each target, (D,), in 0..1.

    Least squares, less one standard error: of two that could as well be the best, the simpler one.

        w = sum x e / sum x^2 - s    with e = y - regression, x = model - regression

    Errors of forecasts that overlap hang together, so the standard error is that of sums over
    stretches of H steps. Weights of their own for each step of the horizon carried over less well
    from one half of the held-out part to the other. Source: the rule of one standard error is that
    of Breiman, Friedman, Olshen and Stone, "Classification and regression trees", 1984; the error
    of clustered sums that of Liang and Zeger, 1986.
    """
    base = rolled.others["regression"].astype(np.float64)
    x, error = rolled.mean - base, rolled.truth - base
    x, error = (np.where(np.isnan(error), 0.0, each) for each in (x, error))
    squares = np.maximum((x * x).sum(axis=(0, 1)), np.finfo(np.float64).tiny)
    slope = (x * error).sum(axis=(0, 1)) / squares
    stretches = _stretches(rolled.series, rolled.steps // horizon)
    count = int(stretches.max()) + 1
    if count < 2:  # nothing to tell an error by
        return np.asarray(np.clip(slope, 0.0, 1.0))
    scores = np.zeros((count, x.shape[2]))
    np.add.at(scores, stretches, (x * (error - slope * x)).sum(axis=0))
    spread = np.sqrt((scores * scores).sum(axis=0) * count / (count - 1)) / squares
    kept: Values = np.clip(slope - spread, 0.0, 1.0)
    return kept


def _stretches(series: Indices, blocks: Array) -> Indices:
    """Numbers of the different pairs, (W,)."""
    _, numbers = np.unique(np.stack([series, blocks]), axis=1, return_inverse=True)
    return np.asarray(numbers, np.int64).reshape(-1)
