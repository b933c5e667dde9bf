"""The task "forecasting": what comes next in series of numbers, and how sure that is.

    from unrolled.tasks import forecasting

    forecaster = forecasting.train("sales.csv", target="sold", series="shop", horizon=28)
    for each in forecaster.predict("sales.csv"):
        print(each.series, each.times, each.mean, each.quantiles, each.sample(100))

    live = forecaster.stream(forecaster.read("sales.csv").series[0])
    live.observe([17.0])                       # microseconds, for as long as the series goes on
    live.forecast(horizon=7)

On the command line: `unrolled train forecasting`, `unrolled forecast`, `unrolled backtest`.
One model learns from all series of a table; each is standardised by itself. Series are cut by time
alone: the last part scores, the part before it chooses the model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import functional
from unrolled.models import ForecastModel
from unrolled.training import (
    Array,
    Carry,
    IndexedBatches,
    LossAndPullback,
    Metric,
    counter_rng,
)

from ._forecasting_options import Options as Options
from ._options import CELLS
from ._run import load as _load
from ._run import train as _train
from ._saved import PathLike
from ._task import Task, register
from .series.backtest import Backtest, backtest, lines
from .series.baselines import Matrix
from .series.calibration import BAND, calibrate
from .series.data import Panel, is_frame, read_panel
from .series.demo import demo_panel
from .series.forecast import Forecast as Forecast
from .series.forecaster import Forecaster as Forecaster
from .series.kind import Kind, apart
from .series.live import Live as Live
from .series.picture import draw_forecasts
from .series.rolling import Part, check_learned, cut, errors, regress, roll, roll_model
from .series.scores import table
from .series.stacking import keep_what_helps
from .series.static import StaticScale
from .series.times import Calendar
from .series.windows import Batch, Scale, Windows, sizes, stretch

#: About so many forecasts are scored on the way, at the end, and there where paths are drawn; to
#: about so many windows of each target the linear path is fitted.
_VALIDATED, _SCORED, _DRAWN, _FITTED = 4096, 20_000, 2000, 20_000


@register
class Forecasting(Task[Options, ForecastModel, Batch, Forecaster]):
    """Series of numbers in, what comes next out."""

    name = "forecasting"
    summary = "Forecasting: what comes next in series of numbers, and how sure that is."
    examples = (
        "unrolled train forecasting ETTh1.csv --target OT --horizon 24",
        "unrolled train forecasting sales.csv --target sold --series shop --known price,holiday",
        "unrolled train forecasting monthly.csv --series id --horizon 18 --test 18 --validation 18",
        "unrolled train forecasting parts.csv --series part --static kind --head negative-binomial",
    )
    options_type = Options

    #: Series, or a DataFrame, to learn from in the place of a file.
    given: Any = None

    def load(self) -> str:
        """Reads the tables, cuts the series by time and standardises them."""
        options, table = self.options, self.table()
        self.columns = table.columns
        self.panel = apart(table) if options.apart else table
        lengths = [len(series) for series in self.panel.series]
        options.check()
        horizon = options.horizon
        self.learned, self.validated, self.tested = cut(
            lengths, options.validation, options.test, horizon + 2
        )
        check_learned(self.panel, self.learned)
        if options.validation == 0.0:
            ends = self.learned.ends
            self.validated = Part(np.maximum(ends - 2 * horizon, 0), ends)
        longest = int(self.learned.ends.max())
        season = self.panel.step.season if options.season is None else max(options.season, 1)
        wanted = max(3 * season, 2 * horizon, 16) if options.context is None else options.context
        self.context = int(np.clip(wanted, 1, longest - horizon))
        self.season = season if season <= self.context else 1
        self.stride, self.steps = stretch(self.context, options.origins)
        self.calendar = Calendar.of(self.panel.step, longest)
        targets, counts = len(self.panel.columns.targets), options.head == "negative-binomial"
        self.scales = [
            Scale.of(series, max(end, 1), targets * options.log, targets * counts)
            for series, end in zip(self.panel.series, self.learned.ends.tolist(), strict=True)
        ]
        self.static = StaticScale.of(
            [s for s, end in zip(self.panel.series, self.learned.ends, strict=True) if end],
            self.columns,
        )
        self.told = self.static(self.panel.series)
        self.windows = self._windows(self.learned)
        self.held_out = self._windows(self.validated)
        parts = (self.learned, self.validated, self.tested)
        steps = [int((part.ends - part.begins).sum()) for part in parts]
        return (
            f"{self.panel}; {steps[0]:,} steps to learn from, {steps[1]:,} to choose the model "
            f"by, {steps[2]:,} to score it; {horizon} ahead from a context of {self.context:,}"
        )

    def table(self) -> Panel:
        """Reads the series."""
        if isinstance(self.given, Panel):
            return self.given
        if self.given is not None:
            return read_panel(self.given, self.options.columns())
        demo = self.options.demo
        if demo is not None and not self.sources:
            return demo_panel(demo)
        if demo is not None or len(self.sources) != 1:
            raise ValueError(
                "forecasting learns from one table, as in `unrolled train forecasting data.csv`, "
                "or from a --demo; several series stand in one table, with --series for the column "
                "that names them"
            )
        return read_panel(self.sources[0], self.options.columns())

    def _windows(self, part: Part) -> Windows:
        return Windows(
            self.panel,
            self.scales,
            self.calendar,
            steps=self.steps,
            horizon=self.options.horizon,
            context=self.context,
            season=self.season,
            limits=part.ends.tolist(),
            static=self.told,
        )

    def batches(self, rng: np.random.Generator) -> IndexedBatches[Batch]:
        """Stretches that end anywhere in the part to learn from; an epoch is all its steps."""
        options, ends = self.options, self.learned.ends
        # What follows the last origin must be observed at least in part.
        last = np.maximum(ends - 1, 0)
        shares = np.cumsum(last)
        if not shares[-1]:
            raise ValueError("every series is too short to learn from")
        places = self.steps - 1 - self.stride * np.arange(options.origins)[::-1]

        def make(number: int) -> Batch:
            rng = counter_rng(options.seed, number)
            draws = rng.integers(0, shares[-1], options.batch)
            draws = draws[self.group.rows(options.batch)]
            series = np.searchsorted(shares, draws, side="right")
            return self.windows.batch(series, draws - (shares - last)[series] + 1, places)

        return IndexedBatches(
            make, per_epoch=max(-(-int(shares[-1]) // (options.batch * self.steps)), 1)
        )

    def build(self, rng: np.random.Generator) -> ForecastModel:
        """Encoder and decoder; with a linear path they begin with its forecasts."""
        options, columns = self.options, self.panel.columns
        targets = len(columns.targets)
        inputs, future = sizes(
            targets, len(columns.known), len(columns.past), self.calendar, self.season > 1
        )
        model = ForecastModel(
            inputs,
            future,
            targets,
            options.horizon,
            context=self.context if options.linear else 0,
            hidden_size=options.hidden,
            num_layers=options.layers,
            cell=CELLS[options.cell],
            distribution=options.head,
            decoder=options.decoder,
            numbers=self.static.numbers,
            categories=self.static.counts,
            members=options.members,
            dropout=options.dropout,
            rng=rng,
        )
        if options.linear:
            model.start_linear(self.regression(shared=True))
            model.start_scale(
                errors(
                    model, self.held_out, self.validated, self._stride(self.validated, _VALIDATED)
                )
            )
        return model

    def regression(self, *, shared: bool) -> Matrix:
        """Returns the matrices of a linear regression on the context; see `baselines.Ridge`."""
        learned, validated = (
            (windows, part, self._stride(part, _FITTED))
            for windows, part in ((self.windows, self.learned), (self.held_out, self.validated))
        )
        return regress(learned, validated, shared=shared)

    def _stride(self, part: Part, most: int) -> int:
        """The stride that makes about so many forecasts of a part."""
        return max(int((part.ends - part.begins).sum()) // most, 1)

    def loss(
        self, model: ForecastModel, batch: Batch, carry: Carry, rng: np.random.Generator
    ) -> LossAndPullback:
        """What the distribution makes of every value that came true."""
        params, pullback = model.vjp(*batch.inputs(), **batch.more(), rng=rng)
        # Of all members, each of which is to be good by itself.
        targets, observed = (
            np.broadcast_to(each, params.shape[:-1]) for each in (batch.targets, batch.observed)
        )
        loss, loss_pullback = model.distribution.loss_vjp(params, targets, observed)
        count = int(batch.observed.sum(dtype=np.float64))
        return (loss, count, None), lambda dloss: pullback(loss_pullback(dloss))

    @property
    def metric(self) -> Metric:
        """The loss itself; of an autoregressive decoder that of steps whose past is known."""
        names = {"point": ("squared error", "MSE"), "quantile": ("pinball loss", "pinball")}
        name, short = names.get(self.options.head, ("negative log-likelihood", "NLL"))
        return Metric(f"{name} per value", short, "values", lambda loss: loss)

    def validate(self, model: ForecastModel) -> float:
        """Scores forecasts from many steps of the part that chooses the model."""
        total, count = 0.0, 0.0
        stride = self._stride(self.validated, _VALIDATED)
        for batch, meant in roll(self.held_out, self.validated, stride):
            params = model(*batch.inputs(), **batch.more())[:, meant]
            observed = batch.observed[:, meant]
            loss, _ = model.distribution.loss_vjp(params, batch.targets[:, meant], observed)
            counted = float(observed.sum(dtype=np.float64))
            total, count = total + loss * counted, count + counted
        if not count:
            raise ValueError(
                f"--validation holds out no {self.options.horizon} steps in a row of any series: "
                "hold out more, or choose a shorter --horizon"
            )
        return total / count

    def assets(self, model: ForecastModel) -> dict[str, Any]:
        """The architecture, the columns, the grid, the scale of each series, what it knows of."""
        names = [series.name for series in self.panel.series]
        kind = Kind(
            self.columns, self.panel.step, self.calendar, self.context, self.season, self.static
        )
        return {
            "model": model.config,
            "series": kind.to_json(),
            "scales": {
                name: scale.to_json() for name, scale in zip(names, self.scales, strict=True)
            },
            "fresh": {
                series.name: kind.step.to_json(kind.step.times(series.start, end, 1)[0])
                for series, end in zip(self.panel.series, self.validated.ends.tolist(), strict=True)
            },
        }

    def finish(self, model: ForecastModel) -> dict[str, Any]:
        """Lets the held-out part say how much of the model stays, and how wide its intervals are.

        That needs a part that nothing was learned from. Of counts, and of an autoregressive
        decoder, all of the model stays; intervals of counts are whole numbers, and stay too.
        """
        options = self.options
        if not options.calibrate or options.validation == 0.0:
            return {}
        found: dict[str, Any] = {}
        count = _DRAWN if model.autoregressive else _VALIDATED
        held_out = self.held_out, self.validated, self._stride(self.validated, count)
        if options.linear and not model.autoregressive and not model.distribution.counts:
            regression = self.regression(shared=True)
            found["keep"] = keep_what_helps(model, *held_out, regression).tolist()
        if options.head != "point" and not model.distribution.counts:
            rolled = roll_model(model, *held_out, levels=BAND)
            found["spread"] = calibrate(rolled, held_out[2]).tolist()
        return found

    @classmethod
    def restore(
        cls, options: Options, assets: Mapping[str, Any], weights: Mapping[str, Array]
    ) -> Forecaster:
        """The model, ready for series."""
        model = ForecastModel.from_parameters(assets["model"], weights)
        logs = model.targets * options.log
        scales = {str(name): Scale.from_json(each, logs) for name, each in assets["scales"].items()}
        model.keep, spread = (
            np.array(assets[name], np.float64) if name in assets else None
            for name in ("keep", "spread")
        )
        kind = Kind.from_json(assets["series"])
        fresh = {str(name): kind.step.from_json(t) for name, t in assets.get("fresh", {}).items()}
        forecaster = Forecaster(model, kind, scales, options, spread, fresh)
        forecaster.check()
        return forecaster

    def score_test(self, trained: Forecaster, *, by_series: bool = False) -> Backtest:
        """Forecasts the last part of each series from one step after the other."""
        return backtest(
            trained.model,
            self.panel,
            self.scales,
            self._windows(self.tested),
            self.tested,
            stride=self._stride(self.tested, _DRAWN if trained.model.autoregressive else _SCORED),
            regression=self.regression(shared=False),
            learned=self.learned.ends,
            spread=trained.spread,
            by_series=by_series,
        )

    def report(self, trained: Forecaster, path: Path | None) -> Iterator[str]:
        """Scores on the last part, beside others', and what to type next."""
        found = self.score_test(trained)
        yield f"test       {found.windows:,} forecasts of the last part of the series"
        yield from (f"    {line}" for line in lines(found))
        if path is not None:
            yield "next"
            yield f"    unrolled forecast {path} --picture forecast.png"
            yield f"    unrolled evaluate forecasting {path}"

    def pictures(self, trained: Forecaster, path: Path) -> Iterator[tuple[str, Path]]:
        """The last stretch of some series with its forecast."""
        picture = path.with_name(f"{path.stem}-forecast.png")
        draw_forecasts(picture, trained, self.panel, back=trained.model.horizon)
        yield "forecast", picture

    def evaluate(
        self,
        trained: Forecaster,
        sources: Sequence[Path],
        details: bool,
        precision: functional.Precision,
    ) -> Iterator[str]:
        """The table of scores; with details the model's own of each series too."""
        if sources:
            self.sources, self.options = tuple(sources), replace(self.options, demo=None)
        yield self.load()
        trained.read(self.panel)
        with trained.model.in_precision(precision):
            found = self.score_test(trained, by_series=details)
        if details:
            yield from table(found.series)
        yield f"{found.windows:,} forecasts of the last part of the series"
        yield from lines(found)


def train(
    sources: Any = (),
    *,
    output: PathLike | None = None,
    resume: PathLike | None = None,
    quiet: bool = False,
    **options: Any,
) -> Forecaster:
    """Trains a forecaster; see `Options` for the keywords, `--help` for their meaning.

    Args:
        sources: a table: a file, CSV or Parquet, or a DataFrame of pandas.
        output: checkpoint to write, `.safetensors`; none = keep the model in memory only.
        resume: checkpoint of a run to go on with.
        quiet: print nothing.
        options: `minutes=1` or `epochs=` or `steps=`, `target=`, `horizon=`, ...

    Raises:
        FileNotFoundError, ValueError: an option or the table will not do.
    """
    task: type[Forecasting] = Forecasting
    if is_frame(sources):
        task, sources = type("Forecasting", (Forecasting,), {"given": sources}), ()
    return _train(task, sources, output=output, resume=resume, quiet=quiet, **options)


def load(path: PathLike) -> Forecaster:
    """Returns the forecaster in a checkpoint."""
    return _load(path, Forecasting)[1]


def load_with_task(path: PathLike) -> tuple[Forecasting, Forecaster]:
    """Returns the forecaster in a checkpoint, and its task as it was when trained."""
    task, forecaster = _load(path, Forecasting)
    assert isinstance(task, Forecasting)
    return task, forecaster
