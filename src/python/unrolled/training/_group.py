"""The processes that train one model together (synchronous data parallelism)."""

from collections.abc import Sequence

import numpy as np

from unrolled.layers import Layer

from ._types import Array


class Group:
    """The processes that train one model together; this class is the group of one process.

    Every rank has the whole model and a share of each batch, and makes the same updates from the
    same sums of gradients. Every method but `rows` and `rng` is collective: all ranks call it, in
    the same order. In the training loop::

        group.begin()                        # before the forward pass of the last micro-batch
        (loss, count, carry), pullback = loss_function(batch, carry, group.rng(rng))
        pullback(float(count))               # complete gradients are on their way already
        group.finish()                       # now model.flat.grads holds the sums over all ranks
        total, targets = group.sum([loss * count, count])

    Attributes:
        rank: the number of this process, 0 .. size-1; rank 0 validates, writes and speaks.
        size: how many processes there are.
        local_rank, local_size: the same among those of this machine.
    """

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1

    def watch(self, model: Layer) -> None:
        """Makes this the model whose gradients are summed; once, before all else."""

    def begin(self) -> None:
        """From here on to `finish`, a gradient is summed as soon as it is complete.

        To be called before the forward pass: what the coming pullback will add to is learnt there.
        """

    def finish(self) -> None:
        """Waits until `flat.grads` holds the sums over all ranks, with the same bits on each."""

    def sum(self, values: Sequence[float]) -> list[float]:
        """Returns the sum of each value over all ranks, in float64."""
        return [float(value) for value in values]

    def broadcast(self, value: float) -> float:
        """Returns rank 0's value: for what depends on a clock or is computed on rank 0 alone."""
        return value

    def gather(self, share: Array) -> Array:
        """Returns the recurrent states (L, B, H) of the whole batch from this rank's share of rows.

        Rows are in the order of ranks, as `StreamBatches` divides them, so that a checkpoint does
        not depend on how many ranks wrote it.
        """
        return share

    def share(self, whole: Array) -> Array:
        """Returns this rank's rows of the states (L, B, H) of a whole batch: undoes `gather`.

        Raises:
            ValueError: B cannot be divided evenly.
        """
        if self.size == 1:  # the carry may be anything
            return whole
        return whole[:, shard(whole.shape[1], self.rank, self.size)]

    def rows(self, count: int) -> slice:
        """Returns which of so many rows are this rank's: equal shares, give or take one row."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def rng(self, shared: np.random.Generator) -> np.random.Generator:
        """Returns randomness of this rank's own for one update (dropout).

        It is drawn from a generator that is in the same state on all ranks, and leaves it so: a
        checkpoint needs the state of the shared one only.
        """
        return shared

    def check_same(self, what: str, array: Array) -> None:
        """Makes sure that all ranks hold the same bits.

        Raises:
            RuntimeError: they do not; raised on every rank.
        """


def shard(batch: int, rank: int, size: int) -> slice:
    """Returns the rows of a batch that belong to a rank.

    Raises:
        ValueError: the batch cannot be divided evenly.
    """
    if batch % size:
        below = batch - batch % size
        choices = f"{below} or {below + size}" if below else f"{size}"
        raise ValueError(
            f"a batch of {batch} cannot be divided evenly among {size} ranks; "
            f"give all of them together a batch of {choices}, say"
        )
    rows = batch // size
    return slice(rank * rows, (rank + 1) * rows)
