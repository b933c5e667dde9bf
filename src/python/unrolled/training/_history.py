"""What a training run notes down along the way."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Point:
    """A mean loss, and when it was measured.

    Attributes:
        step: updates made.
        seconds: time spent training, over all parts of a resumed run.
        loss: mean loss.
    """

    step: int
    seconds: float
    loss: float


@dataclass
class History:
    """The loss curve: `training` averaged between points, `validation` at each validation."""

    training: list[Point] = field(default_factory=list)
    validation: list[Point] = field(default_factory=list)

    def validations_since_best(self) -> int:
        """Returns how many validations came after the best one, the first of equals."""
        losses = [point.loss for point in self.validation]
        finite = [loss for loss in losses if loss == loss]
        return len(losses) - 1 - losses.index(min(finite)) if finite else len(losses)

    def to_json(self) -> dict[str, Any]:
        """Returns the history as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "History":
        """Returns the history that `to_json` returned."""
        return cls(
            [Point(**point) for point in values["training"]],
            [Point(**point) for point in values["validation"]],
        )
