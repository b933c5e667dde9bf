"""The callback that keeps a `Progress` informed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._callbacks import Callback, Update
from ._history import Point
from ._progress import Progress, Status

if TYPE_CHECKING:
    from ._loop import Trainer

#: Seconds between two calls of `Progress.update`.
_SHOW_SECONDS = 0.2

#: Weight of the newest update in the training loss and in the speed that are shown.
_LOSS_WEIGHT, _RATE_WEIGHT = 0.05, 0.2


class ShowProgress(Callback):
    """Tells a `Progress` a few times a second where the run is.

    Args:
        progress: what shows it.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def started(self, trainer: Trainer[Any]) -> None:
        """Forgets an earlier run."""
        self._start = (trainer.seconds, trainer.fraction)
        self._shown_at, self._shown_targets = trainer.seconds, trainer.targets
        self._loss: float | None = None
        self._rate: float | None = None

    def updated(self, trainer: Trainer[Any], update: Update) -> None:
        """Shows the state if the last time is long enough ago."""
        if update.skipped:
            self._progress.skipped(self._status(trainer), update.loss, update.grad_norm)
            return
        before = self._loss
        self._loss = update.loss if before is None else _blend(before, update.loss, _LOSS_WEIGHT)
        if trainer.seconds - self._shown_at >= _SHOW_SECONDS or trainer.fraction >= 1.0:
            self._measure_rate(trainer)
            self._progress.update(self._status(trainer))

    def validated(self, trainer: Trainer[Any], point: Point, best: bool) -> None:
        """Shows the score; the time that it took does not count as slow training."""
        self._shown_at, self._shown_targets = trainer.seconds, trainer.targets
        self._progress.validated(self._status(trainer), point, best)

    def ended(self, trainer: Trainer[Any]) -> None:
        """Closes what shows it."""
        self._progress.close()

    def _measure_rate(self, trainer: Trainer[Any]) -> None:
        elapsed = trainer.seconds - self._shown_at
        if elapsed <= 0.0:
            return
        rate = (trainer.targets - self._shown_targets) / elapsed
        self._rate = rate if self._rate is None else _blend(self._rate, rate, _RATE_WEIGHT)
        self._shown_at, self._shown_targets = trainer.seconds, trainer.targets

    def _status(self, trainer: Trainer[Any]) -> Status:
        seconds, done = self._start
        fraction = trainer.fraction
        left: float | None = None
        if fraction > done:
            left = (trainer.seconds - seconds) * (1.0 - fraction) / (fraction - done)
        return Status(
            step=trainer.steps,
            epoch=trainer.batches.epoch,
            fraction=fraction,
            seconds_left=left,
            loss=self._loss,
            rate=self._rate,
        )


def _blend(before: float, new: float, weight: float) -> float:
    return before + weight * (new - before)
