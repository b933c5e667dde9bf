"""An autoregressive decoder draws paths, the same in a table and in a stream."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tables import write_table
from unrolled import cli
from unrolled.tasks import forecasting
from unrolled.tasks.series.regressor import SeriesForecaster

OPTIONS: dict[str, Any] = {"hidden": 8, "horizon": 5, "context": 10, "batch": 16}
AUTOREGRESSIVE: dict[str, Any] = {**OPTIONS, "decoder": "autoregressive", "quiet": True}


def walk(count: int, seed: int = 0) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).standard_normal(count))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "walk.csv", {"y": walk(600), "z": walk(600, 1)})


def test_steps_of_a_random_walk_add_up(table: Path) -> None:
    """The spread of paths grows with the root of the step: their steps hang together."""
    trained = forecasting.train(table, steps=60, **AUTOREGRESSIVE, head="gaussian")
    (found,) = trained.predict(table)
    paths = found.sample(4000, np.random.default_rng(0))
    assert paths.shape == (4000, 5, 2)
    spread = paths.std(axis=0)
    # What the model has learned is near a walk of deviation one, not at it.
    np.testing.assert_allclose(spread[4] / spread[0], np.sqrt(5.0), rtol=0.3)
    kept = np.corrcoef(paths[:, 3, 0], paths[:, 4, 0])[0, 1]
    assert kept == pytest.approx(np.sqrt(4.0 / 5.0), abs=0.1)
    direct = forecasting.train(table, steps=60, quiet=True, head="gaussian", **OPTIONS)
    (alone,) = direct.predict(table)
    draws = alone.sample(4000, np.random.default_rng(0))
    # Independent: five deviations of a correlation of 4,000 pairs.
    assert abs(np.corrcoef(draws[:, 3, 0], draws[:, 4, 0])[0, 1]) < 5.0 / np.sqrt(4000)


@pytest.mark.parametrize("head", ["gaussian", "student-t", "quantile"])
def test_draws_have_the_quantiles_that_are_told(table: Path, head: str) -> None:
    """Of both decoders, calibrated or not."""
    for decoder in ("direct", "autoregressive"):
        options = {**OPTIONS, "head": head, "decoder": decoder, "quiet": True}
        trained = forecasting.train(table, steps=10, **options)
        assert trained.spread is not None
        levels = (0.1, 0.5, 0.9)
        (found,) = trained.predict(table, levels=levels, paths=4000)
        draws = found.sample(8000, np.random.default_rng(1))
        for q, level in enumerate(levels):
            share = (draws <= found.quantiles[..., q]).mean(axis=0)
            # Five deviations of 8,000 draws and of the 4,000 that the quantile may be read from;
            # draws of the head of quantiles leave out 2.5% at either end.
            slack = 0.025 + (0.025 if head == "quantile" else 0.0)
            np.testing.assert_allclose(share, level, atol=slack)


def test_a_stream_says_the_same(table: Path) -> None:
    trained = forecasting.train(table, steps=5, **AUTOREGRESSIVE)
    panel = trained.read(table)
    (at_once,) = trained.predict(panel)
    found = trained.stream(panel.series[0]).forecast()
    # The same draws by the same generator, of states that agree as those of any stream do.
    np.testing.assert_allclose(found.mean, at_once.mean, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.quantiles, at_once.quantiles, rtol=1e-3, atol=1e-3)
    live = trained.stream(panel.series[0])
    assert live.surprise([1e6, np.nan])[0] > 2.0


def test_what_is_missing_is_told_as_the_value_before(tmp_path: Path) -> None:
    values: list[Any] = walk(300).tolist()
    for row in (20, 21, 22, 100, 299):
        values[row] = ""
    source = write_table(tmp_path / "gaps.csv", {"y": values})
    trained = forecasting.train(source, steps=5, **AUTOREGRESSIVE)
    (found,) = trained.predict(source)
    assert np.isfinite(found.sample(10)).all()


def test_the_estimator(table: Path) -> None:
    model = SeriesForecaster(horizon=4, context=8, hidden=8, steps=5, decoder="autoregressive")
    model.fit(None, walk(200))
    assert model.forecast().sample(7, np.random.default_rng(0)).shape == (7, 4, 1)
    assert model.predict().shape == (4,)
    with pytest.raises(ValueError, match="paths of 1 or more, got 0"):
        model.forecast().sample(0)


def test_command_line(
    table: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("typer", "rich", "safetensors", "matplotlib"):
        pytest.importorskip(package, reason=f"{package} comes with the extra [train]")
    monkeypatch.chdir(table.parent)
    run("forecast", "walk.csv", "--horizon", "3", "--minutes", "0.01", "--paths", "2")
    printed = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert len(rows) == 3 * 2
    names = ["series", "time", "target", "forecast", "q0.05", "q0.5", "q0.95", "path1", "path2"]
    assert list(rows[0]) == names
    assert all(np.isfinite(float(row["path2"])) for row in rows)
    assert "held out" in printed.err  # how far the training is
    assert forecasting.load("forecasting.safetensors").model.autoregressive
    run("forecast", "forecasting.safetensors", "--horizon", "2")
    assert "path1" not in capsys.readouterr().out
    run("backtest", "forecasting.safetensors")
    assert "in 90%" in capsys.readouterr().out


def run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 0
