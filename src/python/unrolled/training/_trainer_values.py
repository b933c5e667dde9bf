"""What a checkpoint says of a run, beside its arrays."""

import math
from dataclasses import dataclass
from typing import Any

from ._history import History


@dataclass(frozen=True)
class TrainerValues:
    """The values of `Trainer.state`, with their types: `from_json(TrainerValues, ...)` checks them.

    Raises:
        ValueError: a count or a time that no run can have.
    """

    steps: int
    skipped: tuple[int, int]
    targets: int
    seconds: float
    best_loss: float | None
    validation_seconds: float
    history: History
    batches: dict[str, Any]
    rng: dict[str, Any]

    def __post_init__(self) -> None:
        amounts = (self.steps, *self.skipped, self.targets, self.seconds, self.validation_seconds)
        if not all(0 <= amount < math.inf for amount in amounts):
            raise ValueError(f"expected counts and times >= 0, got {amounts}")
