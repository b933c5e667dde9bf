"""What answers of classes have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .logits_answer import LogitsAnswer


@dataclass(frozen=True)
class ClassAnswer(LogitsAnswer):
    """Which of a few classes something is.

    Attributes:
        classes: their names.
    """

    classes: tuple[str, ...]

    @property
    def width(self) -> int:
        """An output for each class."""
        return len(self.classes)

    def to_json(self) -> dict[str, Any]:
        """The classes."""
        return {"classes": list(self.classes)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ClassAnswer":
        """From the classes."""
        return cls(tuple(values["classes"]))


def classes_of(labels: Sequence[str], what: str) -> tuple[str, ...]:
    """Returns the different labels; ValueError unless there are two or more."""
    classes = tuple(sorted({label for label in labels if label}))
    if len(classes) < 2:
        raise ValueError(
            f"there {'is one' if len(classes) == 1 else 'are no'} {what} in the training clips: "
            "two or more are needed"
        )
    return classes
