"""What any forecast has to beat: the last value, the last season, and a linear regression."""

from collections.abc import Iterable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unrolled.training import Array

Matrix = NDArray[np.float64]

#: Strengths of the ridge to choose from, as shares of the mean square of the inputs.
_STRENGTHS = tuple(float(s) for s in 10.0 ** np.arange(-4.0, 2.0, 0.5))
_LEAST = 1e-12


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
    one is drawn to zero and the others to it, and whether there is an intercept, is chosen by the
    error on windows held out.

        A, c     = argmin sum_d ||Y_d - A X_d - c||^2 + a ||A||^2
        A_d, c_d = argmin ||Y_d - A_d X_d - c_d||^2 + b ||A_d - A||^2

    With `shared=False`, A is zero: a regression of its own for each target. Matrices are
    (C + 1, H), the last row is the intercept.
    """

    def __init__(self, targets: int, context: int, horizon: int) -> None:
        self._squares = np.zeros((targets, context + 1, context + 1))
        self._products = np.zeros((targets, context + 1, horizon))

    def add(self, history: Array, last: Array, targets: Array, observed: Array) -> None:
        """Takes windows in: history (N, D, C), last (N, D), targets and observed (H, N, D).

        Windows in which something is missing are left out.
        """
        whole: Array = np.asarray(observed.all(axis=0))
        for d in range(history.shape[1]):
            rows = np.flatnonzero(whole[:, d])
            x = np.ones((len(rows), history.shape[2] + 1))
            x[:, :-1] = history[rows, d]
            y = (targets[:, rows, d] - last[rows, d]).T.astype(np.float64)
            self._squares[d] += x.T @ x
            self._products[d] += x.T @ y

    def solve(
        self, held_out: Iterable[tuple[Array, Array, Array, Array]], *, shared: bool = True
    ) -> Matrix:
        """Returns the matrices (D, C + 1, H) that do best on windows as `add` takes them."""
        judge = Ridge(len(self), self._products.shape[1] - 1, self._products.shape[2])
        for window in held_out:
            judge.add(*window)
        common: Matrix = np.zeros(self._products.shape[1:])
        if shared:
            pooled = _ridges(self._squares.sum(axis=0), self._products.sum(axis=0), common)
            everywhere = range(len(self))
            common = min(pooled, key=lambda a: sum(judge._error(d, a) for d in everywhere))
        chosen = []
        for d in range(len(self)):
            found = _ridges(self._squares[d], self._products[d], common)
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


def _ridges(squares: Matrix, products: Matrix, towards: Matrix) -> list[Matrix]:
    """Matrices (C + 1, H) of all strengths, with an intercept, which nothing draws, and without."""
    size = float(np.trace(squares[:-1, :-1])) / max(len(squares) - 1, 1)
    found = []
    for strength in _STRENGTHS:
        weights = np.full(len(squares), strength * max(size, _LEAST))
        weights[-1] = _LEAST  # not singular without a window
        for free in (slice(None), slice(-1)):
            matrix = np.zeros_like(products)
            matrix[free] = np.linalg.solve(
                squares[free, free] + np.diag(weights[free]),
                products[free] + weights[free, None] * towards[free],
            )
            found.append(matrix)
    return found


def linear(last: Array, history: Array, matrices: Matrix) -> Array:
    """The forecasts of `Ridge`: (H, N, D)."""
    matrices = matrices.astype(history.dtype)
    found = np.einsum("ndc,dch->hnd", history, matrices[:, :-1], optimize=True)
    forecast: Array = found + matrices[:, -1].T[:, None] + last
    return forecast
