"""Training batches that follow from their number alone."""

from collections.abc import Callable
from typing import Any, Generic

from ._types import BatchT


class IndexedBatches(Generic[BatchT]):
    """A never-ending source whose batch number i is `make(i)`, whatever came before.

    For data that are made as they are needed, and for data sets whose order follows from the
    number of the epoch. Where a run is, is one number.

    Args:
        make: number (0, 1, ...) -> batch; the same number must give the same batch.
        per_epoch: how many batches count as one time through the data.

    Raises:
        ValueError: per_epoch is below 1.
    """

    def __init__(self, make: Callable[[int], BatchT], *, per_epoch: int) -> None:
        if per_epoch < 1:
            raise ValueError(f"[IndexedBatches] expected per_epoch >= 1, got {per_epoch}")
        self._make = make
        self._per_epoch = per_epoch
        self._index = 0

    @property
    def epoch(self) -> float:
        """How many times the data have been gone through, with the fraction under way."""
        return self._index / self._per_epoch

    def next(self) -> BatchT:
        """Returns the next batch."""
        batch = self._make(self._index)
        self._index += 1
        return batch

    def state(self) -> dict[str, Any]:
        """Returns the position."""
        return {"index": self._index, "per_epoch": self._per_epoch}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes to a position that `state` returned.

        Raises:
            ValueError: an epoch of the position has another number of batches.
        """
        if state["per_epoch"] != self._per_epoch:
            raise ValueError(
                f"[IndexedBatches] the run had {state['per_epoch']} batches in an epoch, now there "
                f"are {self._per_epoch}, so it cannot go on where it stopped"
            )
        self._index = int(state["index"])
