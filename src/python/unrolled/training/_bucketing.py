"""Training batches of whole sequences, each batch of sequences of about the same length."""

import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal

import numpy as np
from numpy.typing import NDArray

from ._position import Position
from ._sampling import check_rank, check_seed, counter_rng
from ._types import Array, BatchT

Indices = NDArray[np.int64]


def bucket_by_length(
    lengths: Sequence[int] | Array,
    *,
    max_tokens: int,
    max_sequences: int | None = None,
    bucket_width: float = 0.1,
    rng: np.random.Generator | None = None,
) -> list[Indices]:
    """Groups sequences of about the same length into batches under a token budget.

    A batch of n sequences costs n times its longest length, the size of the padded array; an empty
    sequence costs as much as one of length 1. Sequences are ordered by bucket, at random inside
    each, and cut greedily into batches; without `rng`, they are ordered by length.

    Args:
        lengths: (N,) integers, steps of each sequence, at least 0.
        max_tokens: the most that a batch may cost, padding included.
        max_sequences: the most sequences in a batch; None sets no limit.
        bucket_width: how much longer, as a fraction, the longest sequence of a bucket may be than
            the shortest. A wider bucket mixes more and pads more.
        rng: shuffles inside the buckets; None = shortest first, for scoring.

    Returns:
        The indices of each batch, shortest batches first: each index from 0 to N - 1 once.

    Raises:
        ValueError: a sequence alone is longer than `max_tokens`, or an argument will not do.
    """
    where = "bucket_by_length"
    lengths = _as_lengths(where, lengths)
    if max_tokens < 1 or (max_sequences is not None and max_sequences < 1):
        raise ValueError(
            f"[{where}] expected max_tokens and max_sequences >= 1, "
            f"got {max_tokens} and {max_sequences}"
        )
    if not 0.0 < bucket_width < math.inf:
        raise ValueError(f"[{where}] expected bucket_width > 0, got {bucket_width}")
    too_long = int(np.count_nonzero(lengths > max_tokens))
    if too_long:
        raise ValueError(
            f"[{where}] {too_long} of {lengths.size} sequences are longer than max_tokens = "
            f"{max_tokens} (the longest has {lengths.max()} steps): raise max_tokens, cut them "
            "or leave them out"
        )
    cost = np.maximum(lengths, 1)
    if rng is None:
        order = np.argsort(cost, kind="stable")
    else:
        shuffled = rng.permutation(cost.size)
        buckets = np.floor(np.log(cost) / math.log1p(bucket_width))
        order = shuffled[np.argsort(buckets[shuffled], kind="stable")]
    cost = cost[order]
    batches = []
    start = 0
    while start < order.size:
        most = max_tokens // int(cost[start])
        if max_sequences is not None:
            most = min(most, max_sequences)
        longest = np.maximum.accumulate(cost[start : start + most])
        fits = longest * np.arange(1, longest.size + 1) <= max_tokens  # True, then False
        stop = start + int(np.count_nonzero(fits))
        batches.append(order[start:stop])
        start = stop
    return batches


class BucketBatches(Generic[BatchT]):
    """Batches of sequences of about the same length, shuffled anew in each epoch.

    Each epoch cuts all sequences into batches (see `bucket_by_length`) and shuffles the batches,
    both at random from the seed and the number of the epoch alone: a position is an epoch and an
    index, and a run that goes on in the middle of an epoch sees what is left of it.

    Of `size` processes, rank r takes the batches r, r + size, r + 2 * size, ... of the epoch; all
    take equally many, and each sequence is taken by one of them once an epoch. Where the number
    of batches is no multiple of `size`, the batches with the most sequences are halved until it
    is. Only where no batch with two sequences is left, up to size - 1 sequences, drawn anew in
    each epoch, are left out.

    Args:
        lengths: (N,) integers, steps of each sequence.
        collate: makes a batch from the indices (B,) of its sequences; `pad_sequences` helps.
        max_tokens: the most that a batch may cost: its sequences times the longest of them.
        max_sequences: the most sequences in a batch; None sets no limit.
        bucket_width: how much longer, as a fraction, the longest sequence of a bucket may be than
            the shortest.
        seed: gives each epoch its order.
        too_long: what to do with sequences longer than `max_tokens`: "error" or "drop".
        rank: which of the processes this is.
        size: how many processes share the work.

    Attributes:
        dropped: how many sequences were too long, and are left out.

    Raises:
        ValueError: there are fewer sequences than processes, some are too long, or an argument
            will not do.
    """

    def __init__(
        self,
        lengths: Sequence[int] | Array,
        collate: Callable[[Indices], BatchT],
        *,
        max_tokens: int,
        max_sequences: int | None = None,
        bucket_width: float = 0.1,
        seed: int,
        too_long: Literal["error", "drop"] = "error",
        rank: int = 0,
        size: int = 1,
    ) -> None:
        where = type(self).__name__
        lengths = _as_lengths(where, lengths)
        check_seed(where, seed)
        check_rank(where, rank, size)
        if too_long not in ("error", "drop"):
            raise ValueError(f"[{where}] expected too_long 'error' or 'drop', got {too_long!r}")
        kept = np.arange(lengths.size)
        if too_long == "drop":
            kept = np.flatnonzero(lengths <= max_tokens)
        if kept.size < size:
            raise ValueError(
                f"[{where}] expected at least one sequence for each of {size} processes, "
                f"got {kept.size} ({lengths.size - kept.size} too long)"
            )
        self.dropped = lengths.size - kept.size
        self._kept = kept
        self._lengths = lengths[kept]
        self._collate = collate
        self._max_tokens = max_tokens
        self._max_sequences = max_sequences
        self._bucket_width = bucket_width
        self._position = Position(seed)
        self._rank = rank
        self._size = size
        self._fingerprint = zlib.crc32(lengths.data)
        self._plan = self._planned(self._position)

    def _planned(self, position: Position) -> list[Indices]:
        """The batches of an epoch, of all ranks."""
        rng = counter_rng(position.seed, position.epochs_done)
        batches = bucket_by_length(
            self._lengths,
            max_tokens=self._max_tokens,
            max_sequences=self._max_sequences,
            bucket_width=self._bucket_width,
            rng=rng,
        )
        order = rng.permutation(len(batches))
        return _multiple_of(self._size, [batches[place] for place in order])

    @property
    def epoch(self) -> float:
        """How many times the data have been gone through, with the fraction under way."""
        return self._position.epochs_done + self._position.index / self._per_epoch

    @property
    def _per_epoch(self) -> int:
        """Batches of each process in this epoch."""
        return len(self._plan) // self._size

    @property
    def padding_efficiency(self) -> float:
        """The part of all padded steps of this epoch that belong to a sequence, 0..1."""
        padded = sum(batch.size * int(self._lengths[batch].max()) for batch in self._plan)
        taken = sum(int(self._lengths[batch].sum()) for batch in self._plan)
        return taken / padded if padded else 1.0

    def next(self) -> BatchT:
        """Returns the next batch of this process."""
        # The position moves only when the batch is there: after an error it can be asked for again.
        place = self._position.index * self._size + self._rank
        batch = self._collate(self._kept[self._plan[place]])
        if self._position.advance(self._per_epoch):
            self._plan = self._planned(self._position)
        return batch

    def _layout(self) -> dict[str, Any]:
        return {
            "fingerprint": self._fingerprint,
            "sequences": self._kept.size,
            "max_tokens": self._max_tokens,
            "max_sequences": self._max_sequences,
            "bucket_width": self._bucket_width,
            "size": self._size,
        }

    def state(self) -> dict[str, Any]:
        """Returns the position, and what identifies the data it is a position in."""
        return self._position.state(self._layout())

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes to a position that `state` returned, with the seed that it was reached with.

        Raises:
            ValueError: the lengths, the limits of a batch or the number of processes are not those
                of the position.
        """
        where = type(self).__name__
        position = Position.load(where, state, self._layout())
        plan = self._planned(position)
        position.check(where, len(plan) // self._size)
        self._position, self._plan = position, plan


def pad_sequences(sequences: Sequence[Array], value: float = 0) -> tuple[Array, Indices]:
    """Puts sequences of different lengths side by side, each padded at its end.

    Shapes: sequences B times (T_b, ...) -> padded (T, B, ...) with T = max T_b; lengths (B,).

    Args:
        sequences: at least one, alike in their other dimensions and their type.
        value: what stands behind the end of a sequence.

    Raises:
        ValueError: there is no sequence, or they are not alike.
    """
    if not sequences:
        raise ValueError("[pad_sequences] expected at least one sequence, got none")
    kinds = {
        f"({', '.join(['T_b', *map(str, sequence.shape[1:])])}) {sequence.dtype}"
        for sequence in sequences
    }
    if len(kinds) > 1:
        raise ValueError(
            "[pad_sequences] expected sequences of one shape (T_b, ...) and one type, got "
            + " and ".join(sorted(kinds))
        )
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    first = sequences[0]
    shape = (int(lengths.max()), lengths.size, *first.shape[1:])
    padded = np.full(shape, value, first.dtype)
    for column, sequence in enumerate(sequences):
        padded[: len(sequence), column] = sequence
    return padded, lengths


def _as_lengths(where: str, lengths: Sequence[int] | Array) -> Indices:
    array = np.asarray(lengths)
    if array.ndim != 1 or not (array.size == 0 or np.issubdtype(array.dtype, np.integer)):
        raise ValueError(
            f"[{where}] expected integer lengths of shape (N,), "
            f"got {array.dtype} of shape {array.shape}"
        )
    if array.size and array.min() < 0:
        raise ValueError(f"[{where}] expected lengths >= 0, got {array.min()}")
    return np.ascontiguousarray(array, np.int64)


def _multiple_of(size: int, batches: list[Indices]) -> list[Indices]:
    """Halves batches, or leaves out the last, until there is a multiple of `size`."""
    while len(batches) % size:
        place = max(range(len(batches)), key=lambda i: batches[i].size)
        batch = batches[place]
        if batch.size < 2:
            return batches[: len(batches) // size * size]
        batches[place] = batch[: batch.size // 2]
        batches.append(batch[batch.size // 2 :])
    return batches
