"""`unrolled forecast`: what comes next in a table of series."""

import csv
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..tasks import forecasting, free_path
from ..tasks.forecasting import Forecaster
from ..tasks.series.data import Panel
from ..tasks.series.demo import DEMOS
from ..tasks.series.picture import draw_forecasts


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
    horizon: Annotated[
        int | None,
        typer.Option(help="Steps to forecast (default: as trained; from a TABLE: 24).", min=1),
    ] = None,
    minutes: Annotated[
        float, typer.Option(help="With a TABLE or --demo: how long to learn.", min=0.01)
    ] = 0.5,
    levels: Annotated[
        str, typer.Option(help="Quantiles to write beside the forecast, 0..1, with commas.")
    ] = "0.05,0.5,0.95",
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
        if target is not None or series is not None:
            raise ValueError("a model knows its --target and --series; leave them out")
        forecaster, panel = _model(source, table)
    elif table is not None:
        raise ValueError("give a model and a table, or a table alone")
    else:
        output = free_path("forecasting")
        print(f"learning from {source} for {minutes:g} minutes", file=sys.stderr)
        forecaster = forecasting.train(
            source,
            output=output,
            quiet=True,
            target=target,
            series=series,
            horizon=horizon,
            minutes=minutes,
        )
        print(f"model in {output}", file=sys.stderr)
        panel = forecaster.read(source)
    found = forecaster.predict(panel, horizon=horizon, levels=wanted, back=back)
    writer = csv.writer(sys.stdout)
    writer.writerow(
        ["series", "time", "target", "forecast", *(f"q{level:g}" for level in found[0].levels)]
    )
    for each in found:
        for h, time in enumerate(each.times):
            for d, name in enumerate(each.targets):
                numbers = (each.mean[h, d], *each.quantiles[h, d])
                writer.writerow([each.series, time, name, *(f"{n:.6g}" for n in numbers)])
    if picture is not None:
        draw_forecasts(picture, forecaster, panel, back=back)


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


def _demo(minutes: float) -> None:
    for name, each in DEMOS.items():
        output = free_path(f"forecasting-{name}")
        forecasting.train(
            output=output,
            demo=name,
            horizon=each.horizon,
            context=each.context,
            minutes=minutes,
        )
