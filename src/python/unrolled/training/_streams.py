"""Training batches from one long token stream."""

import zlib
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from unrolled.layers import map_state

from ._position import Position
from ._sampling import check_rank, check_seed, counter_rng
from ._types import Array, Carry


@dataclass(frozen=True)
class StreamBatch:
    """One piece of each of B streams, and the token that follows each token.

    Attributes:
        tokens: (T, B) int64.
        targets: (T, B) int64, the token after each.
        fresh: (B,) bool, True where the state starts from zero instead of the last batch's.
    """

    tokens: Array
    targets: Array
    fresh: Array

    def begin(self, carry: Carry) -> Carry:
        """Returns the states (L, B, H) to begin with: those carried on, zero where `fresh`."""
        if carry is None or self.fresh.all():
            return None
        if not self.fresh.any():
            return carry
        begun: Carry = map_state(self._without_fresh, carry)
        return begun

    def _without_fresh(self, part: Array) -> Array:
        part = part.copy()
        for row in np.flatnonzero(self.fresh).tolist():  # numbers index arrays of any library
            part[:, row] = 0
        return part


class StreamBatches:
    """Cuts a token stream into B parallel streams and each of them into pieces of T tokens.

    Consecutive batches continue each other, so a recurrent state carried from one to the next has
    seen everything before (truncated BPTT). The stream is a ring: each epoch starts at another
    random place, goes once around, and leaves out less than B * T tokens.

    Now and then a stream starts from a state of zero: a model that only ever saw its own states
    would not know what to make of an empty one, with which every text that is read or written
    begins. Source: Melis, Dyer and Blunsom, "On the state of the art of evaluation in neural
    language models", 2018.

    Of `size` processes, each takes B neighbouring streams of size * B: the batches of rank 0, 1,
    ... beside each other are, column by column, those of one process with batch_size * size. The
    position is the same for all, so a run may go on with another number of processes as long as
    batch_size * size stays.

    Args:
        tokens: (N,) integers; of a memory-mapped array, such as `TokenStore.tokens`, only the
            pieces asked for are read.
        batch_size: B, the number of streams of this process.
        steps: T, the number of tokens per stream and update.
        seed: gives each epoch its starting place, and says which streams start afresh.
        restart: probability that a stream starts from zero at a batch; all do at the first of an
            epoch.
        rank: which of the processes this is.
        size: how many processes share the work.
        fingerprint: a number that identifies the tokens in saved positions, such as
            `TokenStore.crc32`; default: the CRC-32 of the tokens, which reads them all once.

    Raises:
        ValueError: there are fewer than size * B * T tokens, or an argument will not do.
    """

    def __init__(
        self,
        tokens: Array,
        *,
        batch_size: int,
        steps: int,
        seed: int,
        restart: float = 0.01,
        rank: int = 0,
        size: int = 1,
        fingerprint: int | None = None,
    ) -> None:
        where = type(self).__name__
        if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
            raise ValueError(
                f"[{where}] expected integer tokens of shape (N,), "
                f"got {tokens.dtype} of shape {tokens.shape}"
            )
        if batch_size < 1 or steps < 1:
            raise ValueError(
                f"[{where}] expected batch_size and steps >= 1, got {batch_size} and {steps}"
            )
        if not 0.0 <= restart <= 1.0:
            raise ValueError(f"[{where}] expected 0 <= restart <= 1, got {restart}")
        check_seed(where, seed)
        check_rank(where, rank, size)
        streams = batch_size * size
        if tokens.size < streams * steps:
            factors = ("batch_size x steps", f"{batch_size} x {steps}")
            if size > 1:
                factors = (f"{factors[0]} x size", f"{factors[1]} x {size}")
            raise ValueError(
                f"[{where}] {tokens.size} tokens are fewer than one update takes: "
                f"{factors[0]} = {factors[1]} = {streams * steps}"
            )
        self._tokens = tokens
        self._streams = streams
        self._steps = steps
        self._position = Position(seed)
        self._restart = restart
        self._given_fingerprint = fingerprint
        length = tokens.size // streams
        self._per_epoch = length // steps
        first = rank * batch_size
        self._rows = slice(first, first + batch_size)
        self._starts = np.arange(streams, dtype=np.int64)[self._rows] * length
        self._window = np.arange(steps + 1, dtype=np.int64)[:, None]

    @property
    def epoch(self) -> float:
        """How many times the data have been gone through, with the fraction under way."""
        return self._position.epochs_done + self._position.index / self._per_epoch

    def next(self) -> StreamBatch:
        """Returns the next batch."""
        seed, epoch, index = astuple(self._position)
        offset = counter_rng(seed, epoch).integers(self._tokens.size)
        fresh = np.full(self._streams, True)
        if index:
            fresh = counter_rng(seed, epoch, index).random(self._streams) < self._restart
        first = offset + index * self._steps
        places = (self._starts + first + self._window) % self._tokens.size
        pieces = self._tokens[places].astype(np.int64, copy=False)
        batch = StreamBatch(pieces[:-1], pieces[1:], fresh[self._rows])
        self._position.advance(self._per_epoch)
        return batch

    @cached_property
    def _fingerprint(self) -> int:
        if self._given_fingerprint is not None:
            return self._given_fingerprint
        return zlib.crc32(np.ascontiguousarray(self._tokens).view(np.uint8).data)

    def _layout(self) -> dict[str, int]:
        return {
            "fingerprint": self._fingerprint,
            "tokens": self._tokens.size,
            "streams": self._streams,
            "steps": self._steps,
        }

    def state(self) -> dict[str, Any]:
        """Returns the position, and what identifies the data it is a position in."""
        return self._position.state(self._layout())

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes to a position that `state` returned, with the seed that it was reached with.

        Raises:
            ValueError: the tokens, the streams or the steps are not those of the position, or it
                is none.
        """
        where = type(self).__name__
        position = Position.load(where, state, self._layout())
        position.check(where, self._per_epoch)
        self._position = position
