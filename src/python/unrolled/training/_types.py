"""Names for the types that the training loop speaks of."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

#: What one update hands to the next: the recurrent state of truncated BPTT, `h` or `(h, c)`, or
#: None where every batch starts afresh. The rows of the batch are along axis 1.
Carry: TypeAlias = Array | tuple[Array, ...] | None

BatchT = TypeVar("BatchT")
BatchT_co = TypeVar("BatchT_co", covariant=True)

#: What a loss gives: the mean loss over `count` targets, the state for the next batch, and
#: `pullback(dloss)`, which adds dloss * d(mean loss) to the gradients of the model.
LossAndPullback: TypeAlias = tuple[tuple[float, int, Carry], Callable[[float], None]]

#: `(loss, count, carry), pullback = loss_function(batch, carry, rng)`; `rng` is for dropout and the
#: like. The trainer calls `pullback(count)`: sums over targets add up over parts of a batch.
LossFunction: TypeAlias = Callable[[BatchT, Carry, np.random.Generator], LossAndPullback]


class Batches(Protocol[BatchT_co]):
    """A never-ending, resumable source of training batches."""

    @property
    def epoch(self) -> float:
        """How many times the data have been gone through, with the fraction under way."""

    def next(self) -> BatchT_co:
        """Returns the next batch."""

    def state(self) -> dict[str, Any]:
        """Returns the position as JSON-able values."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes to a position that `state` returned.

        Raises:
            ValueError: the position belongs to other data.
        """
