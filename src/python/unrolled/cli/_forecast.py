"""`unrolled forecast`: what comes next in a table of series."""

import csv
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from ..tasks import forecasting, free_path
from ..tasks.forecasting import Forecast, Forecaster
from ..tasks.series.data import Panel
from ..tasks.series.demo import DEMOS
from ..tasks.series.picture import draw_forecasts

#: How long a table is learned from.
_MINUTES = 0.5

#: Seconds of work after which a bar shows how much is left.
_PATIENCE = 2.0


def forecast(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL or TABLE",
            help="A .safetensors file that `unrolled train forecasting` wrote; or a table, from "
            "which a model is learned first.",
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Argument(help="Table to go on with (default: the one that was learned from)."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="With a TABLE: columns to forecast, with commas.")
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="With a TABLE: column that names the series.")
    ] = None,
    static: Annotated[
        str | None,
        typer.Option(help="With a TABLE: columns that are the same at all steps of a series."),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(help="Steps to forecast (default: as trained; from a TABLE: 24).", min=1),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="With a TABLE or --demo: how long to learn (default: 0.5; a demo knows).",
            min=0.01,
        ),
    ] = None,
    levels: Annotated[
        str, typer.Option(help="Quantiles to write beside the forecast, 0..1, with commas.")
    ] = "0.05,0.5,0.95",
    paths: Annotated[
        int,
        typer.Option(
            help="Draw so many futures of each series and write them too; with a TABLE by a model "
            "whose steps hang together (--decoder autoregressive).",
            min=0,
        ),
    ] = 0,
    back: Annotated[
        int,
        typer.Option(help="Forecast so many steps before the end, to see what came true.", min=0),
    ] = 0,
    picture: Annotated[Path | None, typer.Option(help="PNG to draw.")] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Learn sunspots and carbon dioxide, and draw them.")
    ] = False,
) -> None:
    """Forecast what comes after the end of each series; writes CSV to standard output."""
    if demo:
        if source is not None:
            raise ValueError("--demo brings its own series: leave out the table")
        _demo(minutes)
        return
    wanted = tuple(float(level) for level in levels.split(",")) if levels else ()
    if any(not 0.0 < level < 1.0 for level in wanted):
        raise ValueError(f"expected --levels between 0 and 1, got {levels}")
    if source is None:
        raise ValueError("give a model or a table, or --demo")
    if source.suffix == ".safetensors":
        if target is not None or series is not None or static is not None:
            raise ValueError("a model knows its --target, --series and --static; leave them out")
        forecaster, panel = _model(source, table)
    elif table is not None:
        raise ValueError("give a model and a table, or a table alone")
    else:
        output = free_path("forecasting")
        minutes = _MINUTES if minutes is None else minutes
        print(f"learning from {source} for {minutes:g} minutes", file=sys.stderr)
        forecaster = forecasting.train(
            source,
            output=output,
            quiet=True,
            progress=True,
            target=target,
            series=series,
            static=static,
            horizon=horizon,
            decoder="autoregressive" if paths else None,
            minutes=minutes,
        )
        print(f"model in {output}", file=sys.stderr)
        panel = forecaster.read(source)
    with _bar("forecasting") as told:
        found = forecaster.predict(panel, horizon=horizon, levels=wanted, back=back, told=told)
    _write(found, paths, forecaster.options.seed)
    if picture is not None:
        draw_forecasts(picture, forecaster, panel, back=back)


def _write(found: list[Forecast], paths: int, seed: int) -> None:
    """Writes CSV: a row for each series, step and target; with `paths` a column for each."""
    writer = csv.writer(sys.stdout)
    levels = (f"q{level:g}" for level in found[0].levels)
    names = (f"path{number}" for number in range(1, paths + 1))
    writer.writerow(["series", "time", "target", "forecast", *levels, *names])
    rng = np.random.default_rng(seed)
    for each in found:
        drawn = each.sample(paths, rng) if paths else np.zeros((0, *each.mean.shape))
        for h, when in enumerate(each.times):
            for d, name in enumerate(each.targets):
                numbers = (each.mean[h, d], *each.quantiles[h, d], *drawn[:, h, d])
                writer.writerow([each.series, when, name, *(f"{n:.6g}" for n in numbers)])


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """Shows how much is done, on a terminal, of what takes longer than a moment."""
    began = time.perf_counter()
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(name, visible=False)

        def told(done: int, total: int) -> None:
            late = time.perf_counter() - began > _PATIENCE
            bar.update(task, completed=done, total=total, visible=late)

        yield told


def backtest(
    checkpoint: Annotated[
        Path, typer.Argument(help="A .safetensors file that `unrolled train forecasting` wrote.")
    ],
    table: Annotated[
        Path | None,
        typer.Argument(help="Table to forecast (default: the one that was learned from)."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="PNG to draw: the last stretch, and its forecast.")
    ] = None,
) -> None:
    """Forecast from one step after the other of the last part of each series, and score it.

    Beside the model stand the last value, the last season, and a linear regression.
    """
    task, forecaster = forecasting.load_with_task(checkpoint)
    for line in task.evaluate(forecaster, () if table is None else (table,), False, "full"):
        print(line)
    if picture is not None:
        draw_forecasts(picture, forecaster, task.panel, back=forecaster.model.horizon)


def _model(path: Path, table: Path | None) -> tuple[Forecaster, Panel]:
    task, forecaster = forecasting.load_with_task(path)
    return forecaster, forecaster.read(task.table() if table is None else table)


def _demo(minutes: float | None) -> None:
    for name, each in DEMOS.items():
        output = free_path(f"forecasting-{name}")
        forecasting.train(
            output=output,
            demo=name,
            horizon=each.horizon,
            context=each.context,
            minutes=minutes,
            steps=each.updates if minutes is None else None,
        )
