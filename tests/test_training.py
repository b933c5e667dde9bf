"""The training loop: budgets, validation, stopping, and what people see of it."""

from __future__ import annotations

import io
import math
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bowl import Bowl, Numbers, make_trainer
from unrolled.training import (
    SGD,
    Budget,
    History,
    Metric,
    PlainProgress,
    Point,
    RichProgress,
    ShowProgress,
    SilentProgress,
    Status,
    Trainer,
    bits,
    clock,
    perplexity,
    plot_loss_curve,
)

METRIC = Metric("bits per thing", "bits/thing", "things", bits)


def test_training_reaches_the_minimum() -> None:
    trainer = make_trainer(budget=Budget(steps=200))
    trainer.run()
    np.testing.assert_allclose(trainer.model.parameters["w"], 3.0, rtol=1e-6)
    assert (trainer.steps, trainer.targets, trainer.stopped) == (200, 400, False)
    assert [point.step for point in trainer.history.training] == list(range(1, 201))
    losses = [point.loss for point in trainer.history.training]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    ("budget", "steps"), [(Budget(steps=7), 7), (Budget(epochs=1.5), 15)], ids=["steps", "epochs"]
)
def test_the_budget_ends_the_run(budget: Budget, steps: int) -> None:
    trainer = make_trainer(budget=budget)
    trainer.run()
    assert trainer.steps == steps
    assert trainer.fraction == 1.0


@pytest.mark.parametrize(("pause", "most"), [(0.001, 4), (0.1, 2)], ids=["quick", "slow"])
def test_minutes_include_validation(pause: float, most: int) -> None:
    def validate() -> float:
        threading.Event().wait(pause)
        return 1.0

    trainer = make_trainer(budget=Budget(minutes=0.5 / 60), validate=validate, validations=4)
    trainer.run()
    steps = [point.step for point in trainer.history.validation]
    assert len(steps) <= most, "slow validations are left out, but for the first and the last"
    assert steps[-1] == trainer.steps
    assert 0.4 < trainer.seconds < 1.5  # 0.5, and a margin for a busy machine


@pytest.mark.parametrize(
    "limits",
    [{}, {"steps": 1, "epochs": 1.0}, {"steps": 0}, {"minutes": -1.0}, {"epochs": math.inf}],
    ids=str,
)
def test_bad_budgets_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Budget(**limits)


def test_the_best_parameters_are_kept() -> None:
    scores = iter([3.0, 1.0, 2.0, 5.0])
    seen: list[np.ndarray] = []
    model = Bowl()

    def validate() -> float:
        seen.append(model.flat.values.copy())
        return next(scores)

    trainer = make_trainer(model, validate=validate, validations=4, budget=Budget(steps=8))
    trainer.run()
    assert trainer.best_loss == 1.0
    assert trainer.best_values is not None
    np.testing.assert_array_equal(trainer.best_values, seen[1])
    assert [point.step for point in trainer.history.validation] == [2, 4, 6, 8]


def test_saves_come_first_and_with_each_validation() -> None:
    at: list[int] = []
    trainer = make_trainer(
        budget=Budget(steps=10),
        validations=2,
        validate=lambda: 0.0,
        save=lambda trainer: at.append(trainer.steps),
    )
    trainer.run()
    assert at == [0, 5, 10]


def test_the_carry_goes_on() -> None:
    trainer = make_trainer(budget=Budget(steps=5))
    trainer.run()
    arrays, _ = trainer.state()
    assert arrays["carry"].tolist() == [5]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_update_and_saves(number: signal.Signals) -> None:
    model = Bowl()

    def loss(batch: int, carry: Any, rng: np.random.Generator) -> Any:
        if batch == 4:
            os.kill(os.getpid(), number)
        return model.loss(batch, carry, rng)

    at: list[int] = []
    before = signal.getsignal(number)
    trainer = make_trainer(model, loss=loss, save=lambda trainer: at.append(trainer.steps))
    trainer.run()
    assert trainer.stopped
    assert trainer.steps == 5
    assert at[-1] == 5
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    model = Bowl()

    def loss(batch: int, carry: Any, rng: np.random.Generator) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return model.loss(batch, carry, rng)

    with pytest.raises(KeyboardInterrupt):
        make_trainer(model, loss=loss).run()


def test_it_runs_outside_the_main_thread() -> None:
    trainer = make_trainer()
    thread = threading.Thread(target=trainer.run)
    thread.start()
    thread.join()
    assert trainer.steps == 50


def test_an_rng_that_cannot_be_saved_is_refused() -> None:
    with pytest.raises(TypeError, match=r"default_rng.*got one over MT19937"):
        Trainer(
            Bowl(),
            Numbers(),
            Bowl().loss,
            optimizer=SGD(Bowl(), lr=0.1),
            budget=Budget(steps=1),
            rng=np.random.Generator(np.random.MT19937()),
        )


# What people see.

STATUS = Status(step=1234, epoch=0.5, fraction=0.25, seconds_left=75.0, loss=1.0, rate=5e4)


def test_plain_progress_writes_lines() -> None:
    stream = io.StringIO()
    progress = PlainProgress(METRIC, stream, every_seconds=1e9)
    progress._last = -1e18
    progress.update(STATUS)
    progress.update(STATUS)  # too soon
    progress.validated(STATUS, Point(1234, 1.0, math.log(4.0), 0.125), True)
    progress.close()
    first, second = stream.getvalue().splitlines()
    loss = "loss 1.000  1.443 bits/thing  50,000 things/s  1:15 left"
    assert first == f" 25%  update 1,234  {loss}"
    assert second == " 25%  update 1,234  held out 2.000 bits per thing, 12.50% wrong (best)"


def test_rich_progress_draws_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    console = pytest.importorskip("rich.console", reason="rich comes with the extra [train]")
    stream = io.StringIO()

    class Console(console.Console):  # type: ignore[name-defined,misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(file=stream, force_terminal=True, width=120)

    monkeypatch.setattr(console, "Console", Console)
    progress = RichProgress(METRIC)
    progress.update(STATUS)
    progress.validated(STATUS, Point(1234, 1.0, math.log(4.0), 0.125), True)
    progress.close()
    for text in ("25%", "1.443 bits/thing", "50,000 things/s", "1:15 left", "12.50% wrong (best)"):
        assert text in stream.getvalue()


def test_progress_is_told_and_closed() -> None:
    class Recorder(SilentProgress):
        def __init__(self) -> None:
            self.last: Status | None = None
            self.validations: list[bool] = []
            self.closed = 0

        def update(self, status: Status) -> None:
            self.last = status

        def validated(self, status: Status, point: Point, best: bool) -> None:
            self.validations.append(best)

        def close(self) -> None:
            self.closed += 1

    scores = iter([2.0, 3.0])
    recorder = Recorder()
    make_trainer(
        validate=lambda: next(scores), validations=2, callbacks=[ShowProgress(recorder)]
    ).run()
    assert recorder.last is not None
    assert recorder.last.fraction == 1.0
    assert recorder.last.seconds_left == 0.0
    assert recorder.validations == [True, False]
    assert recorder.closed == 1


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.6, 61, 3723)] == ["0:00", "1:00", "1:01", "1:02:03"]


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extra [train]")
    history = History(
        [Point(step, step / 10, 1.0 / step) for step in range(1, 20)], [Point(19, 1.9, 0.3)]
    )
    assert History.from_json(history.to_json()) == history
    plot_loss_curve(tmp_path / "curve.png", history, METRIC, title="a title")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_metrics() -> None:
    assert bits(math.log(8.0)) == pytest.approx(3.0)
    assert perplexity(math.log(8.0)) == pytest.approx(8.0)
    assert perplexity(1e6) == math.inf
    assert METRIC.text(math.log(8.0)) == "3.000"
    assert (
        Metric("perplexity", "perplexity", "words", perplexity).text(math.log(1234.5)) == "1,234.5"
    )
