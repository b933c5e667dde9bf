"""Tables become series on a grid; what is missing stays missing, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unrolled.tasks.series.data import Columns, read_panel
from unrolled.tasks.series.demo import demo_panel
from unrolled.tasks.series.times import Calendar, Step, find_step


def panel(folder: Path, text: str, **columns: object):
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return read_panel(path, Columns(**columns))  # type: ignore[arg-type]


def test_a_plain_table(tmp_path: Path) -> None:
    found = panel(tmp_path, "date,a,b\n2024-01-01,1,2\n2024-01-02,3,\n2024-01-03,5,6\n")
    assert found.columns.targets == ("a", "b")
    assert str(found.step) == "1 day"
    np.testing.assert_array_equal(found.series[0].targets, [[1, 2], [3, np.nan], [5, 6]])
    assert "1 of them missing" in str(found)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters(tmp_path: Path, delimiter: str) -> None:
    text = "ds,y\n2024-01-01,1\n2024-01-02,2\n".replace(",", delimiter)
    assert len(panel(tmp_path, text).series[0]) == 2


def test_gaps_become_missing_values(tmp_path: Path) -> None:
    text = "time,y\n2024-01-01 00:00,1\n2024-01-01 01:00,2\n2024-01-01 02:00,3\n"
    found = panel(tmp_path, text + "2024-01-01 05:00,4\n").series[0]
    np.testing.assert_array_equal(found.targets[:, 0], [1, 2, 3, np.nan, np.nan, 4])


def test_rows_may_come_in_any_order(tmp_path: Path) -> None:
    text = "id,t,time,y\nb,0,3,30\na,0,2,2\nb,0,1,10\na,0,1,1\nb,0,2,20\na,0,3,3\n"
    found = panel(tmp_path, text, targets=("y",), series="id", time="time")
    assert [each.name for each in found.series] == ["b", "a"]
    np.testing.assert_array_equal(found.series[0].targets[:, 0], [10, 20, 30])
    np.testing.assert_array_equal(found.series[1].targets[:, 0], [1, 2, 3])


def test_without_times_rows_follow_each_other(tmp_path: Path) -> None:
    found = panel(tmp_path, "id,y\na,1\nb,5\na,2\nb,6\n", series="id")
    np.testing.assert_array_equal(found.series[1].targets[:, 0], [5, 6])
    assert found.step == Step(1, "number")


def test_known_covariates_reach_beyond_the_targets(tmp_path: Path) -> None:
    text = "date,y,price\n2024-01-01,1,9\n2024-01-02,2,8\n2024-01-03,,7\n2024-01-04,,6\n"
    found = panel(tmp_path, text, targets=("y",), known=("price",)).series[0]
    assert len(found) == 2
    np.testing.assert_array_equal(found.known[:, 0], [9, 8, 7, 6])


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("", {}, "no header"),
        ("date,y\n", {}, "no rows"),
        ("date,y\n2024-01-01,1,2\n", {}, "line 2: 3 cells"),
        ("y,y\n1,2\n", {}, "'y' twice"),
        ("date,y\n2024-01-01,1\n2024-01-02,inf\n", {}, "line 3: 'y' is infinite"),
        ("date,y\n2024-01-01,1\n2024-01-02,much\n", {}, "line 3: 'much' is no number"),
        ("date,y\n2024-01-01,1\nyesterday,2\n", {}, "line 3: 'yesterday' is no time"),
        ("date,y\n2024-01-01,1\ntoday,2\n", {}, "line 3: 'today' is no time"),
        ("date,y\n2024-01-01T00:00\b,1\n2024-01-02,2\n", {}, "line 2: .* is no time"),
        ("date,y\n2024-01-01T00:00-5,1\n2024-01-02,2\n", {}, "line 2: .* is no time"),
        (
            "date,y\n2024-01-01,1\n2024-01-02,2\n99024-01-03,3\n",
            {},
            "3 rows in 35,428,525 steps of 1 day, from 2024-01-01.* is one of its times wrong",
        ),
        (f"date,y\n2024-01-01,{'1' * 200_000}\n", {}, "table.csv is no table: field larger"),
        ("date,y\n2024-01-01,1\n2024-01-01,2\n", {}, "line 3: the time 2024-01-01.* line 2"),
        (
            "date,y\n2024-01-01,1\n2024-01-02,2\n2024-01-03,3\n2024-01-04T12:00,4\n",
            {},
            "2024-01-04T12:00:00 is not on the grid of 1 day",
        ),
        ("date,y\n2024-01-01,1\n", {}, "table.csv: no series has two times"),
        ("id,date,y\na,2024-01-01,1\n,2024-01-02,2\n", {"series": "id"}, "line 3: .* no name in"),
        ("date,y\n2024-01-01,\n2024-01-02,\n", {}, "no value of y"),
        ("date,y\n2024-01-01,1\n2024-01-02,2\n", {"targets": ("x",)}, "no column 'x', only"),
        ("date,y\n2024-01-01,1\n", {"targets": ("date",)}, "more than one part"),
        ("date\n2024-01-01\n", {}, "--target"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, text: str, columns: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        panel(tmp_path, text, **columns)


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"date,y\n2024-01-01,\xe9\n")
    with pytest.raises(ValueError, match=r"table\.csv is not UTF-8 text: byte 0xe9; convert"):
        read_panel(path, Columns())


def test_times_with_a_zone_are_those_of_utc(tmp_path: Path) -> None:
    """Hours of a day that has 25 of them where it is written."""
    hours = ["01:00:00+02:00", "02:00:00+02:00", "02:00:00+01:00", "03:00:00+01:00"]
    rows = [f"2024-10-27 {hour},{n}" for n, hour in enumerate(hours)]
    found = panel(tmp_path, "\n".join(["time,y", *rows, "2024-10-27T03:00:00Z,4", ""])).series[0]
    assert str(found.start) == "2024-10-26T23:00:00"
    np.testing.assert_array_equal(found.targets[:, 0], np.arange(5))


def test_a_frame_with_a_time_that_is_not_there() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas comes with the extra [series]")
    times = pandas.to_datetime(["2024-01-01", None, "2024-01-03"])
    with pytest.raises(ValueError, match="line 1: 'date' has no time"):
        read_panel(pandas.DataFrame({"date": times, "y": [1.0, 2.0, 3.0]}), Columns())


def test_series_of_another_frequency_are_named(tmp_path: Path) -> None:
    day, month = np.datetime64("2024-01-01"), np.datetime64("2024-01")
    rows = [f"daily,{day + n},{n}" for n in range(60)]
    rows += [f"monthly,{month + n}-01,{n}" for n in range(24)]
    with pytest.raises(ValueError, match="'monthly' never has two values 1 day apart"):
        panel(tmp_path, "\n".join(["id,date,y", *rows, ""]), series="id")
    # What lacks most of its values is no other frequency, nor is what has only a few.
    gaps = [f"gaps,{day + n},{n}" for n in (0, 1, *range(5, 60, 5))]
    few = [f"few,{day + n},{n}" for n in range(0, 50, 7)]
    found = panel(tmp_path, "\n".join(["id,date,y", *rows[:60], *gaps, *few, ""]), series="id")
    assert [len(each) for each in found.series] == [60, 56, 50]


def test_parquet(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="Parquet needs the extra [series]")
    pytest.importorskip("pyarrow", reason="Parquet needs the extra [series]")
    frame = pandas.DataFrame(
        {"date": pandas.date_range("2024-01-31", periods=4, freq="ME"), "y": [1.0, None, 3.0, 4.0]}
    )
    frame.to_parquet(tmp_path / "table.parquet")
    found = read_panel(tmp_path / "table.parquet", Columns())
    assert str(found.step) == "1 month"
    np.testing.assert_array_equal(found.series[0].targets[:, 0], [1, np.nan, 3, 4])


@pytest.mark.parametrize(
    ("first", "unit", "every", "text", "season"),
    [
        ("2024-01-01T00:00", "m", 15, "15 minutes", 96),
        ("2024-01-01T00:00", "h", 1, "1 hour", 24),
        ("2024-01-01", "D", 1, "1 day", 7),
        ("2024-01-01", "D", 7, "1 week", 52),
        ("2024-01", "M", 1, "1 month", 12),
        ("2024-01", "M", 3, "3 months", 4),
        ("2024", "Y", 1, "1 year", 1),
    ],
)
def test_steps(first: str, unit: str, every: int, text: str, season: int) -> None:
    start = np.datetime64(first, unit)
    times = (start + every * np.arange(60)).astype("datetime64[s]")
    step = find_step([times])
    assert str(step) == text
    assert step.season == season
    np.testing.assert_array_equal(step.places(times, times[0]), np.arange(60))
    np.testing.assert_array_equal(step.times(times[0], 10, 50), times[10:])


def test_ends_of_months_are_a_grid() -> None:
    ends = (
        np.arange("2023-02", "2025-02", dtype="datetime64[M]").astype("datetime64[D]") - 1
    ).astype("datetime64[s]")
    step = find_step([ends])
    assert step == Step(1, "M")
    np.testing.assert_array_equal(step.times(ends[0], 0, len(ends)), ends)
    np.testing.assert_array_equal(step.places(ends, ends[0]), np.arange(len(ends)))


def test_the_calendar_repeats() -> None:
    hours = (np.datetime64("2024-01-01T00", "h") + np.arange(24 * 14)).astype("datetime64[s]")
    hourly = Step(3600, "s")
    found = Calendar.of(hourly, 24 * 14)(hours)
    assert found.shape == (len(hours), 6)  # two years are needed for the year
    np.testing.assert_allclose(found[:24, [0, 1, 3, 4]], found[24:48, [0, 1, 3, 4]], atol=1e-6)
    np.testing.assert_allclose(found[:168], found[168:], atol=1e-6)
    assert Calendar.of(hourly, 24 * 800).width == 8
    assert Calendar.of(Step(1, "M"), 24).width == 2
    assert Calendar.of(Step(1, "number"), 1000)(np.arange(5)).shape == (5, 0)


def test_demos() -> None:
    pytest.importorskip("statsmodels", reason="the demos need the extra [series]")
    sunspots, co2 = demo_panel("sunspots"), demo_panel("co2")
    assert str(sunspots.step) == "1 year"
    assert len(sunspots.series[0]) == 309
    assert str(co2.step) == "1 week"
    assert np.isnan(co2.series[0].targets).sum() == 59
