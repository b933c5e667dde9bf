"""Intervals hold what they promise, and what recurrent layers add stays where it helps."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tables import write_table
from unrolled.tasks import forecasting, make_options
from unrolled.tasks.forecasting import Forecasting
from unrolled.tasks.series.baselines import linear
from unrolled.tasks.series.calibration import BAND, Following, away, calibrate, followed, widened
from unrolled.tasks.series.rolling import Rolled, roll_model
from unrolled.tasks.series.stacking import weights

H, W, D = 3, 1999, 2


def rolled(
    truth: np.ndarray,
    *,
    half: float = 1.0,
    regression: np.ndarray | None = None,
    mean: np.ndarray | None = None,
) -> Rolled:
    """Forecasts of zero, with the same interval everywhere."""
    bands = np.stack([np.full(truth.shape, each) for each in (-half, 0.0, half)], axis=-1)
    steps = np.arange(truth.shape[1])
    others = {} if regression is None else {"regression": regression}
    mean = np.zeros_like(truth) if mean is None else mean
    return Rolled(mean, bands, BAND, truth, np.zeros_like(steps), steps, others)


def test_distances_are_half_widths_of_their_side() -> None:
    bands = np.tile([-1.0, 1.0, 5.0], (5, 1))
    truth = np.array([1.0, 5.0, -1.0, 9.0, np.nan])
    np.testing.assert_array_equal(away(truth, bands), [0.0, 1.0, 1.0, 2.0, np.nan])
    moved = widened(bands, bands[:, 1], np.full(5, 0.5))
    np.testing.assert_array_equal(moved[0], [0.0, 1.0, 3.0])


def test_factors_are_those_of_a_new_forecast_being_inside() -> None:
    rng = np.random.default_rng(0)
    deviations = np.array([0.5, 1.0, 4.0])[:, None, None]
    found = calibrate(rolled(deviations * rng.standard_normal((H, W, D))), stride=H)
    # Of 1,999 the 90% quantile of |z|, 1.645: its deviation is sqrt(0.09 / 1,999) over a density of
    # 0.206; five of these.
    np.testing.assert_allclose(found / deviations[:, 0], 1.6449, rtol=0.099 / 1.6449)
    fresh = deviations * rng.standard_normal((H, 20_000, D))
    inside = (np.abs(fresh) <= found[:, None]).mean(axis=1)
    # Five deviations of the share that the factors leave inside, and of this count.
    np.testing.assert_allclose(inside, 0.9, atol=5 * np.sqrt(0.09 / 1999 + 0.09 / 20_000))


def test_few_forecasts_give_wider_intervals() -> None:
    truth = np.random.default_rng(1).standard_normal((H, 2000, 1))
    many, few = (calibrate(rolled(truth), stride).mean() for stride in (H, 1))
    assert few > many  # the same numbers, of forecasts that overlap
    ratio = [calibrate(rolled(truth[:, :n]), H).mean() for n in (4, 2000)]
    assert ratio[0] > 0.0
    tiny = calibrate(rolled(np.full((H, 1, 1), np.nan)), 1)
    np.testing.assert_array_equal(tiny, 1.0)  # nothing was observed
    assert (calibrate(rolled(np.full((H, 50, 1), 1e9)), 1) == 20.0).all()


def test_intervals_follow_series_that_change() -> None:
    """Noise becomes a quarter, then three times as large: nine of ten stay inside."""
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((H, 9000, 1))
    noise[:, 3000:6000] *= 0.25
    noise[:, 6000:] *= 3.0
    forecasts = rolled(noise, half=1.645)
    factors = followed(np.ones((H, 1)), forecasts, 1)
    inside = np.abs(noise) <= 1.645 * factors
    for part in (slice(0, 3000), slice(4000, 6000), slice(6500, 9000)):
        # The share is off from 0.9 by the change of a factor's logarithm over rate * steps, and
        # that is below log(12); the last two parts begin when most of the way is gone.
        assert inside[:, part].mean() == pytest.approx(0.9, abs=0.02)
    before = followed(
        np.ones((H, 1)), rolled(np.concatenate([noise[:, :50], 99 + noise[:, 50:]], 1)), 1
    )
    plain = followed(np.ones((H, 1)), rolled(noise), 1)
    # A forecast knows nothing of what comes after it: of step h that is what was forecast h ago.
    for h in range(H):
        np.testing.assert_array_equal(before[h, : 51 + h], plain[h, : 51 + h])
        assert (before[h, 51 + h :] != plain[h, 51 + h :]).all()


def test_what_is_missing_moves_nothing() -> None:
    following = Following(np.ones((H, D)))
    following.see(np.array([0, 2]), np.array([[np.nan, 0.5], [3.0, np.nan]]), np.ones((2, D)))
    factors = following.factors
    assert factors[0, 0] == factors[2, 1] == factors[1, 0] == 1.0
    assert factors[0, 1] < 1.0 < factors[2, 0]


def test_what_helps_stays_and_what_does_not_goes() -> None:
    rng = np.random.default_rng(3)
    truth, noise = rng.standard_normal((2, H, W, D))
    base = np.zeros_like(truth)
    good = weights(rolled(truth, regression=base, mean=truth + 0.5 * noise), H)
    # The best weight is 1 / (1 + 0.25); its error is about 1%.
    np.testing.assert_allclose(good, 0.8, atol=0.05)
    useless = weights(rolled(truth, regression=base, mean=noise), H)
    assert (useless < 0.05).all()
    wrong = weights(rolled(truth, regression=base, mean=-truth), H)
    np.testing.assert_array_equal(wrong, 0.0)


def series(count: int, noise: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(4)
    y = np.zeros(count)
    for t in range(2, count):
        y[t] = 1.2 * y[t - 1] - 0.5 * y[t - 2] + noise[t] * rng.standard_normal()
    return y


OPTIONS: dict[str, Any] = {"hidden": 8, "horizon": 4, "context": 12, "batch": 16}


def task_of(source: Path, **options: Any) -> Forecasting:
    task = Forecasting(make_options(Forecasting, {**OPTIONS, **options}), [source])
    task.load()
    return task


@pytest.mark.parametrize("head", ["student-t", "gaussian", "quantile"])
def test_nine_of_ten_are_inside(tmp_path: Path, head: str) -> None:
    """Of a series that becomes a third as noisy after what chooses the model."""
    noise = np.where(np.arange(2600) < 1600, 1.0, 0.35)
    source = write_table(tmp_path / "quiet.csv", {"y": series(2600, noise)})
    options = {"validation": 600, "test": 1000, "head": head}
    trained = forecasting.train(source, steps=20, quiet=True, **OPTIONS, **options)
    found = task_of(source, **options).score_test(trained)
    # 997 forecasts, about 250 of which share no step: three deviations are 0.06. On its way to a
    # third, which takes ten forecasts that share no step for each tenth, more are inside.
    assert found.rows[0][1].coverage == pytest.approx(0.92, abs=0.06)
    assert found.fixed is not None
    assert found.fixed > 0.98  # as wide as the noise was
    steady = write_table(tmp_path / "steady.csv", {"y": series(2600, np.ones(2600))})
    held = forecasting.train(steady, steps=20, quiet=True, **OPTIONS, **options)
    found = task_of(steady, **options).score_test(held)
    assert found.fixed == pytest.approx(0.9, abs=0.06)
    plain = forecasting.train(steady, steps=2, quiet=True, calibrate=False, **OPTIONS, **options)
    assert plain.spread is None
    assert task_of(steady, calibrate=False, **options).score_test(plain).fixed is None


def test_never_worse_than_the_regression_it_began_as(tmp_path: Path) -> None:
    """Where nothing is left to learn, what recurrent layers have picked up is drawn back."""
    source = write_table(tmp_path / "ar.csv", {"y": series(700, np.ones(700))})
    options = {"validation": 200, "test": 100, "head": "point", "dropout": 0.0}
    trained = forecasting.train(source, steps=150, lr=2e-2, quiet=True, **OPTIONS, **options)
    task = task_of(source, **options)
    matrices = task.regression(shared=True)
    path = {"regression": lambda last, history: linear(last, history, matrices)}
    for model in (trained.model, task.build(np.random.default_rng(0))):
        found = roll_model(model, task.held_out, task.validated, 1, others=path)
        errors = [
            np.nanmean((found.truth - f) ** 2) for f in (found.mean, found.others["regression"])
        ]
        # The means of a thousand float32 numbers.
        assert errors[0] <= errors[1] * (1.0 + 1e-5)


def test_a_stream_follows_what_comes_true(tmp_path: Path) -> None:
    source = write_table(tmp_path / "y.csv", {"y": series(700, np.ones(700))})
    trained = forecasting.train(source, steps=5, quiet=True, validation=200, **OPTIONS)
    live = trained.stream(trained.read(source).series[0])

    def width() -> np.ndarray:
        q = live.forecast(levels=(0.05, 0.95)).quantiles[:, 0]
        return q[:, 1] - q[:, 0]

    first, before = width(), live.forecast().origin.spread
    assert before is not None
    live.surprise([0.0])  # forecasts one step, which is no news
    live.observe([1e3])  # far outside: the first step's intervals become wider, as of now
    assert live.count == 701
    factors = live.forecast().origin.spread
    assert factors is not None
    assert factors[0] == pytest.approx(before[0] * np.exp(0.1 * 0.9))
    np.testing.assert_allclose(factors[1:], before[1:], rtol=1e-12)  # through a logarithm
    assert (first > 0.0).all()
    live.observe([-1e3])  # the second step of the first forecast, the first one of the second
    factors = live.forecast().origin.spread
    assert factors is not None
    assert factors[1] == pytest.approx(before[1] * np.exp(0.05 * 0.9))


def test_a_forecast_has_followed_what_came_true(tmp_path: Path) -> None:
    """Of a series that becomes a third as noisy after what the model was chosen by."""
    y = series(2600, np.where(np.arange(2600) < 1600, 1.0, 0.35))
    source = write_table(tmp_path / "y.csv", {"y": y})
    options = {"validation": 600, "test": 1000}
    trained = forecasting.train(source, steps=20, quiet=True, **OPTIONS, **options)
    assert trained.spread is not None

    def factors(data: Any, back: int = 0) -> np.ndarray:
        found = trained.predict(data, back=back)[0].origin.spread
        assert found is not None
        return found

    end = factors(source)
    assert (end < 0.6 * trained.spread).all()
    panel = trained.read(source)
    live = trained.stream(panel.series[0]).forecast().origin.spread
    np.testing.assert_allclose(live, end, rtol=1e-12)  # through a logarithm
    # What was learned from, or chose the model, says nothing of how wide intervals have to be.
    for back in (1000, 1500):
        np.testing.assert_array_equal(factors(source, back), trained.spread)
    # Nor does anything that comes after the forecast.
    jump = write_table(tmp_path / "jump.csv", {"y": np.append(y[:-100], y[-100:] + 99.0)})
    np.testing.assert_array_equal(factors(jump, 100), factors(source, 100))
    assert (factors(jump, 0) > end).all()
    # All of another series is new to the model.
    other = replace(panel, series=(replace(panel.series[0], name="another"),))
    assert (factors(other, 1000) != trained.spread).all()
    # Where nobody says what is new to it, nothing is.
    unknown = replace(trained, fresh={}).predict(panel)[0].origin.spread
    np.testing.assert_array_equal(unknown, trained.spread)


def test_nine_of_ten_are_inside_what_a_table_is_told(tmp_path: Path) -> None:
    """`predict` after 300 steps of a quieter series, from one step after the other."""
    y = series(2600, np.where(np.arange(2600) < 1600, 1.0, 0.35))
    source = write_table(tmp_path / "y.csv", {"y": y})
    options = {"validation": 600, "test": 1000}
    trained = forecasting.train(source, steps=20, quiet=True, **OPTIONS, **options)
    inside = []
    for back in range(4, 700, 8):
        (found,) = trained.predict(source, back=back, levels=(0.05, 0.95))
        truth = y[len(y) - back :][: found.mean.shape[0]]
        inside.append((found.quantiles[:, 0, 0] <= truth) & (truth <= found.quantiles[:, 0, 1]))
    # 87 forecasts that share no step: three deviations of such a share are 0.1.
    assert np.mean(inside) == pytest.approx(0.9, abs=0.1)


def test_a_checkpoint_holds_it(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    source = write_table(tmp_path / "y.csv", {"y": series(500, np.ones(500))})
    target = tmp_path / "model.safetensors"
    trained = forecasting.train(source, steps=5, output=target, quiet=True, **OPTIONS)
    again = forecasting.load(target)
    for one, other in ((trained.spread, again.spread), (trained.model.keep, again.model.keep)):
        assert one is not None
        np.testing.assert_array_equal(one, other)
    for one, other in zip(trained.predict(source), again.predict(source), strict=True):
        np.testing.assert_array_equal(one.quantiles, other.quantiles)
    longer = forecasting.train(resume=target, steps=60, quiet=True)
    assert longer.spread is not None
    assert (longer.spread != trained.spread).any()


def test_what_was_learned_from_says_nothing_of_what_comes(tmp_path: Path) -> None:
    source = write_table(tmp_path / "y.csv", {"y": series(500, np.ones(500))})
    trained = forecasting.train(source, steps=2, quiet=True, validation=0.0, **OPTIONS)
    assert trained.spread is None
    assert trained.model.keep is None
    task = task_of(source)
    model = task.build(np.random.default_rng(0))
    for changes, text in (
        ({"spread": [[1.0]]}, r"spread of shape \(4, 1\)"),
        ({"spread": [[-1.0]] * 4}, "0 or more"),
        ({"keep": [1.0, 1.0]}, r"keep of shape \(1,\)"),
    ):
        with pytest.raises(ValueError, match=text):
            Forecasting.restore(task.options, {**task.assets(model), **changes}, model.parameters)


@pytest.mark.slow
def test_real_series_whose_noise_changes(tmp_path: Path) -> None:
    """ETTh1's oil temperature: quieter in the test months than in those that choose the model."""
    source = Path(os.environ.get("UNROLLED_DATA", "")) / "series" / "ett" / "ETTh1.csv"
    if not source.is_file():
        pytest.skip("series/ett/ETTh1.csv is not in the folder that UNROLLED_DATA names")
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    table = tmp_path / "etth1.csv"
    table.write_text("".join(lines[: 1 + 20 * 30 * 24]), encoding="utf-8")  # Informer's months
    options: dict[str, Any] = {"target": "OT", "horizon": 24, "context": 336, "hidden": 16}
    options.update(validation=2880, test=2880)
    trained = forecasting.train(table, steps=40, quiet=True, **options)
    task = Forecasting(make_options(Forecasting, options), [table])
    task.load()
    found = task.score_test(trained)
    scores = dict(found.rows)
    coverage = scores["this model"].coverage
    assert coverage is not None
    assert 0.85 <= coverage <= 0.95
    # No worse than the regression where that chooses, so about as good on the months after it.
    assert scores["this model"].mse < 1.02 * scores["regression"].mse
