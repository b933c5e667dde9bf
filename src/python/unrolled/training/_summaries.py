"""Updates summed up a bounded number of times, for logs that stay small however long a run is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._budget import passed
from ._callbacks import Callback, Update

if TYPE_CHECKING:
    from ._loop import Trainer

#: Summaries over the whole budget, besides those that a save asks for.
_PARTS = 1000


@dataclass(frozen=True)
class Summary:
    """The updates since the summary before.

    Attributes:
        step: the last update.
        epoch: times gone through the data after it.
        fraction: part of the budget used after it, 0..1.
        seconds: time spent after it, over all parts of a resumed run.
        updates: how many updates, skipped ones included.
        skipped: how many of them were skipped.
        targets: targets of those that were not skipped.
        loss: mean loss over these targets, NaN if all were skipped.
        grad_norm: mean of the global gradient norm before clipping, NaN if all were skipped.
        grad_norm_max: the largest of these norms.
        lr: the last learning rate.
        rate: targets per second of training, skipped updates included.
    """

    step: int
    epoch: float
    fraction: float
    seconds: float
    updates: int
    skipped: int
    targets: int
    loss: float
    grad_norm: float
    grad_norm_max: float
    lr: float
    rate: float


class Summarizer(Callback):
    """Calls `summarized` at each thousandth of the budget, at each save, and at the end.

    A save begins a new summary, so that a run resumed from it makes the summaries that an unbroken
    one makes (and one more where Ctrl-C fell between two of them).
    """

    def __init__(self) -> None:
        self._forget()

    def summarized(self, trainer: Trainer[Any], summary: Summary) -> None:
        """Some updates were made or skipped."""

    def _forget(self) -> None:
        self._updates: list[Update] = []
        self._training_seconds = 0.0

    def started(self, trainer: Trainer[Any]) -> None:
        """Forgets an earlier run."""
        self._forget()

    def updated(self, trainer: Trainer[Any], update: Update) -> None:
        """Takes in an update; sums up where it ends a thousandth of the budget."""
        self._updates.append(update)
        self._training_seconds += trainer.seconds - update.seconds  # no validation, no save
        self._end = (trainer.seconds, trainer.fraction)
        if passed(update.fraction, trainer.fraction, _PARTS):
            self._sum_up(trainer)

    def saved(self, trainer: Trainer[Any]) -> None:
        """Sums up what a run resumed from here would not know."""
        self._sum_up(trainer)

    def ended(self, trainer: Trainer[Any]) -> None:
        """Sums up what is left."""
        self._sum_up(trainer)

    def _sum_up(self, trainer: Trainer[Any]) -> None:
        if not self._updates:
            return
        last, made = self._updates[-1], [u for u in self._updates if not u.skipped]
        targets = sum(update.count for update in made)
        norms = [update.grad_norm for update in made]
        seconds, fraction = self._end
        summary = Summary(
            step=last.step,
            epoch=last.epoch,
            fraction=fraction,
            seconds=seconds,
            updates=len(self._updates),
            skipped=len(self._updates) - len(made),
            targets=targets,
            loss=_ratio(sum(update.loss * update.count for update in made), targets),
            grad_norm=_ratio(sum(norms), len(norms)),
            grad_norm_max=max(norms, default=math.nan),
            lr=last.lr,
            rate=_ratio(sum(update.count for update in self._updates), self._training_seconds),
        )
        self._forget()
        self.summarized(trainer, summary)


def _ratio(total: float, count: float) -> float:
    return total / count if count else math.nan
