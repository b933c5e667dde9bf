"""Numbers that are not finite: skipped, reported, given up on, and never saved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bowl import Bowl, make_trainer
from unrolled.training import (
    EMA,
    SGD,
    Budget,
    Callback,
    DivergedError,
    PlainProgress,
    ShowProgress,
    Trainer,
    Update,
)
from unrolled.training import LossAndPullback as Result


class Recorder(Callback):
    def __init__(self) -> None:
        self.events: list[str] = []
        self.updates: list[Update] = []

    def before_step(self, trainer: Trainer[Any], update: Update) -> None:
        self.events.append(f"before {update.step}")

    def updated(self, trainer: Trainer[Any], update: Update) -> None:
        self.events.append(f"{'skipped' if update.skipped else 'made'} {update.step}")
        self.updates.append(update)


def poisoned(model: Bowl, bad: float, where: str, batches: set[int]) -> Any:
    """The loss of a bowl, with `bad` as the loss or in the gradients of some batches."""

    def loss(batch: int, carry: Any, rng: np.random.Generator) -> Result:
        (value, count, carry), pullback = model.loss(batch, carry, rng)
        if batch not in batches:
            return (value, count, carry), pullback
        if where == "loss":
            return (bad, count, carry), pullback

        def spoil(dloss: float) -> None:
            pullback(dloss)
            model.grads["w"][1] = bad

        return (value, count, carry), spoil

    return loss


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_bad_update_changes_nothing(bad: float, where: str) -> None:
    model, recorder = Bowl(), Recorder()
    trainer = make_trainer(
        model,
        loss=poisoned(model, bad, where, {3, 4}),
        budget=Budget(steps=8),
        averaging=EMA(model),
        callbacks=[recorder],
    )
    trainer.run()
    good = make_trainer(budget=Budget(steps=6))
    good.run()
    np.testing.assert_array_equal(model.flat.values, good.model.flat.values)
    assert trainer.steps == 8
    assert trainer.optimizer.steps == 6
    assert trainer.averaging is not None
    assert trainer.averaging.count == 6
    assert [u.step for u in recorder.updates if u.skipped] == [4, 5]
    assert recorder.events[4:9] == ["before 3", "made 3", "skipped 4", "skipped 5", "before 6"]
    arrays, values = trainer.state()
    assert values["skipped"] == [2, 0]
    assert arrays["carry"].tolist() == [3], "the state began afresh after the bad updates"
    assert all(math.isfinite(point.loss) for point in trainer.history.training)


def test_too_many_in_a_row_end_the_run() -> None:
    model = Bowl()
    saved: list[int] = []
    trainer = make_trainer(
        model,
        loss=poisoned(model, math.nan, "loss", {2, *range(4, 50)}),
        max_skipped=3,
        save=lambda trainer: saved.append(trainer.steps),
    )
    message = "diverged: 3 updates in a row, up to update 7.*loss nan.*lower learning rate"
    with pytest.raises(DivergedError, match=message):
        trainer.run()
    assert saved == [0, 5], "a validation was due after the one good update between"
    assert np.isfinite(model.parameters["w"]).all()


def test_poisoned_parameters_are_neither_saved_nor_called_best() -> None:
    """Gradients can be finite and the step still overflow."""
    model = Bowl()
    saved: list[int] = []
    trainer = make_trainer(
        model,
        optimizer=SGD(model, lr=3e38),
        validate=lambda: 0.0,
        validations=50,
        save=lambda trainer: saved.append(trainer.steps),
    )
    with pytest.raises(DivergedError, match="after update 1 there are numbers in parameters"):
        trainer.run()
    assert saved == [0]
    assert trainer.best_values is None

    model = Bowl()
    trainer = make_trainer(
        model,
        optimizer=SGD(model, lr=3e38),
        save=lambda trainer: saved.append(trainer.steps),
        save_seconds=0.0,
    )
    with pytest.raises(DivergedError, match="after update 1 there are numbers in values"):
        trainer.run()
    assert saved == [0, 0]


def test_a_score_that_is_not_finite_is_never_the_best() -> None:
    scores = iter([math.nan, 2.0, math.nan, 1.0, math.inf])
    trainer = make_trainer(validate=lambda: next(scores), validations=5)
    trainer.run()
    assert trainer.best_loss == 1.0


def test_people_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    from test_training import METRIC

    model = Bowl()
    trainer = make_trainer(
        model,
        loss=poisoned(model, math.nan, "gradient", {3}),
        callbacks=[ShowProgress(PlainProgress(METRIC))],
    )
    trainer.run()
    assert "update 4  skipped: loss " in capsys.readouterr().err
