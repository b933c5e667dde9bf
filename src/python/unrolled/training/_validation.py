"""How a model is scored while it is trained."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

from ._averaging import Averaging
from ._group import Group


class Score(NamedTuple):
    """How well a model does on held-out data, and which of two is better.

    Attributes:
        loss: the mean loss.
        error: the part of answers that are wrong, 0..: the model with the fewest is kept, and the
            loss decides between equals. None: the loss decides. Where a model goes on learning what
            it was sure of already, the loss of its few errors grows while they become fewer, as
            that of CTC over sentences does.
    """

    loss: float
    error: float | None = None

    @classmethod
    def of(cls, score: "float | Score") -> "Score":
        """Returns a score, or that of a loss alone."""
        return score if isinstance(score, Score) else cls(score)


def run_validation(
    validate: Callable[[], float | Score], averaging: Averaging | None, group: Group
) -> Score:
    """Returns the score of the averaged parameters, that of rank 0 on every rank."""
    score = Score(0.0)
    if group.rank == 0:
        with nullcontext() if averaging is None else averaging.applied():
            score = Score.of(validate())
    loss = group.broadcast(score.loss)
    counted = group.broadcast(0.0 if score.error is None else 1.0)
    return Score(loss, group.broadcast(score.error or 0.0) if counted else None)
