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

#: `(loss, count, carry), pullback = loss_function(batch, carry, rng)`: the mean loss over `count`
#: targets, the state for the next batch, and `pullback(dloss)`, which adds the loss's gradients,
#: times dloss, to `model.grads`. `rng` is for dropout and the like.
LossFunction: TypeAlias = Callable[
    [BatchT, Carry, np.random.Generator],
    tuple[tuple[float, int, Carry], Callable[[float], None]],
]


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
