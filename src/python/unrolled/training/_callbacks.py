"""What may listen to a training run: progress, logs, statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._history import Point

if TYPE_CHECKING:
    from ._loop import Trainer


@dataclass(frozen=True)
class Update:
    """One update of the parameters.

    Attributes:
        step: its number, from 1.
        epoch: times gone through the data after it.
        fraction: part of the budget used before it, 0..1.
        seconds: time spent before it, over all parts of a resumed run.
        loss: mean loss over its targets.
        count: how many targets.
        lr: the learning rate.
        grad_norm: global norm of the mean gradients, before clipping.
        grad_scale: factor that the optimizer gets: makes `model.flat.grads`, which are sums over
            the targets, mean and clipped gradients.
        skipped: True if the loss or a gradient was not finite, so that nothing was changed.
    """

    step: int
    epoch: float
    fraction: float
    seconds: float
    loss: float
    count: int
    lr: float
    grad_norm: float
    grad_scale: float
    skipped: bool


class Callback:
    """Listens to a `Trainer`; every method does nothing unless a subclass says otherwise.

    A callback may read the trainer and must not change what it computes. An exception in a
    callback ends the run; what was saved before stays. Methods are called in this order::

        started  (before_step?  updated  (validated)  (saved))*  ended
    """

    def started(self, trainer: Trainer[Any]) -> None:
        """The run begins, or goes on."""

    def before_step(self, trainer: Trainer[Any], update: Update) -> None:
        """The gradients of an update are there, the parameters not yet changed; not if skipped."""

    def updated(self, trainer: Trainer[Any], update: Update) -> None:
        """An update was made or skipped."""

    def validated(self, trainer: Trainer[Any], point: Point, best: bool) -> None:
        """The held-out data were scored; `best`: no earlier score was as good."""

    def saved(self, trainer: Trainer[Any]) -> None:
        """The state of the run was saved."""

    def ended(self, trainer: Trainer[Any]) -> None:
        """The run ends, for whatever reason; called once for each `started`."""
