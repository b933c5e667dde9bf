"""What a training run notes down along the way."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from ._json import from_json


@dataclass(frozen=True)
class Point:
    """A mean loss, and when it was measured.

    Attributes:
        step: updates made.
        seconds: time spent training, over all parts of a resumed run.
        loss: mean loss.
        error: part of answers that are wrong; None where the loss alone was measured.
    """

    step: int
    seconds: float
    loss: float
    error: float | None = None

    @property
    def rank(self) -> tuple[float, float]:
        """Lower is better: the error, and then the loss; behind all others without an error."""
        return (math.inf if self.error is None else self.error, self.loss)


@dataclass
class History:
    """The loss curve.

    Attributes:
        training: mean losses between one point and the next.
        validation: the score of each validation.
        pending_loss: sum over the targets since the last point of `training`.
        pending_targets: how many these are.
    """

    training: list[Point] = field(default_factory=list)
    validation: list[Point] = field(default_factory=list)
    pending_loss: float = 0.0
    pending_targets: int = 0

    def add(self, loss: float, count: int) -> None:
        """Takes the mean loss over `count` targets into the next point of `training`."""
        self.pending_loss += loss * count
        self.pending_targets += count

    def close_point(self, step: int, seconds: float) -> None:
        """Ends a point of `training`, if there were targets since the last one."""
        if self.pending_targets:
            self.training.append(Point(step, seconds, self.pending_loss / self.pending_targets))
            self.pending_loss, self.pending_targets = 0.0, 0

    def validation_losses(self) -> list[float]:
        """Returns the loss of each validation so far, the oldest first."""
        return [point.loss for point in self.validation]

    def best(self) -> Point | None:
        """Returns the best validation so far, the first of equals; None where no loss is finite."""
        known = [point for point in self.validation if math.isfinite(point.loss)]
        return min(known, key=lambda point: point.rank, default=None)

    def validations_since_best(self) -> int:
        """Returns how many validations came after the best one."""
        best, count = self.best(), len(self.validation)
        return count if best is None else count - 1 - self.validation.index(best)

    def to_json(self) -> dict[str, Any]:
        """Returns the history as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> "History":
        """Returns the history that `to_json` returned; ValueError for anything else."""
        return from_json(cls, values, "history")
