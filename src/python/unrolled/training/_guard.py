"""What happens when numbers stop being finite."""

from collections.abc import Mapping

import numpy as np

from ._callbacks import Update
from ._types import Array


class DivergedError(ValueError):
    """Losses, gradients or parameters became infinite or NaN, and did not recover."""


class Guard:
    """Counts updates that were skipped, and ends a run that does not recover.

    Args:
        max_skipped: so many skipped updates in a row are too many.

    Attributes:
        skipped: skipped updates in all.
        in_a_row: skipped updates since the last one that was made.
    """

    def __init__(self, max_skipped: int) -> None:
        self.skipped = 0
        self.in_a_row = 0
        self._max_skipped = max_skipped

    def note(self, update: Update) -> None:
        """Counts an update.

        Raises:
            DivergedError: too many in a row were skipped.
        """
        self.skipped += update.skipped
        self.in_a_row = self.in_a_row + 1 if update.skipped else 0
        if self.in_a_row >= self._max_skipped:
            raise DivergedError(
                f"training diverged: {self.in_a_row} updates in a row, up to update {update.step}, "
                "had a loss or gradients that are not finite (the last: "
                f"loss {update.loss}, gradient norm {update.grad_norm}); "
                "a lower learning rate usually helps"
            )

    @staticmethod
    def check(step: int, arrays: Mapping[str, Array]) -> None:
        """Raises DivergedError if a number in `arrays` is not finite after update `step`."""
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DivergedError(
                    f"training diverged: after update {step} there are numbers in {name} that are "
                    "not finite; a lower learning rate usually helps"
                )
