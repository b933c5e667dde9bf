"""A trained forecaster: what a user works with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.models import ForecastModel
from unrolled.training import Array

from .._fits import check_fit
from .._saved import PathLike
from .data import Panel, Series, Values, read_panel
from .kind import APART, Kind, apart
from .live import DEFAULT_LEVELS, Live
from .times import Times
from .windows import Scale, Windows, sizes

#: Steps of all series together that are read at a time.
_STEPS = 1 << 18


@dataclass(frozen=True)
class Forecast:
    """What a model says of the steps after the end of one series.

    Shapes: H steps, D targets, Q levels.

    Attributes:
        series: its name.
        times: (H,).
        targets: names of the targets.
        mean: (H, D) the forecast, in the units of the data.
        levels: of the quantiles.
        quantiles: (H, D, Q); Q = 0 for a model without intervals.
    """

    series: str
    times: Times
    targets: tuple[str, ...]
    mean: Values
    levels: tuple[float, ...]
    quantiles: Values


@dataclass(frozen=True)
class Forecaster:
    """A forecasting model with what it takes to use it.

    Attributes:
        model: the network.
        kind: of the series that it reads.
        scales: mean and deviation by series; others get those of their own past.
        options: how it was trained.
    """

    model: ForecastModel
    kind: Kind
    scales: Mapping[str, Scale]
    options: Any

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
        width = model.targets + len(columns.known) + len(columns.past)
        for scale in self.scales.values():
            if scale.mean.shape != (width,) or scale.deviation.shape != (width,):
                raise ValueError(f"expected {width} means and deviations in each series' scale")

    def predict(
        self,
        data: PathLike | Panel,
        *,
        horizon: int | None = None,
        levels: Sequence[float] = DEFAULT_LEVELS,
        back: int = 0,
    ) -> list[Forecast]:
        """Forecasts what comes after the end of each series.

        Args:
            data: a table with the columns of the training, or series.
            horizon: steps, at most those of the training; None = all of them.
            levels: of the quantiles, in 0..1.
            back: forecast so many steps before the end, as if the rest were not known.

        Raises:
            ValueError: a series is not longer than `back`, or they are of another kind than those
                of the training.
        """
        panel = self.read(data)
        horizon = self._horizon(horizon)
        scales = [self.scale(series) for series in panel.series]
        # All of the past, as a stream would have read it.
        steps = max(map(len, panel.series))
        windows = Windows(
            panel,
            scales,
            self.kind.calendar,
            steps=steps,
            horizon=horizon,
            context=self.kind.context,
            season=self.kind.season,
        )
        ends = np.array([len(series) - back for series in panel.series])
        if back < 0 or ends.min(initial=1) < 1:
            raise ValueError(f"expected back to be 0 or more and less than each series, got {back}")
        forecasts = []
        together = max(_STEPS // steps, 1)
        for first in range(0, len(ends), together):
            rows = np.arange(first, min(first + together, len(ends)))
            batch = windows.batch(rows, ends[rows], np.array([steps - 1]))
            params = self.model(*batch.inputs(), resets=batch.resets)
            for n, row in enumerate(rows.tolist()):
                series = panel.series[row]
                times = self.kind.step.times(series.start, int(ends[row]), horizon)
                forecasts.append(
                    self._forecast(series.name, times, params[:, n], scales[row], levels)
                )
        return forecasts

    def stream(self, series: Series | None = None, *, scale: Scale | None = None) -> Live:
        """Returns a forecaster of one series that takes one observation at a time.

        Args:
            series: its past so far, read at once; None = nothing yet.
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
        live = Live(self, scale, series.name if series else "stream")
        if series is not None:
            live.read(series)
        return live

    def read(self, data: PathLike | Panel) -> Panel:
        """Returns series of the kind that the model has learned.

        Raises:
            ValueError: they have another step.
        """
        columns = self.kind.columns
        panel = data if isinstance(data, Panel) else read_panel(Path(data), columns)
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

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of what a forecast has."""
        return APART if self.options.apart else self.kind.columns.targets

    def scale(self, series: Series) -> Scale:
        """Returns the mean and deviation of a series: as in training, or of all of it."""
        logs = self.model.targets * self.options.log
        return self.scales.get(series.name) or Scale.of(series, len(series), logs)

    def _horizon(self, horizon: int | None) -> int:
        most = self.model.horizon
        if horizon is not None and not 1 <= horizon <= most:
            raise ValueError(
                f"expected a horizon of 1 to {most}, for which the model was trained, got {horizon}"
            )
        return most if horizon is None else horizon

    def _forecast(
        self, name: str, times: Times, params: Array, scale: Scale, levels: Sequence[float]
    ) -> Forecast:
        targets = scale.targets(self.model.targets)
        distribution = self.model.distribution
        if self.model.config["distribution"] == "point":
            levels = ()
        quantiles = np.zeros((*params.shape[:2], 0))
        if levels:
            bands = distribution.quantiles(params, levels)
            quantiles = np.moveaxis(targets.back(np.moveaxis(bands, -1, 0)), 0, -1)
        return Forecast(
            name,
            times,
            self.targets,
            targets.back(distribution.mean(params)),
            tuple(levels),
            quantiles,
        )
