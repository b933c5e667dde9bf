"""One series as it comes, an observation at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.layers import Stream
from unrolled.models import Outlook, Quantiles
from unrolled.training import Array, counter_rng

from .calibration import BAND, Following, Spread, away, checked_levels
from .data import Series, Values
from .forecast import Forecast, Origin
from .rolling import PATHS
from .static import Told
from .windows import Scale, with_season

if TYPE_CHECKING:
    from .forecaster import Forecaster

#: Levels of the quantiles that a forecast has when nothing else is asked for.
DEFAULT_LEVELS = (0.05, 0.5, 0.95)

#: Levels between which the probability of a value is told.
_LOW = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4)
_LEVELS = (*_LOW, 0.5, *(1.0 - level for level in reversed(_LOW)))

#: Paths that the probability of one value is read from.
_SURPRISED = 2000


class Live:
    """One series as it comes: the state carries on, so an observation costs the same after a year.

    ::

        live = forecaster.stream(series)
        live.observe([21.5])              # microseconds
        live.forecast(horizon=6).mean     # (6, D)

    Intervals follow what comes true, see `calibration`: of the forecasts that were made, each value
    outside widens those to come, each inside draws them in a little.

    A stream serves one caller.
    """

    def __init__(
        self,
        forecaster: "Forecaster",
        scale: Scale,
        name: str,
        told: Told,
        spread: Spread | None,
    ) -> None:
        self._forecaster, self._scale, self._name, self._told = forecaster, scale, name, told
        model = forecaster.model
        self._rng = counter_rng(forecaster.options.seed)
        self._following = None if spread is None else Following(spread)
        # Of the last H forecasts: when each was made, its interval, and its factors.
        shape = (model.horizon, model.horizon, model.targets)
        self._made = np.full(model.horizon, -1)
        self._bands, self._used = np.full((*shape, len(BAND)), np.nan), np.ones(shape)
        self._rnns: list[Stream[Any]] = [each.encoder.stream(1) for each in model.members]
        self._hidden = [
            np.zeros((1, each.encoder.hidden_size), np.float32) for each in model.members
        ]
        self._before = np.full(model.targets, np.nan, np.float32)
        self._recent = np.zeros((max(forecaster.kind.context, 1), model.targets), np.float32)
        self._count = 0
        self._start: Any = None

    @property
    def count(self) -> int:
        """Steps that were observed so far."""
        return self._count

    def read(self, series: Series) -> None:
        """Observes all of a series, at once or to go on with."""
        if self._start is None:
            self._start = series.start
        for row in range(len(series)):
            self.observe(series.targets[row], known=series.known[row], past=series.past[row])

    def observe(
        self,
        values: Sequence[float] | Array,
        *,
        known: Sequence[float] | Array = (),
        past: Sequence[float] | Array = (),
    ) -> None:
        """Takes the values (D,) of the next step, NaN where one is missing, and its covariates."""
        model, scale = self._forecaster.model, self._scale
        row = np.concatenate([np.asarray(part, np.float64) for part in (values, known, past)])
        if row.shape != scale.mean.shape or np.isinf(row).any():
            columns = self._forecaster.kind.columns
            raise ValueError(
                f"expected {model.targets} values, {len(columns.known)} known and "
                f"{len(columns.past)} past covariates, finite or NaN, got {row.tolist()}"
            )
        row = scale.forward(row[None])[0]
        targets, covariates = row[: model.targets], row[model.targets :]
        x = np.zeros((1, model.config["input_size"]), np.float32)
        count, cycles = model.targets, self._calendar(self._count, 1)[0]
        observed = ~np.isnan(targets)
        newest = np.where(observed, targets, self._recent[-1])
        if self._count == 0:
            self._recent[...] = newest
        self._recent[:-1] = self._recent[1:]
        self._recent[-1] = newest
        means = self._recent.mean(axis=0, dtype=np.float64)
        x[0, :count] = np.nan_to_num(targets - means)
        x[0, count : 2 * count] = np.nan_to_num(targets - self._before)
        x[0, 2 * count : 3 * count] = observed
        known_count = len(self._forecaster.kind.columns.known)
        own = np.concatenate([covariates[known_count:], covariates[:known_count], cycles])
        x[0, 3 * count : 3 * count + len(own)] = np.nan_to_num(own)
        self._follow(targets)
        x = model.static(x[None], self._told)[0]
        self._hidden = [rnn(x) for rnn in self._rnns]
        self._before = targets
        self._count += 1

    def forecast(
        self,
        *,
        horizon: int | None = None,
        known: Values | None = None,
        levels: Sequence[float] = DEFAULT_LEVELS,
        paths: int = PATHS,
    ) -> Forecast:
        """Says what comes next.

        Args:
            horizon: steps, at most those of the training.
            known: (H, K) covariates that are known of these steps; None = they are missing.
            levels: of the quantiles, between 0 and 1.
            paths: that an autoregressive decoder draws.

        Raises:
            ValueError: the horizon, a level or the covariates will not do.
        """
        owner, model = self._forecaster, self._forecaster.model
        steps, levels = owner.steps(horizon), checked_levels(levels)
        first = model.targets
        count = len(owner.kind.columns.known)
        if known is not None and np.shape(known) != (steps, count):
            raise ValueError(
                f"expected known of shape (H, K) = ({steps}, {count}), got {np.shape(known)}"
            )
        future = np.zeros((steps, 1, count + owner.kind.calendar.width), np.float32)
        if known is not None:
            scale = slice(first, first + count)
            scaled = (known - self._scale.mean[scale]) / self._scale.deviation[scale]
            future[:, 0, :count] = np.nan_to_num(scaled)
        future[:, 0, count:] = self._calendar(self._count, steps)
        last = self._recent[-1:].copy()
        history = np.ascontiguousarray((self._recent - last).T[None])
        spread = None if self._following is None else self._following.factors
        origin = Origin(
            model,
            list(self._hidden),
            with_season(future, history, owner.kind.season),
            last,
            history,
            self._scale.targets(model.targets),
            spread,
        )
        said = origin.outlook(paths, self._rng)
        if spread is not None:
            self._remember(said, spread)
        times = np.arange(self._count, self._count + steps)
        if self._start is not None:
            times = owner.kind.step.times(self._start, self._count, steps)
        bands = owner.intervals(said, levels, None if spread is None else spread[:, None])
        return owner.forecast(self._name, times, origin, said.mean()[:, 0], bands[:, 0], levels)

    def _remember(self, said: Outlook, spread: Spread) -> None:
        """Keeps the intervals of a forecast until they come true; of two at once the longer one."""
        bands = said.quantiles(BAND)[:, 0]
        slot = self._count % len(self._made)
        if self._made[slot] == self._count and np.isfinite(self._bands[slot, len(bands) - 1]).all():
            return
        self._made[slot], self._used[slot] = self._count, spread
        self._bands[slot] = np.nan
        self._bands[slot, : len(bands)] = bands

    def _follow(self, targets: Array) -> None:
        """Holds the values (D,) of the next step against the forecasts that were made of it."""
        if self._following is None:
            return
        steps = self._count - self._made  # places in the horizon
        slots = np.flatnonzero((self._made >= 0) & (steps < len(self._made)))
        if slots.size:
            steps = steps[slots]
            distances = away(targets, self._bands[slots, steps])
            self._following.see(steps, distances, self._used[slots, steps])

    def surprise(self, values: Sequence[float] | Array) -> Values:
        """Returns how little values (D,) of the next step were to be expected; before `observe`.

        -log10 of the probability of a value as far out on either side: 1 for one in ten, 2 for one
        in a hundred, at most about 3 (1.3 for a head of quantiles); NaN for a missing value. Of
        counts it is that of a value as far out or further.

        Raises:
            ValueError: the model has no intervals, or these are not D values.
        """
        if np.shape(values) != (self._forecaster.model.targets,):
            raise ValueError(
                f"expected {self._forecaster.model.targets} values, got shape {np.shape(values)}"
            )
        head = self._forecaster.model.config["distribution"]
        levels = Quantiles.levels if head == "quantile" else _LEVELS
        quantiles = self.forecast(horizon=1, levels=levels, paths=_SURPRISED).quantiles
        if not quantiles.shape[2]:
            raise ValueError("a model without intervals is never surprised: train another --head")
        below = np.array([_below(v, q, levels) for v, q in zip(values, quantiles[0], strict=True)])
        surprise: Values = -np.log10(2.0 * np.minimum(below, 1.0 - below))
        return surprise

    def _calendar(self, first: int, count: int) -> Array:
        """Zeros before a series has said when it began."""
        owner = self._forecaster
        if self._start is None:
            return np.zeros((count, owner.kind.calendar.width))
        return owner.kind.calendar(owner.kind.step.times(self._start, first, count))


def _below(value: float, quantiles: Values, levels: Sequence[float]) -> float:
    """The level of a value; of several with the same quantile, of counts, the one next to 1/2."""
    first = np.interp(-value, -quantiles[::-1], levels[::-1])
    last = np.interp(value, quantiles, levels)
    return float(np.clip(0.5, first, last))
