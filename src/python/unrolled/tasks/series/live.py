"""One series as it comes, an observation at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.layers import Stream
from unrolled.models import Quantiles
from unrolled.training import Array

from .data import Series, Values
from .windows import Scale, with_season

if TYPE_CHECKING:
    from .forecaster import Forecast, Forecaster

#: Levels of the quantiles that a forecast has when nothing else is asked for.
DEFAULT_LEVELS = (0.05, 0.5, 0.95)

#: Levels between which the probability of a value is told.
_LOW = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4)
_LEVELS = (*_LOW, 0.5, *(1.0 - level for level in reversed(_LOW)))


class Live:
    """One series as it comes: the state carries on, so an observation costs the same after a year.

    ::

        live = forecaster.stream(series)
        live.observe([21.5])              # microseconds
        live.forecast(horizon=6).mean     # (6, D)

    A stream serves one caller.
    """

    def __init__(self, forecaster: "Forecaster", scale: Scale, name: str) -> None:
        self._forecaster, self._scale, self._name = forecaster, scale, name
        model = forecaster.model
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
        self._hidden = [rnn(x) for rnn in self._rnns]
        self._before = targets
        self._count += 1

    def forecast(
        self,
        *,
        horizon: int | None = None,
        known: Values | None = None,
        levels: Sequence[float] = DEFAULT_LEVELS,
    ) -> "Forecast":
        """Says what comes next.

        Args:
            horizon: steps, at most those of the training.
            known: (H, K) covariates that are known of these steps; None = they are missing.
            levels: of the quantiles.
        """
        owner, model = self._forecaster, self._forecaster.model
        steps = owner._horizon(horizon)
        first = model.targets
        count = len(owner.kind.columns.known)
        future = np.zeros((steps, 1, count + owner.kind.calendar.width), np.float32)
        if known is not None:
            scale = slice(first, first + count)
            scaled = (known - self._scale.mean[scale]) / self._scale.deviation[scale]
            future[:, 0, :count] = np.nan_to_num(scaled)
        future[:, 0, count:] = self._calendar(self._count, steps)
        last = self._recent[-1:]
        history = np.ascontiguousarray((self._recent - last).T[None])
        future = with_season(future, history, owner.kind.season)
        params = model.decode(self._hidden, future, last, history)
        times = np.arange(self._count, self._count + steps)
        if self._start is not None:
            times = owner.kind.step.times(self._start, self._count, steps)
        return owner._forecast(self._name, times, params[:, 0], self._scale, levels)

    def surprise(self, values: Sequence[float] | Array) -> Values:
        """Returns how little values (D,) of the next step were to be expected; before `observe`.

        -log10 of the probability of a value as far out on either side: 1 for one in ten, 2 for one
        in a hundred, at most about 3 (1.3 for a head of quantiles); NaN for a missing value.

        Raises:
            ValueError: the model has no intervals.
        """
        head = self._forecaster.model.config["distribution"]
        levels = Quantiles.levels if head == "quantile" else _LEVELS
        quantiles = self.forecast(horizon=1, levels=levels).quantiles
        if not quantiles.shape[2]:
            raise ValueError("a model without intervals is never surprised: train another --head")
        below = np.array(
            [np.interp(v, q, levels) for v, q in zip(values, quantiles[0], strict=True)]
        )
        surprise: Values = -np.log10(2.0 * np.minimum(below, 1.0 - below))
        return surprise

    def _calendar(self, first: int, count: int) -> Array:
        """Zeros before a series has said when it began."""
        owner = self._forecaster
        if self._start is None:
            return np.zeros((count, owner.kind.calendar.width))
        return owner.kind.calendar(owner.kind.step.times(self._start, first, count))
