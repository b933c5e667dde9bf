"""How a model is scored while it is trained."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from ._averaging import Averaging
from ._group import Group


@dataclass(frozen=True)
class Validation:
    """How a model is scored on held-out data, and which of two scores is better.

    Attributes:
        loss: returns the mean loss.
        error: returns the part of answers that are wrong, 0..: the model with the fewest is kept,
            and the loss decides between equals. None: the loss decides. Where a model goes on
            learning what it was sure of already, the loss of its few errors grows while they become
            fewer, as that of CTC over sentences does.
    """

    loss: Callable[[], float]
    error: Callable[[], float] | None = None

    def run(self, averaging: Averaging | None, group: Group) -> tuple[float, float | None]:
        """Returns loss and error of the averaged parameters, those of rank 0 on every rank."""
        first = group.rank == 0
        with nullcontext() if averaging is None else averaging.applied():
            loss = group.broadcast(self.loss() if first else 0.0)
            if self.error is None:
                return loss, None
            return loss, group.broadcast(self.error() if first else 0.0)
