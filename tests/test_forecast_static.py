"""What is said of a series as a whole is read, and tables may be DataFrames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.tasks import forecasting, make_options
from unrolled.tasks.forecasting import Forecasting
from unrolled.tasks.series.data import Columns, Series, make_panel, read_panel
from unrolled.tasks.series.static import StaticScale

OPTIONS: dict[str, Any] = {"hidden": 16, "horizon": 4, "context": 8, "batch": 16, "quiet": True}


def shops(count: int = 12, steps: int = 80) -> dict[str, list[Any]]:
    """Every fourth day is large or small, which only the kind of a shop tells."""
    columns: dict[str, list[Any]] = {name: [] for name in ("t", "id", "kind", "size", "y")}
    rng = np.random.default_rng(0)
    for shop in range(count):
        # Nothing happens before the end of what is known, so that the past says nothing.
        y = rng.standard_normal(steps)
        y[3::4] = 5.0 if shop % 2 else -5.0
        columns["t"] += range(steps)
        columns["id"] += [f"shop {shop}"] * steps
        columns["kind"] += ["north" if shop % 2 else "south"] * steps
        columns["size"] += [100.0 * shop] * steps
        columns["y"] += y.tolist()
    return columns


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    rows = [",".join(columns)]
    rows += [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


NAMES: dict[str, Any] = {"target": "y", "series": "id", "time": "t", "static": "kind,size"}


def test_a_series_without_a_past_is_known_by_what_is_said_of_it(tmp_path: Path) -> None:
    """From its second step on a new shop is forecast as those of its kind."""
    source = write(tmp_path / "shops.csv", shops())
    trained = forecasting.train(
        source, steps=250, lr=1e-2, linear=False, head="gaussian", **NAMES, **OPTIONS
    )
    for kind, expected in (("north", 5.0), ("south", -5.0)):
        new = {"t": [0, 1, 2], "id": ["new"] * 3, "kind": [kind] * 3, "size": [""] * 3}
        new["y"] = [0.3, -1.0, 0.8]
        scaled = trained.read(write(tmp_path / "new.csv", new))
        scale = trained.scales["shop 0"]
        known = forecasting.Forecaster(
            trained.model, trained.kind, {"new": scale}, trained.options, trained.spread
        )
        (found,) = known.predict(scaled, horizon=1)
        assert found.mean[0, 0] == pytest.approx(expected, abs=2.5)
        live = known.stream(scaled.series[0])
        # The same numbers in float32, but for means that are summed in another order.
        np.testing.assert_allclose(live.forecast(horizon=1).mean, found.mean, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="said of a series as a whole, kind, size"):
        trained.stream(scale=trained.scales["shop 0"])


def test_a_checkpoint_holds_it(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    source = write(tmp_path / "shops.csv", shops(3))
    trained = forecasting.train(
        source, steps=2, output=tmp_path / "m.safetensors", **NAMES, **OPTIONS
    )
    again = forecasting.load(tmp_path / "m.safetensors")
    assert again.kind.static == trained.kind.static
    for one, other in zip(trained.predict(source), again.predict(source), strict=True):
        np.testing.assert_array_equal(one.mean, other.mean)


def test_numbers_and_categories() -> None:
    empty = np.zeros((1, 0))
    said = [("1.5", "red"), ("", "blue"), ("4.5", ""), ("3", "red")]
    series = [
        Series(str(n), 0, np.zeros((1, 1)), empty, empty, each) for n, each in enumerate(said)
    ]
    scale = StaticScale.of(series, Columns(static=("size", "colour")))
    assert scale.counts == [3]  # blue, red, and all others
    numbers, places = scale(series)
    deviation = np.std([1.5, 4.5, 3.0])
    np.testing.assert_allclose(numbers[:, 0] * deviation, [-1.5, 0.0, 1.5, 0.0], atol=1e-6)
    np.testing.assert_array_equal(places[:, 0], [2, 1, 0, 2])
    new = [Series("x", 0, np.zeros((1, 1)), empty, empty, ("", "green"))]
    assert scale(new)[1].tolist() == [[0]]
    wrong = [Series("x", 0, np.zeros((1, 1)), empty, empty, ("big", "red"))]
    with pytest.raises(ValueError, match="'x' has 'big' where those that were learned"):
        scale(wrong)


def test_what_changes_is_not_static(tmp_path: Path) -> None:
    columns = shops(2)
    columns["kind"][5] = "west"
    with pytest.raises(
        ValueError, match="'shop 0' has 'south' and 'west'; what changes is --known"
    ):
        forecasting.train(write(tmp_path / "t.csv", columns), steps=1, **NAMES, **OPTIONS)


def test_what_a_file_says_is_not_trusted(tmp_path: Path) -> None:
    source = write(tmp_path / "shops.csv", shops(4))
    given = {**NAMES, **{k: v for k, v in OPTIONS.items() if k != "quiet"}}
    task = Forecasting(make_options(Forecasting, given), [source])
    task.load()
    model = task.build(np.random.default_rng(0))
    assets = task.assets(model)
    series = assets["series"]
    for static, text in (
        ({"columns": []}, "as many static columns"),
        ({"columns": [{"categories": ["a"]}, {"deviation": 0.0}]}, "above zero"),
        ({"columns": [{"categories": ["a"]}, {}]}, "categories"),
        ({"columns": [{}, {}]}, "static numbers"),
    ):
        with pytest.raises(ValueError, match=text):
            Forecasting.restore(
                task.options, {**assets, "series": {**series, "static": static}}, model.parameters
            )


def test_a_dataframe_is_a_table(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="DataFrames come with the extra [series]")
    columns = shops(3)
    source = write(tmp_path / "shops.csv", columns)
    frame = pandas.DataFrame(columns)
    options = {**NAMES, **OPTIONS}
    from_file, from_frame = (
        forecasting.train(each, steps=3, **options) for each in (source, frame)
    )
    for one, other in zip(from_file.predict(source), from_frame.predict(frame), strict=True):
        np.testing.assert_array_equal(one.mean, other.mean)
        np.testing.assert_array_equal(one.times, other.times)
    assert len(from_frame.read(frame).series) == 3


def test_dataframes_of_all_kinds() -> None:
    pandas = pytest.importorskip("pandas", reason="DataFrames come with the extra [series]")
    days = pandas.date_range("2024-01-01", periods=3)
    expected = [[1.0], [np.nan], [3.0]]
    for frame in (
        pandas.DataFrame({"y": [1.0, None, 3.0]}, index=days),
        pandas.DataFrame({"y": [1.0, None, 3.0]}, index=days.rename("when")),
        pandas.DataFrame({"date": days, "y": pandas.array([1, None, 3], dtype="Int64")}),
        pandas.DataFrame({"date": days.astype(str), "y": ["1", "", "3"]}),
    ):
        time = "when" if frame.index.name == "when" else None
        found = read_panel(frame, Columns(time=time))
        assert str(found.step) == "1 day"
        np.testing.assert_array_equal(found.series[0].targets, expected)
    for bad, text in (
        (pandas.DataFrame({"y": []}), "no rows"),
        (pandas.DataFrame([[1, 2]], columns=["y", "y"]), "'y' twice"),
        (pandas.DataFrame({"date": days, "y": [1.0, np.inf, 2.0]}), "line 1: 'y' is infinite"),
    ):
        with pytest.raises(ValueError, match=text):
            read_panel(bad, Columns())


def test_static_columns_are_no_targets() -> None:
    panel = make_panel(shops(2), Columns(time="t", series="id", static=("kind",)), where="t")
    assert panel.columns.targets == ("size", "y")
    assert [each.static for each in panel.series] == [("south",), ("north",)]
