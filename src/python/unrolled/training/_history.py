"""What a training run notes down along the way."""

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
    """

    step: int
    seconds: float
    loss: float


@dataclass
class History:
    """The loss curve: `training` averaged between points, `validation` at each validation."""

    training: list[Point] = field(default_factory=list)
    validation: list[Point] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Returns the history as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> "History":
        """Returns the history that `to_json` returned; ValueError for anything else."""
        return from_json(cls, values, "history")
