"""A trained forecaster: what a user works with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from unrolled.models import ForecastModel, Outlook
from unrolled.training import Array, counter_rng

from .._fits import check_fit
from .calibration import BAND, Spread, checked_levels, widened
from .catch_up import catch_up
from .data import Panel, Series, Values, read_panel
from .forecast import Forecast, Origin
from .kind import APART, Kind, apart
from .live import DEFAULT_LEVELS, Live
from .rolling import PATHS
from .times import Times
from .windows import Indices, Scale, Windows, sizes, stretch

#: Steps of all series together that are read at a time.
_STEPS = 1 << 18

#: About so many forecasts are made again to see what came true, and so many where paths are drawn.
_SEEN, _DRAWN = 20_000, 500


@dataclass(frozen=True)
class Forecaster:
    """A forecasting model with what it takes to use it.

    Attributes:
        model: the network.
        kind: of the series that it reads.
        scales: mean and deviation by series; others get those of their own past.
        options: how it was trained.
        spread: (H, D) factors that calibrate its intervals; None = they are as the model says them.
        fresh: by series the first time that the model was neither learned from nor chosen by.
    """

    model: ForecastModel
    kind: Kind
    scales: Mapping[str, Scale]
    options: Any
    spread: Spread | None = None
    fresh: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raises ValueError unless the model fits what it is said to read."""
        model, columns = self.model, self.kind.columns
        check_fit("targets", model.targets, "table", len(self.targets))
        inputs, future = sizes(
            model.targets,
            len(columns.known),
            len(columns.past),
            self.kind.calendar,
            self.kind.season > 1,
        )
        check_fit("inputs a step", model.config["input_size"], "table", inputs)
        check_fit("inputs a step to come", model.config["future_size"], "table", future)
        check_fit("values of context", model.context, "table", 0, self.kind.context)
        check_fit("static numbers", model.config["numbers"], "table", self.kind.static.numbers)
        if list(model.config["categories"]) != self.kind.static.counts:
            raise ValueError(
                f"the model has categories {model.config['categories']}, its table "
                f"{self.kind.static.counts}"
            )
        for name, numbers, shape in (
            ("keep", model.keep, (model.targets,)),
            ("spread", self.spread, (model.horizon, model.targets)),
        ):
            if numbers is not None and (numbers.shape != shape or not (numbers >= 0.0).all()):
                raise ValueError(f"expected {name} of shape {shape}, and 0 or more")
        width = model.targets + len(columns.known) + len(columns.past)
        for scale in self.scales.values():
            if scale.mean.shape != (width,) or scale.deviation.shape != (width,):
                raise ValueError(f"expected {width} means and deviations in each series' scale")

    def predict(
        self,
        data: Any,
        *,
        horizon: int | None = None,
        levels: Sequence[float] = DEFAULT_LEVELS,
        back: int = 0,
        paths: int = PATHS,
        told: Callable[[int, int], None] | None = None,
    ) -> list[Forecast]:
        """Forecasts what comes after the end of each series.

        Intervals have followed what came true of the steps that were new to the model, as those of
        a stream do: all steps of a series that it did not learn from, of others those behind what
        it learned from and was chosen by.

        Args:
            data: a table with the columns of the training, a file or a DataFrame, or series.
            horizon: steps, at most those of the training; None = all of them.
            levels: of the quantiles, between 0 and 1.
            back: forecast so many steps before the end, as if the rest were not known.
            paths: that an autoregressive decoder draws of each series.
            told: called with how many series are done, and how many there are.

        Raises:
            ValueError: a series is not longer than `back`, they are of another kind than those of
                the training, or a level is none.
        """
        panel = self.read(data)
        horizon, levels = self.steps(horizon), checked_levels(levels)
        scales = [self.scale(series) for series in panel.series]
        # All of the past, as a stream would have read it.
        steps = max(map(len, panel.series))
        ends = np.array([len(series) - back for series in panel.series])
        if back < 0 or ends.min(initial=1) < 1:
            raise ValueError(f"expected back to be 0 or more and less than each series, got {back}")
        windows = self._windows(panel, scales, steps, horizon, ends)
        spreads = self._spreads(panel, scales, ends)
        forecasts = []
        # Paths go through the decoder side by side.
        drawn = paths * horizon if self.model.autoregressive else 0
        together = max(_STEPS // (steps + drawn), 1)
        rng = counter_rng(self.options.seed)
        for first in range(0, len(ends), together):
            rows = np.arange(first, min(first + together, len(ends)))
            batch = windows.batch(rows, ends[rows], np.array([steps - 1]))
            _, _, future, last, history = batch.inputs()
            hidden = self.model.read(
                batch.x, batch.origins, resets=batch.resets, static=batch.static
            )
            said = self.model.outlook(
                hidden, future, last, history, units=batch.units, paths=paths, rng=rng
            )
            spread = None if spreads is None else spreads[rows].swapaxes(0, 1)
            mean, bands = said.mean(), self.intervals(said, levels, spread)
            for n, row in enumerate(rows.tolist()):
                series, one = panel.series[row], slice(n, n + 1)
                origin = Origin(
                    self.model,
                    [each[one] for each in hidden],
                    np.ascontiguousarray(future[:, one]),
                    last[one],
                    history[one],
                    scales[row].targets(self.model.targets),
                    None if spreads is None else spreads[row],
                )
                times = self.kind.step.times(series.start, int(ends[row]), horizon)
                forecasts.append(
                    self.forecast(series.name, times, origin, mean[:, n], bands[:, n], levels)
                )
            if told is not None:
                told(len(forecasts), len(ends))
        return forecasts

    def stream(self, series: Series | None = None, *, scale: Scale | None = None) -> Live:
        """Returns a forecaster of one series that takes one observation at a time.

        Args:
            series: its past so far, read at once; None = nothing yet. Intervals begin as those of
                `predict`.
            scale: mean and deviation; None = those of the past.

        Raises:
            ValueError: neither is given, and the training was of several series.
        """
        if scale is None:
            if series is not None:
                scale = self.scale(series)
            elif len(self.scales) == 1:
                scale = next(iter(self.scales.values()))
            else:
                raise ValueError("a stream needs a series that has begun, or a scale")
        if self.kind.columns.static and series is None:
            raise ValueError(
                "the model reads what is said of a series as a whole, "
                f"{', '.join(self.kind.columns.static)}: a stream needs a series that has begun"
            )
        spread = self.spread
        if series is not None:
            columns = replace(self.kind.columns, targets=self.targets)
            panel, ends = Panel((series,), columns, self.kind.step), np.array([len(series)])
            spreads = self._spreads(panel, [scale], ends)
            spread = None if spreads is None else spreads[0]
        live = Live(
            self,
            scale,
            series.name if series else "stream",
            self.kind.static(() if series is None else (series,)),
            spread,
        )
        if series is not None:
            live.read(series)
        return live

    def read(self, data: Any) -> Panel:
        """Returns series of the kind that the model has learned.

        Args:
            data: a table, a file or a DataFrame, or series.

        Raises:
            ValueError: they have another step.
        """
        columns = self.kind.columns
        panel = data if isinstance(data, Panel) else read_panel(data, columns)
        if panel.step != self.kind.step:
            raise ValueError(
                f"the series have a value every {panel.step}, but the model learned from one every "
                f"{self.kind.step}"
            )
        if panel.columns.targets == columns.targets and self.options.apart:
            panel = apart(panel)
        if panel.columns.targets != self.targets:
            raise ValueError(
                f"the series have the targets {', '.join(panel.columns.targets)}, but the model "
                f"learned {', '.join(self.targets)}"
            )
        return panel

    def _windows(
        self, panel: Panel, scales: Sequence[Scale], steps: int, horizon: int, ends: Indices
    ) -> Windows:
        return Windows(
            panel,
            scales,
            self.kind.calendar,
            steps=steps,
            horizon=horizon,
            context=self.kind.context,
            season=self.kind.season,
            limits=ends.tolist(),
            static=self.kind.static(panel.series),
        )

    def _spreads(self, panel: Panel, scales: Sequence[Scale], ends: Indices) -> Values | None:
        """Returns the factors (series, H, D) of forecasts from before `ends`; see `catch_up`."""
        if self.spread is None:
            return None
        _, steps = stretch(self.kind.context, self.options.origins)
        windows = self._windows(panel, scales, steps, self.model.horizon, ends)
        begins = np.array([self._begins(series) for series in panel.series])
        most = _DRAWN if self.model.autoregressive else _SEEN
        return catch_up(self.model, windows, begins, ends, self.spread, most)

    def _begins(self, series: Series) -> int:
        """The first step of a series that is new to the model, and has a context before it."""
        begins = 0
        if series.name in self.scales:
            try:
                times = np.array([self.fresh[series.name]])
                begins = int(self.kind.step.places(times, series.start)[0])
            except (KeyError, ValueError):  # not told, or on another grid: nobody can say
                return len(series)
        return max(begins, self.kind.context)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of what a forecast has."""
        return APART if self.options.apart else self.kind.columns.targets

    def scale(self, series: Series) -> Scale:
        """Returns the mean and deviation of a series: as in training, or of all of it."""
        logs, counts = (
            self.model.targets * each for each in (self.options.log, self.model.distribution.counts)
        )
        return self.scales.get(series.name) or Scale.of(series, len(series), logs, counts)

    def steps(self, horizon: int | None) -> int:
        """Returns how many steps a forecast has; ValueError if the model cannot."""
        most = self.model.horizon
        if horizon is not None and not 1 <= horizon <= most:
            raise ValueError(
                f"expected a horizon of 1 to {most}, for which the model was trained, got {horizon}"
            )
        return most if horizon is None else horizon

    def intervals(self, said: Outlook, levels: Sequence[float], spread: Spread | None) -> Array:
        """Returns quantiles (H, N, D, Q), standardised; Q = 0 without intervals.

        Args:
            said: what the model says.
            levels: of the quantiles.
            spread: factors (H or more, N, D) that calibrate them.
        """
        if not levels or self.model.config["distribution"] == "point":
            mean = said.mean()
            return np.zeros((*mean.shape, 0), mean.dtype)
        if spread is None:
            return said.quantiles(levels)
        found = said.quantiles((*levels, BAND[1]))
        return widened(found[..., :-1], found[..., -1], spread[: len(found)])

    def forecast(
        self,
        name: str,
        times: Times,
        origin: Origin,
        mean: Array,
        bands: Array,
        levels: Sequence[float],
    ) -> Forecast:
        """Returns a forecast (H, D) with quantiles (H, D, Q) in the units of the data."""
        scale = origin.scale
        return Forecast(
            name,
            times,
            self.targets,
            scale.back(mean),
            tuple(levels) if bands.shape[2] else (),
            np.moveaxis(scale.back(np.moveaxis(bands, -1, 0)), 0, -1),
            origin,
        )
