"""What any forecast has to beat: the last value, the last season, and a linear regression."""

from collections.abc import Iterable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unrolled.training import Array

Matrix = NDArray[np.float64]

#: Strengths of the ridge to choose from, as shares of the mean square of the inputs.
_STRENGTHS = tuple(float(s) for s in 10.0 ** np.arange(-4.0, 2.0, 0.5))


def naive(last: Array, horizon: int) -> Array:
    """The last value again and again: last (N, D) -> (H, N, D)."""
    return np.repeat(last[None], horizon, axis=0)


def seasonal_naive(last: Array, history: Array, horizon: int, season: int) -> Array:
    """The values of the last season again: history (N, D, C) minus last (N, D) -> (H, N, D).

    The last value again where the history is shorter than a season.
    """
    count = history.shape[2]
    if season > count or season < 2:
        return naive(last, horizon)
    places = count - season + np.arange(horizon) % season
    return np.moveaxis(history[:, :, places], 2, 0) + last


class Ridge:
    """Linear regression of each target's next H values on its last C, all minus the last one.

    One matrix for each target, drawn towards one that all targets share; how strongly the shared
    one is drawn to zero and the others to it is chosen by the error on windows held out.

        A   = argmin sum_d ||Y_d - A X_d||^2 + a ||A||^2
        A_d = argmin ||Y_d - A_d X_d||^2 + b ||A_d - A||^2

    With `shared=False`, A is zero: a regression of its own for each target.
    """

    def __init__(self, targets: int, context: int, horizon: int) -> None:
        self._squares = np.zeros((targets, context, context))
        self._products = np.zeros((targets, context, horizon))

    def add(self, history: Array, last: Array, targets: Array, observed: Array) -> None:
        """Takes windows in: history (N, D, C), last (N, D), targets and observed (H, N, D).

        Windows in which something is missing are left out.
        """
        whole: Array = np.asarray(observed.all(axis=0))
        for d in range(history.shape[1]):
            rows = np.flatnonzero(whole[:, d])
            x = history[rows, d].astype(np.float64)
            y = (targets[:, rows, d] - last[rows, d]).T.astype(np.float64)
            self._squares[d] += x.T @ x
            self._products[d] += x.T @ y

    def solve(
        self, held_out: Iterable[tuple[Array, Array, Array, Array]], *, shared: bool = True
    ) -> Matrix:
        """Returns the matrices (D, C, H) that do best on windows as `add` takes them."""
        judge = Ridge(*self._products.shape)
        for window in held_out:
            judge.add(*window)
        common: Matrix = np.zeros(self._products.shape[1:])
        if shared:
            pooled = [
                _ridge(self._squares.sum(axis=0), self._products.sum(axis=0), strength, common)
                for strength in _STRENGTHS
            ]
            everywhere = range(len(self))
            common = min(pooled, key=lambda a: sum(judge._error(d, a) for d in everywhere))
        chosen = []
        for d in range(len(self)):
            found = [
                _ridge(self._squares[d], self._products[d], strength, common)
                for strength in _STRENGTHS
            ]
            if shared:
                found.append(common)
            chosen.append(min(found, key=partial(judge._error, d)))
        return np.array(chosen)

    def __len__(self) -> int:
        return len(self._squares)

    def _error(self, d: int, matrix: Matrix) -> float:
        """The squared error on all windows, less what no matrix changes."""
        fit = self._squares[d] @ matrix - 2.0 * self._products[d]
        return float((matrix * fit).sum())


def _ridge(squares: Matrix, products: Matrix, strength: float, towards: Matrix) -> Matrix:
    weight = strength * max(float(np.trace(squares)) / len(squares), 1e-12)
    eye = weight * np.eye(len(squares))
    solved = np.linalg.solve(squares + eye, products + weight * towards)
    return np.asarray(solved, np.float64)


def linear(last: Array, history: Array, matrices: Matrix) -> Array:
    """The forecasts of `Ridge`: (H, N, D)."""
    found = np.einsum("ndc,dch->hnd", history, matrices.astype(history.dtype), optimize=True)
    forecast: Array = found + last
    return forecast
