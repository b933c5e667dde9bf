"""How long a training run may go on."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """A limit in epochs, in updates or in minutes: exactly one of them.

    Attributes:
        epochs: times through the data.
        steps: updates.
        minutes: time, validation included.

    Raises:
        ValueError: none or several are given, or the limit is not positive.
    """

    epochs: float | None = None
    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        given = self._given()
        if len(given) != 1:
            raise ValueError(
                "expected one limit, epochs or steps or minutes, got "
                + (" and ".join(given) or "none")
            )
        for name, value in given.items():
            if not 0 < value < math.inf:
                raise ValueError(f"expected {name} > 0 and finite, got {value}")

    @property
    def limit(self) -> tuple[str, float]:
        """The name of the limit that was given, and its value."""
        ((name, value),) = self._given().items()
        return name, value

    def _given(self) -> dict[str, float]:
        limits = {"epochs": self.epochs, "steps": self.steps, "minutes": self.minutes}
        return {name: value for name, value in limits.items() if value is not None}

    def fraction(
        self, *, epochs: float, steps: int, seconds: float, reserved_seconds: float = 0.0
    ) -> float:
        """Returns how much of the budget is used up; 1 or more: all of it.

        Args:
            epochs: times gone through the data.
            steps: updates made.
            seconds: time spent.
            reserved_seconds: time to keep for the last validation. At most half of the minutes are
                kept, so that a slow validation cannot take the whole budget.
        """
        if self.epochs is not None:
            return epochs / self.epochs
        if self.steps is not None:
            return steps / self.steps
        assert self.minutes is not None
        limit = 60.0 * self.minutes
        return seconds / max(limit - reserved_seconds, 0.5 * limit)


def passed(before: float, now: float, parts: int) -> bool:
    """Whether one of `parts` equal marks lies between two fractions of a budget."""
    slack = 1e-9  # 29 / 200 * 200 is a little less than 29
    return int(before * parts + slack) < int(now * parts + slack)
