"""What a forecast says of a number: distributions, their losses, and what is read from them.

Shapes: params (..., P), all else (...). The first `located` of the P parameters are on the axis of
the numbers: whoever forecasts relative to something adds it to them.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import ClassVar, Protocol

import numpy as np

from ..layers._types import Array

#: (mean loss over what was observed, pullback: dloss -> dparams).
Loss = tuple[float, Callable[[float], Array]]

#: The least scale, in the units of standardised numbers.
_LEAST = 1e-3


class Distribution(Protocol):
    """What a head of a forecasting model puts out."""

    parameters: int
    located: int

    def loss_vjp(self, params: Array, targets: Array, observed: Array) -> Loss:
        """The mean loss of the targets that were observed (1.0, else 0.0), and its pullback."""

    def mean(self, params: Array) -> Array:
        """The forecast as one number."""

    def quantiles(self, params: Array, levels: Sequence[float]) -> Array:
        """(..., Q) for levels in 0..1.

        Raises:
            ValueError: the head has no intervals.
        """

    def sample(self, params: Array, rng: np.random.Generator) -> Array:
        """One draw of each."""

    def start(self, error: float) -> list[float]:
        """The P parameters of forecasts of zero whose errors have this size."""


class Point:
    """One number, the mean: squared error."""

    parameters, located = 1, 1

    def loss_vjp(self, params: Array, targets: Array, observed: Array) -> Loss:
        """(y - m)^2."""
        error = params[..., 0] - targets
        return _mean(error * error, observed, lambda: (2.0 * error)[..., None])

    def mean(self, params: Array) -> Array:
        """m."""
        mean: Array = params[..., 0]
        return mean

    def quantiles(self, params: Array, levels: Sequence[float]) -> Array:
        """There are none."""
        raise ValueError('a model with the head "point" has no intervals: train with another head')

    def sample(self, params: Array, rng: np.random.Generator) -> Array:
        """m."""
        return self.mean(params)

    def start(self, error: float) -> list[float]:
        """m = 0."""
        return [0.0]


class Gaussian:
    """Mean m and scale s = softplus(a): the logarithmic loss of the normal distribution."""

    parameters, located = 2, 1

    def loss_vjp(self, params: Array, targets: Array, observed: Array) -> Loss:
        """log s + r^2 / 2 + log(2 pi) / 2 with r = (y - m) / s."""
        scale, slope = _scale(params[..., 1])
        r = (targets - params[..., 0]) / scale
        losses = np.log(scale) + 0.5 * r * r + 0.5 * math.log(2.0 * math.pi)
        return _mean(
            losses, observed, lambda: np.stack([-r / scale, (1.0 - r * r) / scale * slope], axis=-1)
        )

    def mean(self, params: Array) -> Array:
        """m."""
        mean: Array = params[..., 0]
        return mean

    def quantiles(self, params: Array, levels: Sequence[float]) -> Array:
        """m + s z(level)."""
        deviates = np.array([NormalDist().inv_cdf(level) for level in levels], params.dtype)
        found: Array = params[..., :1] + _scale(params[..., 1])[0][..., None] * deviates
        return found

    def sample(self, params: Array, rng: np.random.Generator) -> Array:
        """m + s z."""
        z = rng.standard_normal(params.shape[:-1]).astype(params.dtype)
        drawn: Array = params[..., 0] + _scale(params[..., 1])[0] * z
        return drawn

    def start(self, error: float) -> list[float]:
        """m = 0, s = error."""
        return [0.0, _inverse_scale(error)]


class StudentT:
    """Location m, scale s = softplus(a), and v = 2 + softplus(b) degrees of freedom: outliers.

    Source: the output of DeepAR for real numbers, as GluonTS has it.
    """

    parameters, located = 3, 1

    def loss_vjp(self, params: Array, targets: Array, observed: Array) -> Loss:
        """-log of the density, with r = (y - m) / s.

        lgamma(v/2) - lgamma((v+1)/2) + log(pi v)/2 + log s + (v+1)/2 log(1 + r^2/v)
        """
        scale, slope = _scale(params[..., 1])
        freedom, freedom_slope = self._freedom(params)
        r = (targets - params[..., 0]) / scale
        square = r * r
        half, spread = 0.5 * (freedom + 1.0), np.log1p(square / freedom)
        losses = (
            log_gamma(0.5 * freedom)
            - log_gamma(half)
            + 0.5 * np.log(math.pi * freedom)
            + np.log(scale)
            + half * spread
        )

        def gradient() -> Array:
            pulled = 2.0 * half * r / (freedom + square)
            dfreedom = 0.5 * (digamma(0.5 * freedom) - digamma(half) + 1.0 / freedom + spread)
            dfreedom -= half * square / (freedom * (freedom + square))
            return np.stack(
                [-pulled / scale, (1.0 - pulled * r) / scale * slope, dfreedom * freedom_slope],
                axis=-1,
            )

        return _mean(losses, observed, gradient)

    def mean(self, params: Array) -> Array:
        """m."""
        mean: Array = params[..., 0]
        return mean

    def quantiles(self, params: Array, levels: Sequence[float]) -> Array:
        """m + s t(level, v)."""
        scale, freedom = _scale(params[..., 1])[0], self._freedom(params)[0]
        found = [params[..., 0] + scale * t_quantile(level, freedom) for level in levels]
        return np.stack(found, axis=-1).astype(params.dtype)

    def sample(self, params: Array, rng: np.random.Generator) -> Array:
        """m + s t."""
        t = rng.standard_t(self._freedom(params)[0].astype(np.float64)).astype(params.dtype)
        drawn: Array = params[..., 0] + _scale(params[..., 1])[0] * t
        return drawn

    def start(self, error: float) -> list[float]:
        """m = 0, v = 6 and the s with which the deviation, s sqrt(v / (v - 2)), is the error."""
        return [0.0, _inverse_scale(error * math.sqrt(4.0 / 6.0)), _inverse_scale(4.0)]

    @staticmethod
    def _freedom(params: Array) -> tuple[Array, Array]:
        more, slope = _softplus(params[..., 2])
        return 2.0 + _LEAST + more, slope


class Quantiles:
    """The quantiles of fixed levels, one parameter each: the pinball loss (Koenker and Bassett)."""

    levels: ClassVar[tuple[float, ...]] = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
    parameters = located = len(levels)

    def loss_vjp(self, params: Array, targets: Array, observed: Array) -> Loss:
        """The mean over levels of 2 max(level d, (level - 1) d) with d = y - q."""
        levels = np.array(self.levels, params.dtype)
        away = targets[..., None] - params
        above = (away > 0.0).astype(params.dtype)
        slopes = 2.0 * (levels - 1.0 + above) / len(levels)
        return _mean((slopes * away).sum(axis=-1), observed, lambda: -slopes)

    def mean(self, params: Array) -> Array:
        """The median."""
        return self.quantiles(params, [0.5])[..., 0]

    def quantiles(self, params: Array, levels: Sequence[float]) -> Array:
        """Between the levels by interpolation, in order even where the parameters are not."""
        known, wanted = np.array(self.levels), np.asarray(levels)
        if wanted.min() < known[0] or wanted.max() > known[-1]:
            raise ValueError(
                f'the head "quantile" knows levels from {known[0]} to {known[-1]}, not {levels}'
            )
        ordered = np.sort(params, axis=-1)
        right = np.clip(np.searchsorted(known, wanted), 1, len(known) - 1)
        part = ((wanted - known[right - 1]) / (known[right] - known[right - 1])).astype(
            params.dtype
        )
        found: Array = ordered[..., right - 1] * (1.0 - part) + ordered[..., right] * part
        return found

    def sample(self, params: Array, rng: np.random.Generator) -> Array:
        """The quantile of a random level, between the lowest and the highest one."""
        ordered, top = np.sort(params, axis=-1), len(self.levels) - 1
        level = rng.uniform(self.levels[0], self.levels[-1], params.shape[:-1])
        place = np.interp(level, self.levels, np.arange(top + 1))
        left = np.minimum(place.astype(np.int64), top - 1)[..., None]
        low, high = (np.take_along_axis(ordered, left + i, axis=-1)[..., 0] for i in (0, 1))
        part = place - left[..., 0]
        drawn: Array = (low * (1.0 - part) + high * part).astype(params.dtype)
        return drawn

    def start(self, error: float) -> list[float]:
        """Those of a normal distribution of this deviation."""
        return [error * NormalDist().inv_cdf(level) for level in self.levels]


DISTRIBUTIONS: dict[str, Distribution] = {
    "point": Point(),
    "gaussian": Gaussian(),
    "student-t": StudentT(),
    "quantile": Quantiles(),
}


def _mean(losses: Array, observed: Array, gradient: Callable[[], Array]) -> Loss:
    """The mean of what was observed; `gradient` gives that of each loss."""
    count = float(observed.sum(dtype=np.float64))
    loss = float((losses * observed).sum(dtype=np.float64)) / max(count, 1.0)

    def pullback(dloss: float) -> Array:
        weights = observed * observed.dtype.type(dloss / max(count, 1.0))
        dparams: Array = (gradient() * weights[..., None]).astype(observed.dtype, copy=False)
        return dparams

    return loss, pullback


def _softplus(a: Array) -> tuple[Array, Array]:
    """log(1 + e^a), and its derivative."""
    small = np.exp(-np.abs(a))
    slope = np.where(a > 0.0, 1.0, small) / (1.0 + small)
    return np.maximum(a, 0.0) + np.log1p(small), slope


def _scale(a: Array) -> tuple[Array, Array]:
    value, slope = _softplus(a)
    return value + _LEAST, slope


def _inverse_scale(scale: float) -> float:
    """The a of which `_scale` is this, or about its least value."""
    more = max(scale - _LEAST, _LEAST)
    return more + math.log(-math.expm1(-more))


def log_gamma(x: Array) -> Array:
    """log Gamma(x) for x > 0: Stirling's series from x + 6 on (Abramowitz and Stegun, 6.1.41).

    Error below 1e-9 of max(1, result) in float64.
    """
    x = x.astype(np.float64)
    shift = np.ones_like(x)
    for i in range(6):
        shift *= x + i
    y = x + 6.0
    inverse = 1.0 / (y * y)
    series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse / 1260.0)) / y
    result: Array = (y - 0.5) * np.log(y) - y + 0.5 * math.log(2.0 * math.pi) + series
    result -= np.log(shift)
    return result


def digamma(x: Array) -> Array:
    """The derivative of log Gamma for x > 0 (Abramowitz and Stegun, 6.3.18, from x + 6 on)."""
    x = x.astype(np.float64)
    shift = np.zeros_like(x)
    for i in range(6):
        shift += 1.0 / (x + i)
    y = x + 6.0
    inverse = 1.0 / (y * y)
    series = inverse * (1.0 / 12.0 - inverse * (1.0 / 120.0 - inverse / 252.0))
    result: Array = np.log(y) - 0.5 / y - series
    result -= shift
    return result


def t_quantile(level: float, freedom: Array) -> Array:
    """The quantile of Student's t distribution with `freedom` >= 2 degrees of freedom.

    Source: Hill, "Algorithm 396: Student's t-quantiles", 1970. The probability below the result is
    off by less than 3e-4 at 2 degrees of freedom, 1e-5 from 2.5 on.
    """
    if level == 0.5:
        return np.zeros_like(freedom, dtype=np.float64)
    n = freedom.astype(np.float64)
    p = 2.0 * min(level, 1.0 - level)  # of both tails
    a = 1.0 / (n - 0.5)
    b = 48.0 / (a * a)
    c = ((20700.0 * a / b - 98.0) * a - 16.0) * a + 96.36
    d = ((94.5 / (b + c) - 3.0) / b + 1.0) * np.sqrt(a * math.pi / 2.0) * n
    tail = (d * p) ** (2.0 / n)
    # Near the middle: an expansion about the normal deviate.
    x = NormalDist().inv_cdf(0.5 * p)
    near = np.where(n < 5.0, c + 0.3 * (n - 4.5) * (x + 0.6), c)
    near = (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b + near
    square = x * x
    series = (((0.4 * square + 6.3) * square + 36.0) * square + 94.5) / near - square - 3.0
    y = (series / b + 1.0) * x
    middle = np.expm1(a * y * y)
    # In the tails: an expansion about infinity.
    far = (n + 6.0) / (n * tail) - 0.089 * d - 0.822
    far = (1.0 / (far * (n + 2.0) * 3.0) + 0.5 / (n + 4.0)) * tail - 1.0
    far = far * (n + 1.0) / (n + 2.0) + 1.0 / tail
    t: Array = np.sqrt(n * np.where(tail > 0.05 + a, middle, far))
    return t if level > 0.5 else -t
