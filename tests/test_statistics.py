"""Statistics of parameters: what NumPy computes, few of them, and their picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bowl import Bowl, make_trainer
from unrolled import LanguageModel
from unrolled.training import (
    SGD,
    Adam,
    Budget,
    Callback,
    LossAndPullback,
    Measurement,
    ParameterStatistics,
    Statistics,
    Trainer,
    Update,
    plot_statistics,
)


class Recorder(Callback):
    """Copies of parameters and gradients around every update."""

    def __init__(self) -> None:
        self.before: list[dict[str, np.ndarray]] = []
        self.grads: list[dict[str, np.ndarray]] = []
        self.after: list[dict[str, np.ndarray]] = []

    def before_step(self, trainer: Trainer[Any], update: Update) -> None:
        flat = trainer.model.flat
        self.before.append(flat.views(flat.values.astype(np.float64)))
        self.grads.append(flat.views(flat.grads.astype(np.float64) * update.grad_scale))

    def updated(self, trainer: Trainer[Any], update: Update) -> None:
        flat = trainer.model.flat
        self.after.append(flat.views(flat.values.astype(np.float64)))


def train(*callbacks: Callback, steps: int = 7, clip_norm: float | None = 0.05) -> LanguageModel:
    model = LanguageModel(9, embedding_size=4, hidden_size=5, rng=np.random.default_rng(0))
    tokens = np.random.default_rng(1).integers(0, 5, (steps, 2, 6, 3))  # 5 to 8 never occur

    def loss(batch: int, carry: Any, rng: np.random.Generator) -> LossAndPullback:
        (value, _), pullback = model.loss_vjp(tokens[batch, 0], tokens[batch, 1])
        return (value, tokens[batch, 1].size, None), pullback

    make_trainer(
        model, loss=loss, optimizer=Adam(model, lr=0.01), clip_norm=clip_norm,
        budget=Budget(steps=steps), callbacks=callbacks,
    ).run()  # fmt: skip
    return model


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_norms_are_those_of_numpy(clip_norm: float | None) -> None:
    statistics, recorder = Statistics(every=3), Recorder()
    train(statistics, recorder, clip_norm=clip_norm)
    assert [m.step for m in statistics.measurements] == [1, 4, 7]
    for measurement in statistics.measurements:
        index = measurement.step - 1
        before, grads, after = recorder.before[index], recorder.grads[index], recorder.after[index]
        assert measurement.parameters.keys() == before.keys()
        total = 0.0
        for name, got in measurement.parameters.items():
            norm = np.linalg.norm
            assert got.grad_norm == pytest.approx(norm(grads[name]), rel=1e-6)
            # The change is rounded where it is subtracted: to half an ulp of the values.
            change, value = norm(after[name] - before[name]), norm(before[name])
            assert got.update_norm == pytest.approx(change, rel=1e-6)
            assert got.value_norm == pytest.approx(value, rel=1e-6)
            assert got.zeros == pytest.approx(np.mean(grads[name] == 0.0))
            if value:
                assert got.update_ratio == pytest.approx(change / value, rel=1e-6)
            else:
                assert got.update_ratio is None
            total += got.grad_norm**2
        if clip_norm is not None:
            assert total**0.5 == pytest.approx(clip_norm, rel=1e-5)
    first = statistics.measurements[0].parameters
    assert first["embedding.weight"].zeros == pytest.approx(4 / 9)
    assert first["head.bias"].update_ratio is None


def test_training_is_the_same_with_statistics() -> None:
    measured, plain = train(Statistics(every=1)), train()
    np.testing.assert_array_equal(measured.flat.values, plain.flat.values)


def test_measurements_are_thinned_out() -> None:
    """They stay evenly spread, and few, however long the run is."""
    statistics = Statistics(every=2, keep=8)
    make_trainer(callbacks=[statistics], budget=Budget(steps=100)).run()
    assert [m.step for m in statistics.measurements] == [1, 17, 33, 49, 65, 81, 97]


def test_skipped_updates_are_not_measured() -> None:
    class Broken(Bowl):
        def loss(self, batch: int, carry: Any, rng: np.random.Generator) -> LossAndPullback:
            (loss, count, carry), pullback = super().loss(batch, carry, rng)
            return (loss if batch != 2 else float("nan"), count, carry), pullback

    statistics, model = Statistics(every=2), Broken()
    make_trainer(
        model, optimizer=SGD(model, lr=0.1), callbacks=[statistics], budget=Budget(steps=5)
    ).run()
    assert [m.step for m in statistics.measurements] == [1, 5]


def test_json_and_back() -> None:
    statistics = Statistics(every=1)
    train(statistics)
    for measurement in statistics.measurements:
        assert Measurement.from_json(measurement.to_json()) == measurement


@pytest.mark.parametrize("options", [{"every": 0}, {"keep": 0}], ids=str)
def test_bad_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"\[Statistics\] expected .* >= 1, got 0"):
        Statistics(**options)


def constant(step: int, value: float) -> Measurement:
    ratio = value or None
    return Measurement(step, {"w": ParameterStatistics(value, 0.0, 1.0, value, ratio)})


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [1e-30, 0.0, 1e30]], ids=str)
def test_pictures(tmp_path: Path, values: list[float]) -> None:
    """Few measurements, zeros, and huge ranges can be drawn."""
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extra [train]")
    path = tmp_path / "statistics.png"
    plot_statistics(path, [constant(step, value) for step, value in enumerate(values, 1)])
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_picture_has_a_line_and_a_row_for_each_parameter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = pytest.importorskip(
        "matplotlib.figure", reason="matplotlib comes with the extra [train]"
    )
    drawn: list[Any] = []
    save = figure.Figure.savefig
    monkeypatch.setattr(
        figure.Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k))
    )
    statistics = Statistics(every=1)
    model = train(statistics)
    plot_statistics(tmp_path / "statistics.png", statistics.measurements, title="a run")
    above, below = drawn[0].axes[:2]
    names = list(model.parameters)
    assert [label.get_text() for label in below.get_yticklabels()] == names
    lines = above.get_lines()
    assert len(lines) == len(names) + 1, "and the guide at 1e-3"
    np.testing.assert_array_equal(
        lines[0].get_ydata(),
        [m.parameters[names[0]].update_ratio for m in statistics.measurements],
    )
    assert above.get_title() == "a run"


def test_no_picture_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one measurement"):
        plot_statistics(tmp_path / "statistics.png", [])
