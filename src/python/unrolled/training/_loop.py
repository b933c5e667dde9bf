"""The training loop that every task shares."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Generic

import numpy as np

from unrolled import functional
from unrolled.layers import Layer
from unrolled.layers._place import assign

from ._averaging import Averaging
from ._budget import Budget, passed
from ._callbacks import Callback, Update
from ._clipping import clip_scale
from ._group import Group
from ._guard import Guard
from ._history import History, Point
from ._json import from_json
from ._optimizers import Optimizer
from ._schedules import Schedule, constant
from ._signals import StopRequest
from ._state_arrays import carry_arrays, carry_of, on_host, part_of
from ._trainer_values import TrainerValues
from ._types import Array, Batches, BatchT, Carry, LossFunction
from ._validation import Score, run_validation

#: Points of the training curve over the whole budget.
_CURVE_POINTS = 200

#: Beginnings of the names of arrays in the state of a run.
_OPTIMIZER, _AVERAGING = "optimizer.", "averaging."

#: Of a budget in minutes, about the most that validations before the last may take.
_VALIDATION_SHARE = 0.1


class Trainer(Generic[BatchT]):
    """Trains a model within a budget; validates, saves and stops cleanly.

    One update is one clipped optimizer step from the gradients of `accumulate` batches. What `loss`
    returns as carry goes to the next batch, without gradient (truncated BPTT).

    A run whose `state` is loaded into a new `Trainer` with the same arguments makes the same
    updates, bit for bit, as one that never stopped, if its budget is in steps or epochs.

    An update whose loss or gradients are not finite is skipped: nothing changes, and the carry
    begins afresh. After `max_skipped` of them in a row the run ends. Parameters that are not finite
    end it at once. What was saved before stays: nothing that is not finite is ever saved.

    Args:
        model: the outermost layer.
        batches: where batches come from.
        loss: the loss of one batch; see `LossFunction`.
        optimizer: made for the same model.
        budget: when to end.
        rng: the randomness of the run, from `numpy.random.default_rng`; `loss` gets it, `batches`
            may share it.
        schedule: factor of the learning rate; see `Schedule`.
        accumulate: batches per update. The gradients are those of the mean over all their targets.
        clip_norm: largest global norm of the gradients, None to leave them alone.
        clip_value: largest absolute value of a gradient, after `clip_norm`; None: any.
        precision: what recurrent layers and losses of heads multiply in while training, "full" or
            "bf16".
            Parameters, gradients and the optimizer stay in the model's dtype; validation is in the
            precision that the layers have.
        averaging: average of the parameters that is validated and kept in their place.
        validate: returns the mean loss on held-out data, or a `Score` with errors that choose the
            model; it must not use `rng`.
        validations: how many validations, evenly spread; the last is at the end. With a budget in
            minutes some are left out where they would take more than a tenth of the time.
        patience: end the run after so many validations in a row without a new best one; None:
            never.
        max_skipped: end the run after so many skipped updates in a row.
        save: called with the trainer before the first update (so that a place that cannot be
            written shows at once), after each validation, every `save_seconds`, and when stopped.
        save_seconds: longest time without a save.
        callbacks: who listens; see `Callback`.
        group: the processes that train this model together, None for this one alone. `batches`
            gives each rank its share; all else is as with one process and the whole batch. Rank 0
            validates, `save` and `callbacks` are called on every rank.

    Attributes:
        steps: updates made, skipped ones included.
        targets: targets seen.
        seconds: time spent, over all parts of a resumed run.
        best_loss: loss of the best validation so far, None before the first.
        best_values: (P,) the parameters that reached it, None before the first validation.
        history: the loss curve.
        stopped: True if Ctrl-C ended the run before its budget did.
        stopped_early: True if `patience` was at an end.

    Raises:
        TypeError: the state of `rng` could not be saved.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        model: Layer,
        batches: Batches[BatchT],
        loss: LossFunction[BatchT],
        *,
        optimizer: Optimizer,
        budget: Budget,
        rng: np.random.Generator,
        schedule: Schedule | None = None,
        accumulate: int = 1,
        clip_norm: float | None = 1.0,
        clip_value: float | None = None,
        precision: functional.Precision = "full",
        averaging: Averaging | None = None,
        validate: Callable[[], float | Score] | None = None,
        validations: int = 10,
        patience: int | None = None,
        max_skipped: int = 10,
        save: "Callable[[Trainer[BatchT]], None] | None" = None,
        save_seconds: float = 600.0,
        callbacks: Sequence[Callback] = (),
        group: Group | None = None,
    ) -> None:
        if not isinstance(rng.bit_generator, np.random.PCG64):
            raise TypeError(
                "[Trainer] expected an rng from numpy.random.default_rng (its state can be saved), "
                f"got one over {type(rng.bit_generator).__name__}"
            )
        counts = {"accumulate": accumulate, "patience": patience, "max_skipped": max_skipped}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise ValueError(f"[Trainer] expected {name} >= 1, got {value}")
        for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            if limit is not None and not limit > 0.0:
                raise ValueError(f"[Trainer] expected {name} > 0, got {limit}")
        if precision == "int8":
            raise ValueError("[Trainer] int8 is for inference; train in full precision or in bf16")
        self.model = model
        self.batches = batches
        self.optimizer = optimizer
        self.budget = budget
        self.averaging = averaging
        self.steps = 0
        self.targets = 0
        self.seconds = 0.0
        self.best_loss: float | None = None
        self.best_values: Array | None = None
        self.history = History()
        self.stopped = self.stopped_early = False
        self._loss = loss
        self._rng = rng
        self._schedule = constant() if schedule is None else schedule
        self._accumulate = accumulate
        self._clip_norm = clip_norm
        self._clip_value = math.inf if clip_value is None else clip_value
        self._precision = precision
        self._validate = validate
        self._validations = validations
        self._patience = patience
        self._guard = Guard(max_skipped)
        self._save = save
        self._save_seconds = save_seconds
        self._callbacks = tuple(callbacks)
        self._group = Group() if group is None else group
        self._group.watch(model)
        self._carry: Carry = None
        self._last_validation_seconds = 0.0
        self._furthest = 0.0

    @property
    def fraction(self) -> float:
        """How much of the budget is used up, 0..1."""
        used = self.budget.fraction(
            epochs=self.batches.epoch,
            steps=self.steps,
            seconds=self.seconds,
            reserved_seconds=self._last_validation_seconds,
        )
        return min(max(used, self._furthest), 1.0)

    @property
    def skipped(self) -> int:
        """Updates skipped."""
        return self._guard.skipped

    @property
    def values(self) -> Array:
        """(P,) the parameters to validate and to keep: the average once it has begun."""
        return self.model.flat.values if self.averaging is None else self.averaging.values

    def run(self) -> None:
        """Trains until the budget or the patience is used up or Ctrl-C is pressed.

        Raises:
            DivergedError: too many updates in a row were skipped, or the parameters are not finite.
        """
        self._start = time.perf_counter() - self.seconds
        self._saved_at = self._validated_at = self.seconds
        self.stopped = self.stopped_early = False
        try:
            self._tell("started")
            self._check_ranks()
            with StopRequest() as self._stop:
                if self.steps == 0:
                    self._call_save()
                while self.fraction < 1.0 and not (self.stopped or self.stopped_early):
                    before = self.fraction
                    self._update(before)
                    self._do_what_is_due(before)
                    self.stopped = self.stopped and self.fraction < 1.0
                if self.stopped:
                    self._call_save()
        finally:
            self._tell("ended")

    def _update(self, fraction: float) -> None:
        self.steps += 1
        losses = self.history.validation_losses()
        lr_scale = self._schedule(fraction, losses)
        loss, count = self._accumulate_gradients()
        norm, grad_scale = clip_scale(self.model.flat.grads, self._clip_norm, count)
        skipped = not (math.isfinite(loss) and math.isfinite(norm))
        update = Update(
            step=self.steps,
            epoch=self.batches.epoch,
            fraction=fraction,
            seconds=self.seconds,
            loss=loss,
            count=count,
            lr=self.optimizer.lr * lr_scale,
            grad_norm=norm,
            grad_scale=grad_scale,
            skipped=skipped,
        )
        self._guard.note(update)
        if skipped:
            self._carry = None  # it may be what is not finite
        else:
            self._tell("before_step", update)
            self.optimizer.step(
                lr_scale=lr_scale, grad_scale=grad_scale, clip_value=self._clip_value
            )
            if self.averaging is not None:
                self.averaging.update(losses)
            self.history.add(loss, count)
        self.targets += count
        self._tick()
        self._tell("updated", update)

    def _accumulate_gradients(self) -> tuple[float, int]:
        """Sums the gradients of all targets of one update; returns their mean loss and number."""
        total = targets = 0.0
        self.model.zero_grads()
        full = self._precision == "full"
        with nullcontext() if full else self.model.in_precision(self._precision):
            for part in range(self._accumulate):
                if part == self._accumulate - 1:
                    self._group.begin()
                batch, rng = self.batches.next(), self._group.rng(self._rng)
                (loss, count, self._carry), pullback = self._loss(batch, self._carry, rng)
                pullback(float(count))
                total += loss * count
                targets += count
        self._group.finish()
        # One message for all: when one rank is asked to stop, every rank does after this update.
        total, targets, stops = self._group.sum([total, targets, self._stop.requested])
        self.stopped = stops > 0.0
        return total / max(targets, 1.0), int(targets)

    def _do_what_is_due(self, before: float) -> None:
        """Notes, validates and saves, if it is time now that the fraction has grown."""
        now = self.fraction
        if passed(before, now, _CURVE_POINTS):
            self.history.close_point(self.steps, self.seconds)
        if passed(before, now, self._validations) or now >= 1.0:
            if now >= 1.0 or self._validation_is_affordable():
                self._run_validation()
            self._call_save()
        elif self.seconds - self._saved_at >= self._save_seconds:
            self._call_save()

    def _validation_is_affordable(self) -> bool:
        # Only where the clock decides when to end anyway: other budgets promise the same run twice.
        if self.budget.minutes is None:
            return True
        training = self.seconds - self._validated_at
        return self._last_validation_seconds <= _VALIDATION_SHARE * training

    def _run_validation(self) -> None:
        if self._validate is None:
            return
        self._guard.check(self.steps, {"parameters": self.model.flat.values})
        started = self.seconds
        loss, error = run_validation(self._validate, self.averaging, self._group)
        self._tick()
        self._validated_at = self.seconds
        self._last_validation_seconds = self.seconds - started
        point = Point(self.steps, self.seconds, loss, error)
        self.history.validation.append(point)
        best = self.history.best() is point
        if best:
            self.best_loss = loss
            self.best_values = self.values.copy()
        if self._patience is not None:
            self.stopped_early = self.history.validations_since_best() >= self._patience
        self._tell("validated", point, best)

    def _call_save(self) -> None:
        self._tick()
        self._saved_at = self.seconds
        self._check_ranks()
        if self._save is not None:
            self._guard.check(self.steps, self.state()[0])
            self._save(self)
            self._tick()
            self._tell("saved")

    def _tick(self) -> None:
        # A validation slower than the one before takes time off the budget; what was done stays.
        self._furthest = self.fraction
        self.seconds = self._group.broadcast(time.perf_counter() - self._start)

    def _check_ranks(self) -> None:
        if self._group.size == 1:
            return
        place = json.dumps(self.batches.state()).encode()
        self._group.check_same("data", np.frombuffer(place, np.uint8))
        self._group.check_same("parameters", self.model.flat.values)

    def _tell(self, event: str, *arguments: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, event)(self, *arguments)

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Returns what a run needs to go on: arrays (live, of a device copies), JSON-able values.

        `best_values` is not among them: a checkpoint has it already, as the model to use. All ranks
        of a group call this, and get the state of all of them.
        """
        averaging = {} if self.averaging is None else self.averaging.state()
        arrays = {
            "values": self.model.flat.values,
            **carry_arrays(self._carry, self._group),
            **{_OPTIMIZER + name: array for name, array in self.optimizer.state().items()},
            **{_AVERAGING + name: array for name, array in averaging.items()},
        }
        values = {
            "steps": self.steps,
            "skipped": [self._guard.skipped, self._guard.in_a_row],
            "targets": self.targets,
            "seconds": self.seconds,
            "best_loss": self.best_loss,
            "validation_seconds": self._last_validation_seconds,
            "history": self.history.to_json(),
            "batches": self.batches.state(),
            "rng": self._rng.bit_generator.state,
        }
        return on_host(arrays), values

    def load_state(
        self,
        arrays: Mapping[str, Array],
        values: Mapping[str, Any],
        best_values: Array | None,
    ) -> None:
        """Goes to where `state` was called.

        Args:
            arrays: as `state` returned them.
            values: as `state` returned them.
            best_values: (P,) the parameters of the best validation, None if there was none.

        Raises:
            ValueError: the state belongs to another model, optimizer or data.
        """
        mine, loaded = self.model.flat.values, arrays["values"]
        if loaded.shape != mine.shape or loaded.dtype != mine.dtype:
            raise ValueError(
                f"[Trainer] expected values of shape {mine.shape} and dtype {mine.dtype}, "
                f"got {loaded.shape} and {loaded.dtype}"
            )
        self.optimizer.load_state(part_of(arrays, _OPTIMIZER))
        averaging = part_of(arrays, _AVERAGING)
        if self.averaging is not None:
            self.averaging.load_state(averaging)
        elif averaging:
            raise ValueError("[Trainer] the run to go on with averages its parameters")
        run = from_json(TrainerValues, values, "trainer")
        self.batches.load_state(run.batches)
        self._rng.bit_generator.state = run.rng
        assign(mine, loaded)
        self._carry = carry_of(arrays, self._group, self.model.place)
        self.steps, self.targets, self.seconds = run.steps, run.targets, run.seconds
        self._guard.skipped, self._guard.in_a_row = run.skipped
        self.best_loss = run.best_loss
        self.best_values = None if self.best_loss is None else best_values
        self._last_validation_seconds = run.validation_seconds
        self.history = run.history
