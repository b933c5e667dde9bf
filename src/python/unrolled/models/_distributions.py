"""What a forecast says of a number: distributions, their losses, and what is read from them.

Shapes: outputs of a model (..., O), params (..., P), all else (...). The parameters are the outputs
and a location, which the forecast is relative to: a model adds what it has learned to it.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import ClassVar, Protocol

import numpy as np

from ..layers._types import Array
from ._special import digamma, incomplete_beta, log_gamma, t_quantile

#: (mean loss over what was observed, pullback: dloss -> dparams).
Loss = tuple[float, Callable[[float], Array]]

#: The least scale, in the units of standardised numbers.
_LEAST = 1e-3


#: The least dispersion of counts, and the mean, in their units, where a location is zero.
_LEAST_DISPERSION, LEAST_MEAN = 1e-4, 0.05


class Distribution(Protocol):
    """What a head of a forecasting model puts out.

    Attributes:
        outputs: O.
        counts: it is of whole numbers >= 0, and numbers are counts over a unit.
    """

    outputs: int
    counts: bool

    def place(self, outputs: Array, location: Array, units: Array) -> Array:
        """Returns the parameters: outputs (..., O), which may be written to, at their location.

        Args:
            units: (..., 1 or more) what one of the numbers stands for, of counts.
        """

    def place_pull(self, dparams: Array, location: Array) -> tuple[Array, Array]:
        """Returns the gradients of the outputs and of the location."""

    def shrink(self, outputs: Array, keep: Array) -> None:
        """Draws what outputs say of the mean to the location: `keep` of it stays, 0..1."""

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
        """The O outputs of forecasts at their location whose errors have this size."""


class _Located:
    """The first `located` of the parameters are on the axis of the numbers, and move along."""

    outputs: int
    located: int = 1
    counts = False

    def place(self, outputs: Array, location: Array, units: Array) -> Array:
        """Adds the location."""
        outputs[..., : self.located] += location[..., None]
        return outputs

    def place_pull(self, dparams: Array, location: Array) -> tuple[Array, Array]:
        """The sum over what the location is added to."""
        dlocation: Array = dparams[..., : self.located].sum(axis=-1)
        return dparams, dlocation

    def shrink(self, outputs: Array, keep: Array) -> None:
        """Moves all that is located by what is taken from the mean."""
        taken = (1.0 - keep) * self.mean(outputs)
        outputs[..., : self.located] -= taken[..., None].astype(outputs.dtype)

    def mean(self, params: Array) -> Array:
        """m."""
        mean: Array = params[..., 0]
        return mean


class Point(_Located):
    """One number, the mean: squared error."""

    outputs = 1

    def loss_vjp(self, params: Array, targets: Array, observed: Array) -> Loss:
        """(y - m)^2."""
        error = params[..., 0] - targets
        return _mean(error * error, observed, lambda: (2.0 * error)[..., None])

    def quantiles(self, params: Array, levels: Sequence[float]) -> Array:
        """There are none."""
        raise ValueError('a model with the head "point" has no intervals: train with another head')

    def sample(self, params: Array, rng: np.random.Generator) -> Array:
        """m."""
        return self.mean(params)

    def start(self, error: float) -> list[float]:
        """m = 0."""
        return [0.0]


class Gaussian(_Located):
    """Mean m and scale s = softplus(a): the logarithmic loss of the normal distribution."""

    outputs = 2

    def loss_vjp(self, params: Array, targets: Array, observed: Array) -> Loss:
        """log s + r^2 / 2 + log(2 pi) / 2 with r = (y - m) / s."""
        scale, slope = _scale(params[..., 1])
        r = (targets - params[..., 0]) / scale
        losses = np.log(scale) + 0.5 * r * r + 0.5 * math.log(2.0 * math.pi)
        return _mean(
            losses, observed, lambda: np.stack([-r / scale, (1.0 - r * r) / scale * slope], axis=-1)
        )

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


class StudentT(_Located):
    """Location m, scale s = softplus(a), and v = 2 + softplus(b) degrees of freedom: outliers.

    Source: the output of DeepAR for real numbers, as GluonTS has it.
    """

    outputs = 3

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


class Quantiles(_Located):
    """The quantiles of fixed levels, one parameter each: the pinball loss (Koenker and Bassett)."""

    levels: ClassVar[tuple[float, ...]] = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
    outputs = located = len(levels)

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


class NegativeBinomial:
    """Counts y = v u of mean w = u exp(a) and variance w + w^2 d with d = softplus(b).

    v is the number that a model sees, u its unit (DeepAR's scale, one more than the mean of the
    series), which is the third parameter as log u. A location l multiplies the mean by
    (l + sqrt(l^2 + 4 e^2)) / 2, which is l where l is well above e: the offset of a regression with
    a logarithmic link. Source: Salinas et al., "DeepAR", 2017.
    """

    outputs = 2
    counts = True

    def place(self, outputs: Array, location: Array, units: Array) -> Array:
        """Adds the location's logarithm, which is log e + asinh(l / 2 e); appends log u."""
        params = np.empty((*outputs.shape[:-1], 3), outputs.dtype)
        params[..., 0] = outputs[..., 0] + np.arcsinh(location / (2.0 * LEAST_MEAN))
        params[..., 0] += math.log(LEAST_MEAN)
        params[..., 1] = outputs[..., 1]
        params[..., 2] = np.log(units)
        return params

    def place_pull(self, dparams: Array, location: Array) -> tuple[Array, Array]:
        """The slope of the logarithm is 1 / sqrt(l^2 + 4 e^2)."""
        dlocation: Array = dparams[..., 0] / np.hypot(location, 2.0 * LEAST_MEAN)
        doutputs = np.ascontiguousarray(dparams[..., :2])
        return doutputs, dlocation.astype(dparams.dtype, copy=False)

    def shrink(self, outputs: Array, keep: Array) -> None:
        """The logarithm of what the mean is multiplied by."""
        outputs[..., 0] *= keep

    def loss_vjp(self, params: Array, targets: Array, observed: Array) -> Loss:
        """log y! + lgamma(r) - lgamma(y + r) + (r + y) log(1 + d w) - y log(d w) with r = 1 / d."""
        mean, spread, slope, unit = self._read(params)
        y, r = np.rint(targets * unit), 1.0 / spread
        both, more = spread * mean, np.log1p(spread * mean)
        losses = log_gamma(y + 1.0) + log_gamma(r) - log_gamma(y + r) + (r + y) * more
        losses -= y * np.log(both)

        def gradient() -> Array:
            away = (mean - y) / (1.0 + both)
            dspread = away / spread - r * r * (digamma(r) - digamma(y + r) + more)
            return np.stack([away, dspread * slope, np.zeros_like(away)], axis=-1)

        return _mean(losses, observed, gradient)

    def mean(self, params: Array) -> Array:
        """w / u."""
        mean: Array = np.exp(params[..., 0])
        return mean

    def quantiles(self, params: Array, levels: Sequence[float]) -> Array:
        """The least count y with P(Y <= y) = I(r, y + 1) at 1 / (1 + d w) >= level, over u.

        Sought between the bounds of Cantelli's inequality.
        """
        mean, spread, _, unit = self._read(params)
        deviation = np.sqrt(mean + spread * mean * mean)
        found = np.empty((*mean.shape, len(levels)), params.dtype)
        for place, level in enumerate(levels):
            odds = math.sqrt(level / (1.0 - level))
            low = np.maximum(np.floor(mean - deviation / odds), 0.0) - 1.0  # below the quantile
            high = np.ceil(mean + deviation * odds)  # not below it
            while (high - low > 1.0).any():
                middle = np.maximum(np.floor(0.5 * (low + high)), 0.0)
                below = incomplete_beta(1.0 / spread, middle + 1.0, 1.0 / (1.0 + spread * mean))
                enough = below >= level
                low, high = np.where(enough, low, middle), np.where(enough, middle, high)
            found[..., place] = high / unit
        return found

    def sample(self, params: Array, rng: np.random.Generator) -> Array:
        """Poisson counts of a rate that is gamma distributed, over u."""
        mean, spread, _, unit = self._read(params)
        rate = rng.gamma(1.0 / spread, spread * mean)
        drawn: Array = rng.poisson(np.minimum(rate, 1e15)) / unit
        return drawn.astype(params.dtype)

    def start(self, error: float) -> list[float]:
        """The mean is the location; the deviation is the error where the mean is one unit."""
        return [0.0, _inverse_scale(error * error)]

    @staticmethod
    def _read(params: Array) -> tuple[Array, Array, Array, Array]:
        """w, d, dd/db and u in float64."""
        a, b, log_unit = np.moveaxis(params.astype(np.float64), -1, 0)
        spread, slope = _softplus(b)
        return np.exp(a + log_unit), spread + _LEAST_DISPERSION, slope, np.exp(log_unit)


DISTRIBUTIONS: dict[str, Distribution] = {
    "point": Point(),
    "gaussian": Gaussian(),
    "student-t": StudentT(),
    "quantile": Quantiles(),
    "negative-binomial": NegativeBinomial(),
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
