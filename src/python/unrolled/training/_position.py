"""Where a source of batches is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ._json import from_json


@dataclass
class Position:
    """A place in data that are gone through again and again, shuffled by a seed.

    Attributes:
        seed: decides, with the epoch, the order of the data.
        epochs_done: times gone through them.
        index: batches of the epoch under way that were taken.
    """

    seed: int
    epochs_done: int = 0
    index: int = 0

    def advance(self, per_epoch: int) -> bool:
        """Goes one batch on; True if that ended an epoch of so many batches."""
        self.index += 1
        if self.index < per_epoch:
            return False
        self.index = 0
        self.epochs_done += 1
        return True

    def state(self, layout: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the position as JSON-able values, with what identifies the data it is in."""
        return {**asdict(self), **layout}

    @classmethod
    def load(cls, where: str, state: Mapping[str, Any], layout: Mapping[str, Any]) -> "Position":
        """Returns the position that `state` returned; `where` is the source, for error texts.

        Raises:
            ValueError: it is one in other data, or none.
        """
        if {name: state.get(name) for name in layout} != dict(layout):
            raise ValueError(
                f"[{where}] the data are not those that the run was started with, or they are cut "
                "into other batches, so it cannot go on where it stopped"
            )
        rest = {name: value for name, value in state.items() if name not in layout}
        position = from_json(cls, rest, "position")
        if min(position.seed, position.epochs_done, position.index) < 0:
            raise ValueError(f"[{where}] expected a position of numbers >= 0, got {rest}")
        return position

    def check(self, where: str, per_epoch: int) -> None:
        """Raises ValueError unless there is such a batch in an epoch of so many."""
        if self.index >= per_epoch:
            raise ValueError(
                f"[{where}] there is no batch {self.index} in an epoch of {per_epoch} batches"
            )
