"""Counts are forecast as counts."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.tasks import forecasting, make_options
from unrolled.tasks.forecasting import Forecasting
from unrolled.tasks.series.data import Series
from unrolled.tasks.series.windows import Scale

HEAD = "negative-binomial"
OPTIONS: dict[str, Any] = {"hidden": 16, "horizon": 6, "context": 14, "batch": 16, "head": HEAD}


def demand(count: int, level: float, seed: int) -> np.ndarray:
    """A week's pattern of rare or of many sales."""
    rng = np.random.default_rng(seed)
    week = np.array([1.0, 0.5, 0.5, 1.0, 2.0, 4.0, 3.0])
    mean = level * week[np.arange(count) % 7]
    return rng.poisson(rng.gamma(5.0, mean / 5.0))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    days = np.datetime64("2023-01-01") + np.arange(400)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("date", "shop", "sold"))
        for shop, level in enumerate((0.1, 2.0, 500.0)):
            writer.writerows(
                (str(d), f"shop {shop}", n)
                for d, n in zip(days, demand(400, level, shop), strict=True)
            )
    return path


@pytest.mark.parametrize("more", [{}, {"linear": False}, {"decoder": "autoregressive"}])
def test_quantiles_and_draws_are_counts(table: Path, more: dict[str, Any]) -> None:
    trained = forecasting.train(
        table, series="shop", target="sold", steps=40, lr=5e-3, quiet=True, **OPTIONS, **more
    )
    assert trained.spread is None  # its intervals are whole numbers, and stay so
    for found, level in zip(trained.predict(table), (0.1, 2.0, 500.0), strict=True):
        draws = found.sample(200, np.random.default_rng(0))
        for numbers in (found.quantiles, draws):
            # Counts over a unit in float32, times the unit.
            np.testing.assert_allclose(numbers, np.rint(numbers), rtol=1e-6, atol=1e-6)
            assert (numbers > -1e-6).all()
        assert 0.1 * level < found.mean.mean() < 10.0 * level
    live = trained.stream(trained.read(table).series[0])
    assert np.isfinite(live.surprise([0.0])).all()
    assert live.surprise([50.0])[0] > 2.0  # of a shop that sells one in ten days


def test_it_beats_what_needs_no_learning(table: Path) -> None:
    options = {**OPTIONS, "series": "shop", "target": "sold", "test": 80}
    trained = forecasting.train(table, steps=200, lr=5e-3, quiet=True, **options)
    task = Forecasting(make_options(Forecasting, options), [table])
    task.load()
    scores = dict(task.score_test(trained).rows)
    assert scores["this model"].mse < 0.7 * scores["last season"].mse
    coverage = scores["this model"].coverage
    assert coverage is not None
    # At least 90%, more where a single count holds more than the tail; 3 times 13 weeks.
    assert 0.85 < coverage <= 1.0


def test_counts_are_only_divided() -> None:
    counts = np.array([0.0, 3.0, np.nan, 9.0])[:, None]
    empty = np.zeros((4, 0))
    scale = Scale.of(Series("a", 0, counts, empty, empty), 4, counts=1)
    assert scale.mean.tolist() == [0.0]
    assert scale.deviation.tolist() == [5.0]  # one more than the mean of what is there
    nothing = Scale.of(Series("b", 0, np.zeros((4, 1)), empty, empty), 4, counts=1)
    assert nothing.deviation.tolist() == [1.0]


@pytest.mark.parametrize(
    ("value", "options", "text"),
    [
        ("2.5", {}, r"counts, 0, 1, 2 and so on, but the series 'series' has 2\.5: use --head"),
        ("-1", {}, "has -1: use --head student-t"),
        ("3", {"log": True}, "--log is not for counts"),
    ],
)
def test_what_is_no_count(tmp_path: Path, value: str, options: dict[str, Any], text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("y\n" + "1\n" * 60 + f"{value}\n" + "2\n" * 60, encoding="utf-8")
    with pytest.raises(ValueError, match=text):
        forecasting.train(path, steps=1, quiet=True, **OPTIONS, **options)
