"""The training loop that every task shares."""

import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic

import numpy as np

from unrolled.layers import Layer

from ._budget import Budget
from ._clipping import clip_scale
from ._group import Group
from ._history import History, Point
from ._optimizers import Optimizer
from ._progress import Progress, SilentProgress, Status
from ._schedules import Schedule, constant
from ._signals import StopRequest
from ._types import Array, Batches, BatchT, Carry, LossFunction

#: Points of the training curve over the whole budget.
_CURVE_POINTS = 200

#: Seconds between two calls of `Progress.update`.
_SHOW_SECONDS = 0.2

#: Of a budget in minutes, about the most that validations before the last may take.
_VALIDATION_SHARE = 0.1

#: Weight of the newest update in the training loss that is shown.
_SMOOTHING = 0.05


class DivergedError(ValueError):
    """The loss or a gradient became infinite or NaN."""


class Trainer(Generic[BatchT]):
    """Trains a model within a budget; validates, saves and stops cleanly.

    One update takes a batch, its loss and gradients, and makes one clipped optimizer step. What
    `loss` returns as carry goes to the next batch, without gradient (truncated BPTT).

    A run whose `state` is loaded into a new `Trainer` with the same arguments makes the same
    updates, bit for bit, as one that never stopped, if its budget is in steps or epochs.

    Args:
        model: the outermost layer.
        batches: where batches come from.
        loss: the loss of one batch; see `LossFunction`.
        optimizer: made for the same model.
        budget: when to end.
        rng: the randomness of the run, from `numpy.random.default_rng`; `loss` gets it, `batches`
            may share it.
        schedule: factor of the learning rate by fraction of the budget.
        clip_norm: largest global norm of the gradients, None to leave them alone.
        validate: returns the mean loss on held-out data; it must not use `rng`.
        validations: how many validations, evenly spread; the last is at the end. With a budget in
            minutes some are left out where they would take more than a tenth of the time.
        save: called with the trainer before the first update (so that a place that cannot be
            written shows at once), after each validation, every `save_seconds`, and when stopped.
        save_seconds: longest time without a save.
        progress: what to tell meanwhile.
        group: the processes that train this model together, None for this one alone. `batches`
            gives each rank its share, and all else is as with one process and the whole batch:
            rank 0 validates; the end, saves and Ctrl-C come after the same update on all ranks.
            `save` is called on every rank.

    Attributes:
        steps: updates made.
        targets: targets seen.
        seconds: time spent, over all parts of a resumed run.
        best_loss: lowest validation loss so far, None before the first.
        best_values: (P,) the parameters that reached it, None before the first validation.
        history: the loss curve.
        stopped: True if Ctrl-C ended the run before its budget did.
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
        clip_norm: float | None = 1.0,
        validate: Callable[[], float] | None = None,
        validations: int = 10,
        save: "Callable[[Trainer[BatchT]], None] | None" = None,
        save_seconds: float = 600.0,
        progress: Progress | None = None,
        group: Group | None = None,
    ) -> None:
        if not isinstance(rng.bit_generator, np.random.PCG64):
            raise TypeError(
                "[Trainer] expected an rng from numpy.random.default_rng (its state can be saved), "
                f"got one over {type(rng.bit_generator).__name__}"
            )
        self.model = model
        self.batches = batches
        self.optimizer = optimizer
        self.budget = budget
        self.steps = 0
        self.targets = 0
        self.seconds = 0.0
        self.best_loss: float | None = None
        self.best_values: Array | None = None
        self.history = History()
        self.stopped = False
        self._loss = loss
        self._rng = rng
        self._schedule = constant() if schedule is None else schedule
        self._clip_norm = clip_norm
        self._validate = validate
        self._validations = validations
        self._save = save
        self._save_seconds = save_seconds
        self._progress = SilentProgress() if progress is None else progress
        self._group = Group() if group is None else group
        self._group.watch(model)
        self._carry: Carry = None
        self._point_loss = 0.0  # sum over the targets since the last point of the curve
        self._point_targets = 0
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

    def run(self) -> None:
        """Trains until the budget is used up or Ctrl-C is pressed.

        Raises:
            DivergedError: the loss or a gradient is not finite. What was saved before stays.
        """
        self._start = time.perf_counter() - self.seconds
        self._started_at = (self.seconds, self.fraction)
        self._shown_at, self._shown_targets = self.seconds, self.targets
        self._shown_loss: float | None = None
        self._saved_at = self._validated_at = self.seconds
        self._rate = 0.0
        self.stopped = False
        try:
            place = json.dumps(self.batches.state()).encode()
            self._group.check_same("data", np.frombuffer(place, np.uint8))
            self._group.check_same("parameters", self.model.flat.values)
            with StopRequest() as stop:
                if self.steps == 0:
                    self._call_save()
                while self.fraction < 1.0 and not self.stopped:
                    before = self.fraction
                    stops = self._update(self._schedule(before), stop)
                    self._tick()
                    self._note(before)
                    self.stopped = stops and self.fraction < 1.0
                if self.stopped:
                    self._call_save()
        finally:
            self._progress.close()

    def _update(self, lr_scale: float, stop: StopRequest) -> bool:
        """Makes one update; returns whether any rank was asked to stop."""
        batch = self.batches.next()
        self.model.zero_grads()
        self._group.begin()
        rng = self._group.rng(self._rng)
        (loss, targets, self._carry), pullback = self._loss(batch, self._carry, rng)
        pullback(float(targets))
        self._group.finish()
        total, all_targets, stops = self._group.sum([loss * targets, targets, stop.requested])
        count = int(all_targets)
        loss = total / count
        limit = None if self._clip_norm is None else self._clip_norm * count
        norm, grad_scale = clip_scale(self.model.flat.grads, limit)
        norm, grad_scale = norm / count, grad_scale / count
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(
                f"training diverged at update {self.steps + 1}: loss {loss}, gradient norm {norm}; "
                "a lower learning rate usually helps"
            )
        self.optimizer.step(lr_scale=lr_scale, grad_scale=grad_scale)
        self.steps += 1
        self.targets += count
        self._point_loss += loss * count
        self._point_targets += count
        shown = self._shown_loss
        self._shown_loss = loss if shown is None else shown + _SMOOTHING * (loss - shown)
        return stops > 0.0

    def _note(self, before: float) -> None:
        """Does what is due now that the fraction has grown from `before`."""
        now = self.fraction
        if _passed(before, now, _CURVE_POINTS) and self._point_targets:
            mean = self._point_loss / self._point_targets
            self.history.training.append(Point(self.steps, self.seconds, mean))
            self._point_loss, self._point_targets = 0.0, 0
        if _passed(before, now, self._validations) or now >= 1.0:
            if now >= 1.0 or self._validation_is_affordable():
                self._run_validation()
            self._call_save()
        elif self.seconds - self._saved_at >= self._save_seconds:
            self._call_save()
        if self.seconds - self._shown_at >= _SHOW_SECONDS or now >= 1.0:
            self._progress.update(self._status())

    def _validation_is_affordable(self) -> bool:
        # Only where the clock decides when to end anyway: other budgets promise the same run twice.
        if self.budget.minutes is None:
            return True
        training = self.seconds - self._validated_at
        return self._last_validation_seconds <= _VALIDATION_SHARE * training

    def _run_validation(self) -> None:
        if self._validate is None:
            return
        started = self.seconds
        loss = self._group.broadcast(self._validate() if self._group.rank == 0 else math.nan)
        self._tick()
        self._validated_at = self.seconds
        self._last_validation_seconds = self.seconds - started
        self._shown_at += self._last_validation_seconds  # it does not count as slow training
        best = self.best_loss is None or loss < self.best_loss
        if best:
            self.best_loss = loss
            self.best_values = self.model.flat.values.copy()
        self.history.validation.append(Point(self.steps, self.seconds, loss))
        self._progress.validated(self._status(), loss, best)

    def _call_save(self) -> None:
        self._tick()
        self._saved_at = self.seconds
        self._group.check_same("parameters", self.model.flat.values)
        if self._save is not None:
            self._save(self)
            self._tick()

    def _tick(self) -> None:
        # A validation slower than the one before takes time off the budget; what was done stays.
        self._furthest = self.fraction
        self.seconds = self._group.broadcast(time.perf_counter() - self._start)

    def _status(self) -> Status:
        elapsed = self.seconds - self._shown_at
        if elapsed > 0.5 * _SHOW_SECONDS:
            rate = (self.targets - self._shown_targets) / elapsed
            self._rate = rate if self._rate == 0.0 else 0.8 * self._rate + 0.2 * rate
            self._shown_at, self._shown_targets = self.seconds, self.targets
        fraction = self.fraction
        seconds, done = self._started_at
        left: float | None = None
        if fraction > done:
            left = (self.seconds - seconds) * (1.0 - fraction) / (fraction - done)
        return Status(
            step=self.steps,
            epoch=self.batches.epoch,
            fraction=fraction,
            seconds_left=left,
            loss=math.nan if self._shown_loss is None else self._shown_loss,
            rate=self._rate,
        )

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Returns what a run needs to go on: arrays (live, not copies) and JSON-able values.

        All ranks of a group call it and get the state of the whole group.
        `best_values` is not among them: a checkpoint has it already, as the model to use.
        """
        carry = () if self._carry is None else self._carry
        parts = carry if isinstance(carry, tuple) else (carry,)
        arrays = {
            "values": self.model.flat.values,
            **{f"optimizer.{name}": array for name, array in self.optimizer.state().items()},
            **{f"carry.{index}": self._group.gather(part) for index, part in enumerate(parts)},
        }
        values = {
            "steps": self.steps,
            "targets": self.targets,
            "seconds": self.seconds,
            "best_loss": self.best_loss,
            "point": [self._point_loss, self._point_targets],
            "validation_seconds": self._last_validation_seconds,
            "carry_is_tuple": isinstance(self._carry, tuple),
            "history": self.history.to_json(),
            "batches": self.batches.state(),
            "rng": self._rng.bit_generator.state,
        }
        return arrays, values

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
        mine = self.model.flat.values
        loaded = arrays["values"]
        if loaded.shape != mine.shape or loaded.dtype != mine.dtype:
            raise ValueError(
                f"[Trainer] expected values of shape {mine.shape} and dtype {mine.dtype}, "
                f"got {loaded.shape} and {loaded.dtype}"
            )
        prefix = "optimizer."
        self.optimizer.load_state(
            {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}
        )
        self.batches.load_state(values["batches"])
        self._rng.bit_generator.state = values["rng"]
        mine[...] = loaded
        count = sum(name.startswith("carry.") for name in arrays)
        parts = tuple(self._group.share(arrays[f"carry.{index}"]).copy() for index in range(count))
        self._carry = parts if values["carry_is_tuple"] else (parts[0] if parts else None)
        self.steps = int(values["steps"])
        self.targets = int(values["targets"])
        self.seconds = float(values["seconds"])
        self.best_loss = values["best_loss"]
        self.best_values = None if self.best_loss is None else best_values
        self._point_loss, self._point_targets = values["point"]
        self._last_validation_seconds = float(values["validation_seconds"])
        self.history = History.from_json(values["history"])


def _passed(before: float, now: float, parts: int) -> bool:
    """Whether one of `parts` equal marks lies between two fractions."""
    slack = 1e-9  # 29 / 200 * 200 is a little less than 29
    return int(before * parts + slack) < int(now * parts + slack)
