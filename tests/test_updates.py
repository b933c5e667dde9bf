"""What one update is made of: batches, accumulation, clipping, precision; and who is told."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bowl import Bowl, Numbers, make_trainer
from unrolled import LanguageModel
from unrolled.training import SGD, Budget, Callback, Point, Score, Trainer, Update
from unrolled.training import LossAndPullback as Result


class Linear(Bowl):
    """loss = mean of w . x over rows: the gradient is the mean row. Batch b has b + 1 rows."""

    def rows(self, batch: int) -> np.ndarray:
        return np.random.default_rng(batch).normal(size=(batch + 1, 4)).astype(np.float32)

    def loss(self, batch: int, carry: Any, rng: np.random.Generator) -> Result:
        rows = self.rows(batch)

        def pullback(dloss: float) -> None:
            self.grads["w"][:] += np.float32(dloss) * rows.mean(axis=0)

        return (float((rows @ self.parameters["w"]).mean()), len(rows), None), pullback


def test_accumulation_weighs_every_target_alike() -> None:
    model = Linear()
    make_trainer(model, accumulate=3, optimizer=SGD(model, lr=1.0), budget=Budget(steps=1)).run()
    mean = np.concatenate([model.rows(batch) for batch in range(3)]).mean(axis=0)
    np.testing.assert_allclose(model.parameters["w"], -mean, rtol=1e-6)


def test_accumulated_batches_count() -> None:
    batches = Numbers()
    trainer = make_trainer(batches=batches, accumulate=4, budget=Budget(epochs=2.0))
    trainer.run()
    assert (trainer.steps, batches.count, trainer.targets) == (5, 20, 40)


def test_both_kinds_of_clipping() -> None:
    model = Linear()
    mean = model.rows(0).mean(axis=0)
    norm = float(np.linalg.norm(mean))
    make_trainer(
        model,
        optimizer=SGD(model, lr=1.0),
        clip_norm=norm / 2,
        clip_value=0.1,
        budget=Budget(steps=1),
    ).run()
    expected = -np.clip(mean / 2, -0.1, 0.1)
    assert 0 < np.count_nonzero(np.abs(expected) < 0.1) < 4
    np.testing.assert_allclose(model.parameters["w"], expected, rtol=1e-6)


@pytest.mark.parametrize("precision", ["full", "bf16"])
def test_precision_is_one_switch(precision: Any) -> None:
    tokens = np.random.default_rng(0).integers(0, 9, (2, 7, 3))

    def make_model() -> LanguageModel:
        return LanguageModel(
            9, embedding_size=8, hidden_size=8, num_layers=2, rng=np.random.default_rng(1)
        )

    model, switched = make_model(), make_model()
    during: list[str] = []

    def loss(model: LanguageModel) -> Any:
        def of(batch: int, carry: Any, rng: np.random.Generator) -> Result:
            during.append(model.rnn.precision)
            (value, _), pullback = model.loss_vjp(tokens[0], tokens[1])
            return (value, tokens[1].size, None), pullback

        return of

    def train(model: LanguageModel, **options: Any) -> None:
        make_trainer(
            model,
            loss=loss(model),
            optimizer=SGD(model, lr=0.1),
            validate=lambda: during.append(model.rnn.precision) or 0.0,
            validations=1,
            budget=Budget(steps=2),
            **options,
        ).run()

    train(switched, precision=precision)
    assert during == [precision, precision, "full"]
    assert switched.rnn.precision == switched.head.precision == "full"
    assert switched.flat.values.dtype == np.float32
    model.set_precision(precision)
    train(model)
    np.testing.assert_array_equal(switched.flat.values, model.flat.values)


def test_int8_is_refused() -> None:
    with pytest.raises(ValueError, match="int8 is for inference"):
        make_trainer(precision="int8")


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate": 0},
        {"patience": 0},
        {"max_skipped": 0},
        {"clip_norm": 0.0},
        {"clip_value": float("nan")},
    ],
    ids=str,
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected .* >"):
        make_trainer(**options)


def test_patience_ends_the_run() -> None:
    scores = iter([3.0, 2.0, 2.0, 2.5, 1.0, 1.5, 1.2, 1.1, 0.5, 0.4])
    saved: list[int] = []
    trainer = make_trainer(
        validate=lambda: next(scores),
        patience=3,
        save=lambda trainer: saved.append(trainer.steps),
    )
    trainer.run()
    assert trainer.stopped_early
    assert not trainer.stopped
    assert trainer.steps == 40, "the fifth is the best, and three came after it"
    assert trainer.best_loss == 1.0
    assert saved[-1] == 40


class TestErrors:
    """Where answers are counted, the fewest errors choose, and the loss between equals."""

    LOSSES = (1.0, 2.0, 3.0, 2.5, 4.0)
    ERRORS = (0.5, 0.2, 0.1, 0.1, 0.3)

    def trainer(self, **options: Any) -> Trainer[Any]:
        losses, errors = iter(self.LOSSES), iter(self.ERRORS)
        return make_trainer(
            validate=lambda: Score(next(losses), next(errors)),
            validations=5,
            **{"budget": Budget(steps=5), **options},
        )

    def test_they_choose(self) -> None:
        heard: list[tuple[float | None, bool]] = []

        class Listener(Callback):
            def validated(self, trainer: Trainer[Any], point: Point, best: bool) -> None:
                heard.append((point.error, best))

        trainer = self.trainer(callbacks=[Listener()])
        trainer.run()
        assert heard == [*zip(self.ERRORS, [True, True, True, True, False], strict=True)]
        assert trainer.best_loss == 2.5
        assert trainer.history.validation_losses() == [*self.LOSSES]

    def test_patience_counts_from_the_fewest(self) -> None:
        trainer = self.trainer(patience=1)
        trainer.run()
        assert not trainer.stopped, "each but the last is better than those before it"
        assert trainer.steps == 5
        assert trainer.history.validations_since_best() == 1

    def test_a_resumed_run_knows_them(self) -> None:
        first = self.trainer()
        first.run()
        arrays, values = first.state()
        worse = iter([0.1, 0.05])
        second = make_trainer(
            validate=lambda: Score(2.6, next(worse)),
            validations=7,
            budget=Budget(steps=7),
        )
        second.load_state(arrays, json.loads(json.dumps(values)), first.best_values)
        assert second.best_loss == 2.5
        second.run()
        assert [point.error for point in second.history.validation] == [*self.ERRORS, 0.1, 0.05]
        assert second.best_loss == 2.6, "of the last one alone: 0.1 with 2.6 is worse than with 2.5"

    def test_losses_of_a_run_before_do_not_stand_against_errors(self) -> None:
        """As those of a checkpoint that was written when none were counted."""
        first = make_trainer(validate=lambda: 1.0, validations=1, budget=Budget(steps=1))
        first.run()
        arrays, values = first.state()
        second = make_trainer(
            validate=lambda: Score(2.0, 0.5), validations=2, budget=Budget(steps=2)
        )
        second.load_state(arrays, json.loads(json.dumps(values)), first.best_values)
        second.run()
        assert second.best_loss == 2.0


def test_the_schedule_knows_the_validations() -> None:
    scores = iter([3.0, 2.0])
    known: list[list[float]] = []

    def schedule(fraction: float, losses: Any) -> float:
        known.append(list(losses))
        return 1.0

    make_trainer(
        schedule=schedule, validate=lambda: next(scores), validations=2, budget=Budget(steps=4)
    ).run()
    assert known == [[], [], [3.0], [3.0]]


def test_callbacks_hear_everything_in_order() -> None:
    class Listener(Callback):
        def __init__(self) -> None:
            self.events: list[Any] = []

        def started(self, trainer: Trainer[Any]) -> None:
            self.events.append("started")

        def before_step(self, trainer: Trainer[Any], update: Update) -> None:
            grads = trainer.model.flat.grads * np.float32(update.grad_scale)
            self.events.append(("before", update.step, float(grads[0])))

        def updated(self, trainer: Trainer[Any], update: Update) -> None:
            self.events.append(("updated", update.step, update.lr, update.loss, update.count))

        def validated(self, trainer: Trainer[Any], point: Point, best: bool) -> None:
            self.events.append(("validated", point.step, point.loss, best))

        def saved(self, trainer: Trainer[Any]) -> None:
            self.events.append(("saved", trainer.steps))

        def ended(self, trainer: Trainer[Any]) -> None:
            self.events.append("ended")

    listener = Listener()
    make_trainer(
        callbacks=[listener],
        validate=lambda: 1.0,
        validations=1,
        save=lambda trainer: None,
        schedule=lambda fraction, losses: 0.5,
        budget=Budget(steps=2),
    ).run()
    first, second = -3.0, -3.0 + 0.05 * 3.0
    assert listener.events == [
        "started",
        ("saved", 0),
        ("before", 1, first),
        ("updated", 1, 0.05, 0.5 * 4 * first**2, 2),
        ("before", 2, pytest.approx(second)),
        ("updated", 2, 0.05, pytest.approx(0.5 * 4 * second**2), 2),
        ("validated", 2, 1.0, True),
        ("saved", 2),
        "ended",
    ]


def test_a_failing_callback_ends_the_run_and_the_others_are_closed() -> None:
    class Failing(Callback):
        def updated(self, trainer: Trainer[Any], update: Update) -> None:
            raise OSError("the disk is full")

    class Closing(Callback):
        closed = 0

        def ended(self, trainer: Trainer[Any]) -> None:
            self.closed += 1

    closing = Closing()
    with pytest.raises(OSError, match="the disk is full"):
        make_trainer(callbacks=[Failing(), closing]).run()
    assert closing.closed == 1
