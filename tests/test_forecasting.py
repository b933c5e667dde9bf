"""The task forecasting: it beats what needs no learning, keeps to its part of time, and streams."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tables import write_table
from unrolled import cli
from unrolled.tasks import forecasting, make_options
from unrolled.tasks.forecasting import Forecaster, Forecasting

QUICK: dict[str, Any] = {"hidden": 16, "horizon": 6, "context": 24, "batch": 16, "quiet": True}


def days(count: int) -> list[str]:
    return [str(day) for day in np.datetime64("2023-01-01") + np.arange(count)]


def weekly(count: int, seed: int = 0) -> np.ndarray:
    """A week's pattern on a level that wanders."""
    rng = np.random.default_rng(seed)
    level = np.cumsum(0.02 * rng.standard_normal(count))
    pattern = np.array([0.0, 0.2, 0.1, 0.4, 1.0, 3.0, 2.0])
    return level + pattern[np.arange(count) % 7] + 0.1 * rng.standard_normal(count)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "sales.csv", {"date": days(400), "sold": weekly(400)})


def loaded(source: Path, **options: Any) -> Forecasting:
    given = {name: value for name, value in QUICK.items() if name != "quiet"}
    task = Forecasting(make_options(Forecasting, {**given, **options}), [source])
    task.load()
    return task


def test_beats_what_needs_no_learning(table: Path) -> None:
    options = {**QUICK, "linear": False, "test": 80, "hidden": 64, "dropout": 0.0, "lr": 3e-3}
    trained = forecasting.train(table, steps=300, **options)
    task = loaded(table, linear=False, test=80)
    scores = dict(task.score_test(trained).rows)
    assert scores["this model"].mse < 0.9 * scores["last season"].mse
    assert scores["this model"].mse < 0.2 * scores["last value"].mse
    coverage = scores["this model"].coverage
    assert coverage is not None
    # 75 overlapping forecasts of 6 steps: about 13 that share nothing with each other.
    assert 0.7 < coverage <= 1.0


def test_begins_as_the_regression(table: Path) -> None:
    """Before the first update the linear path alone speaks, at least as well as a regression."""
    task = loaded(table, head="point")
    model = task.build(np.random.default_rng(0))
    trained = task.restore(task.options, task.assets(model), model.parameters)
    scores = dict(task.score_test(trained).rows)
    assert scores["this model"].mse < 1.1 * scores["regression"].mse


def test_learns_from_its_part_of_time_alone(tmp_path: Path) -> None:
    """What comes after the part to learn from has no influence on a bit of what is learned."""
    values = weekly(300)
    changed = values.copy()
    changed[220:] = 1e3 * np.random.default_rng(1).standard_normal(80)
    weights = []
    for number, column in enumerate((values, changed)):
        source = write_table(tmp_path / f"{number}.csv", {"date": days(300), "y": column})
        task = loaded(source, validation=40, test=40, linear=False)
        batch = task.batches(np.random.default_rng(0)).next()
        model = task.build(np.random.default_rng(0))
        _, pullback = task.loss(model, batch, None, np.random.default_rng(0))
        pullback(1.0)
        weights.append(model.flat.grads.copy())
    np.testing.assert_array_equal(weights[0], weights[1])


def test_what_is_missing_counts_for_nothing(tmp_path: Path) -> None:
    values = [f"{v:.6f}" for v in weekly(300)]
    for row in (5, 50, 51, 52, 130, 200):
        values[row] = ""
    source = write_table(tmp_path / "gaps.csv", {"date": days(300), "y": values})
    task = loaded(source, validation=40, test=40)
    number = int(task.learned.ends.sum())
    observed = 0
    for batch, meant in forecasting.roll(task.windows, task.learned, 1):
        observed += int(batch.observed[0, meant].sum())
        assert np.isfinite(batch.x).all()
    # Every step but the first, and those near the end, is the first step of one forecast.
    assert observed == number - 1 - (QUICK["horizon"] - 1) - 6
    trained = forecasting.train(source, steps=3, **QUICK)
    assert np.isfinite(trained.predict(source)[0].mean).all()


def test_known_covariates_are_read_ahead(tmp_path: Path) -> None:
    """A target that is tomorrow's price can only be said by who reads tomorrow's price."""
    rng = np.random.default_rng(3)
    price = rng.integers(0, 2, 420).astype(float)
    sold = [
        f"{10.0 - 4.0 * p + 0.01 * e:.4f}"
        for p, e in zip(price, rng.standard_normal(420), strict=True)
    ]
    sold[400:] = [""] * 20
    source = write_table(tmp_path / "p.csv", {"date": days(420), "sold": sold, "price": price})
    trained = forecasting.train(
        source, target="sold", known="price", steps=150, lr=1e-2, head="gaussian", **QUICK
    )
    found = trained.predict(source)[0]
    assert found.times[0] == np.datetime64("2023-01-01") + 400
    expected = 10.0 - 4.0 * price[400:406]
    assert np.abs(found.mean[:, 0] - expected).max() < 1.0  # the two prices are 4 apart


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("linear", [False, True])
def test_a_stream_says_the_same(tmp_path: Path, apart: bool, linear: bool) -> None:
    count = 60
    source = write_table(
        tmp_path / "two.csv",
        {
            "date": days(count),
            "a": weekly(count),
            "b": ["" if i in (7, 8) else v for i, v in enumerate(weekly(count, 1))],
            "hot": weekly(count, 2),
        },
    )
    trained = forecasting.train(
        source,
        target="a,b",
        past="hot",
        apart=apart,
        linear=linear,
        steps=4,
        validation=8,
        test=4,
        **{**QUICK, "horizon": 3, "context": 6},
    )
    panel = trained.read(source)
    for series, at_once in zip(panel.series, trained.predict(panel), strict=True):
        live = trained.stream(series)
        found = live.forecast()
        # The same numbers in float32, but for means that are summed in another order.
        np.testing.assert_allclose(found.mean, at_once.mean, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.quantiles, at_once.quantiles, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found.times, at_once.times)
        live.observe(series.targets[0], past=series.past[0])
        assert live.count == count + 1
        assert live.forecast().times[0] > found.times[0]


def test_a_stream_is_surprised(table: Path) -> None:
    for head, most in (("gaussian", 3.0), ("quantile", 1.3)):
        trained = forecasting.train(table, steps=60, head=head, lr=3e-3, **QUICK)
        live = trained.stream(trained.read(table).series[0])
        found = live.forecast(horizon=1, levels=(0.5, 0.95)).quantiles[0, 0]
        assert live.surprise([found[0]])[0] == pytest.approx(0.0, abs=1e-6)
        assert live.surprise([found[1]])[0] == pytest.approx(1.0, abs=1e-6)  # one in ten
        assert live.surprise([1e6])[0] == pytest.approx(most, abs=0.01)
        assert np.isnan(live.surprise([np.nan])[0])
    point = forecasting.train(table, steps=1, head="point", **QUICK)
    with pytest.raises(ValueError, match="never surprised"):
        point.stream(point.read(table).series[0]).surprise([1.0])


def test_a_checkpoint_holds_all_of_it(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    trained = forecasting.train(table, steps=3, output=tmp_path / "model", **QUICK)
    again = forecasting.load(tmp_path / "model.safetensors")
    for one, other in zip(trained.predict(table), again.predict(table), strict=True):
        np.testing.assert_array_equal(one.mean, other.mean)
        np.testing.assert_array_equal(one.quantiles, other.quantiles)


def test_one_model_for_many_series(tmp_path: Path) -> None:
    """Each is standardised by itself; one that was not there is forecast too."""
    columns: dict[str, list[Any]] = {"date": [], "shop": [], "sold": []}
    for number, size in enumerate((1.0, 100.0, 1e4)):
        columns["date"] += days(120)
        columns["shop"] += [f"shop {number}"] * 120
        columns["sold"] += (size * (10.0 + weekly(120, number))).tolist()
    source = write_table(tmp_path / "shops.csv", columns)
    trained = forecasting.train(source, series="shop", steps=60, lr=5e-3, **QUICK)
    told: list[tuple[int, int]] = []
    found = trained.predict(source, told=lambda *counts: told.append(counts))
    assert told[-1] == (3, 3)
    for forecast, size in zip(found, (1.0, 100.0, 1e4), strict=True):
        assert 5.0 * size < forecast.mean.mean() < 20.0 * size
    other = write_table(
        tmp_path / "new.csv",
        {"date": days(60), "shop": ["new"] * 60, "sold": (7.0 + weekly(60, 9)).tolist()},
    )
    (found,) = trained.predict(other)
    assert found.series == "new"
    assert 2.0 < found.mean.mean() < 14.0


def test_constant_series(tmp_path: Path) -> None:
    source = write_table(tmp_path / "flat.csv", {"date": days(200), "y": [5.0] * 200})
    trained = forecasting.train(source, steps=3, **QUICK)
    np.testing.assert_allclose(trained.predict(source)[0].mean, 5.0, atol=0.5)


@pytest.mark.parametrize(
    ("rows", "options", "text"),
    [
        (8, {}, "are left to learn from"),
        (200, {"horizon": 0}, "--horizon 1 or more"),
        (200, {"origins": 0}, "--origins 1 or more"),
        (200, {"batch": 0}, "--batch 1 or more"),
        (200, {"validation": -1}, "--validation 0 or more"),
        (200, {"test": float("nan")}, "--test 0 or more"),
        (200, {"test": 190}, "are left to learn from"),
        (200, {"validation": 2}, "--validation holds out no 6 steps"),
        (200, {"head": "cauchy"}, "student-t"),
    ],
)
def test_what_cannot_be_learned_from(
    tmp_path: Path, rows: int, options: dict[str, Any], text: str
) -> None:
    source = write_table(tmp_path / "t.csv", {"date": days(rows), "y": weekly(rows)})
    with pytest.raises(ValueError, match=text):
        forecasting.train(source, steps=1, **{**QUICK, **options})


def test_a_target_without_a_value_to_learn_from(tmp_path: Path) -> None:
    late = ["" if row < 150 else f"{value:.6f}" for row, value in enumerate(weekly(200))]
    for name, column in (("late", late), ("never", [""] * 200)):
        columns = {"date": days(200), "y": weekly(200), name: column}
        source = write_table(tmp_path / "t.csv", columns)
        with pytest.raises(ValueError, match=f"{name} has no value in the part to learn from"):
            forecasting.train(source, steps=1, **QUICK)
        forecasting.train(source, steps=1, target="y", known=name, **QUICK)


def test_numbers_that_no_mean_holds(tmp_path: Path) -> None:
    values = weekly(200)
    values[5] = 1e300
    source = write_table(tmp_path / "t.csv", {"date": days(200), "y": values})
    with pytest.raises(ValueError, match="'series' has a value of size 1e"):
        forecasting.train(source, steps=1, **QUICK)


def test_series_of_another_kind(table: Path, tmp_path: Path) -> None:
    trained = forecasting.train(table, steps=1, **QUICK)
    hours = [str(each) for each in np.datetime64("2023-01-01T00", "h") + np.arange(60)]
    hourly = write_table(tmp_path / "hourly.csv", {"date": hours, "sold": weekly(60)})
    with pytest.raises(
        ValueError, match="every 1 hour, but the model learned from one every 1 day"
    ):
        trained.predict(hourly)
    other = write_table(tmp_path / "other.csv", {"date": days(60), "bought": weekly(60)})
    with pytest.raises(ValueError, match="no column 'sold'"):
        trained.predict(other)
    with pytest.raises(ValueError, match="horizon of 1 to 6"):
        trained.predict(table, horizon=7)
    live = trained.stream(trained.read(table).series[0])
    with pytest.raises(ValueError, match="finite or NaN"):
        live.observe([float("inf")])
    with pytest.raises(ValueError, match="too far from the rest"):
        live.observe([1e300])
    for levels in ((0.0,), (0.5, 1.0), (float("nan"),)):
        with pytest.raises(ValueError, match="quantiles between 0 and 1"):
            trained.predict(table, levels=levels)
        with pytest.raises(ValueError, match="quantiles between 0 and 1"):
            live.forecast(levels=levels)
    with pytest.raises(ValueError, match=r"expected 1 values, got shape \(2,\)"):
        live.surprise([1.0, 2.0])
    with pytest.raises(ValueError, match=r"\(H, K\) = \(2, 0\), got \(2, 1\)"):
        live.forecast(horizon=2, known=np.zeros((2, 1)))


def test_command_line(
    table: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("typer", "rich", "safetensors", "matplotlib"):
        pytest.importorskip(package, reason=f"{package} comes with the extra [train]")
    monkeypatch.chdir(table.parent)
    run(
        *("train", "forecasting", "sales.csv", "--steps", "3", "--horizon", "6"),
        *("--context", "24", "--output", "model.safetensors"),
    )
    assert "this model" in capsys.readouterr().out
    assert Path("model-forecast.png").stat().st_size > 1000
    run("forecast", "model.safetensors", "--horizon", "4", "--picture", "next.png")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["time"][:10] for row in rows] == days(404)[400:]
    assert all(float(row["q0.05"]) < float(row["q0.95"]) for row in rows)
    assert Path("next.png").stat().st_size > 1000
    run("evaluate", "forecasting", "model.safetensors", "sales.csv")
    evaluated = capsys.readouterr().out
    assert "last season" in evaluated
    run("evaluate", "forecasting", "model.safetensors", "--tokens")
    assert "\nseries  " in capsys.readouterr().out
    run("backtest", "model.safetensors", "--picture", "back.png")
    assert capsys.readouterr().out == evaluated
    assert Path("back.png").stat().st_size > 1000


def run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 0


def test_what_a_file_says_is_not_trusted(table: Path) -> None:
    task = loaded(table)
    model = task.build(np.random.default_rng(0))
    assets = task.assets(model)
    (name,) = assets["scales"]
    series = assets["series"]
    for changes, text in [
        ({"scales": {name: [[0.0], [0.0]]}}, "above zero"),
        ({"scales": {name: [[0.0, 1.0], [1.0, 1.0]]}}, "1 means and deviations"),
        ({"series": {**series, "step": {"count": 0, "unit": "s"}}}, "step of a grid"),
        ({"series": {**series, "step": {"count": 1, "unit": "h"}}}, "unit"),
        ({"series": {**series, "season": 1000}}, "season of 1 to"),
        ({"series": {**series, "calendar": {"cycles": []}}}, "inputs a step"),
        ({"series": {**series, "context": 7}}, "values of context"),
    ]:
        with pytest.raises(ValueError, match=text):
            Forecasting.restore(task.options, {**assets, **changes}, model.parameters)
    restored = Forecasting.restore(task.options, assets, model.parameters)
    assert isinstance(restored, Forecaster)
