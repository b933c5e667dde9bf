"""Training batches from one long token stream."""

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ._json import from_json
from ._types import Array


@dataclass(frozen=True)
class StreamBatch:
    """One piece of each of B streams, and the token that follows each token.

    Attributes:
        tokens: (T, B) int64.
        targets: (T, B) int64, the token after each.
        fresh: True where the state must start from zero instead of the last batch's.
    """

    tokens: Array
    targets: Array
    fresh: bool


class StreamBatches:
    """Cuts a token stream into B parallel streams and each of them into pieces of T tokens.

    Consecutive batches continue each other, so a recurrent state carried from one to the next has
    seen everything before (truncated BPTT). The stream is a ring: each epoch starts at another
    random place, goes once around, and leaves out less than B * T tokens.

    Args:
        tokens: (N,) integers.
        batch_size: B, the number of streams.
        steps: T, the number of tokens per stream and update.
        rng: gives each epoch its starting place. It is shared with the rest of the training run,
            which also saves its state; the state here is only the position.

    Raises:
        ValueError: there are fewer than B * T tokens.
    """

    def __init__(
        self, tokens: Array, *, batch_size: int, steps: int, rng: np.random.Generator
    ) -> None:
        if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
            raise ValueError(
                "[StreamBatches] expected integer tokens of shape (N,), "
                f"got {tokens.dtype} of shape {tokens.shape}"
            )
        if batch_size < 1 or steps < 1:
            raise ValueError(
                f"[StreamBatches] expected batch_size and steps >= 1, got {batch_size} and {steps}"
            )
        if tokens.size < batch_size * steps:
            raise ValueError(
                f"[StreamBatches] {tokens.size} tokens are fewer than one update takes: "
                f"batch_size x steps = {batch_size} x {steps} = {batch_size * steps}"
            )
        self._tokens = tokens
        self._rng = rng
        self._steps = steps
        length = tokens.size // batch_size
        self._per_epoch = length // steps
        self._starts = np.arange(batch_size, dtype=np.int64) * length
        self._window = np.arange(steps + 1, dtype=np.int64)[:, None]
        self._epochs_done = 0
        self._index = 0
        self._offset = 0

    @property
    def epoch(self) -> float:
        """How many times the data have been gone through, with the fraction under way."""
        return self._epochs_done + self._index / self._per_epoch

    def next(self) -> StreamBatch:
        """Returns the next batch; the first of an epoch is `fresh`."""
        if self._index == 0:
            self._offset = int(self._rng.integers(self._tokens.size))
        position = self._offset + self._index * self._steps
        places = (self._starts + position + self._window) % self._tokens.size
        pieces = self._tokens[places].astype(np.int64, copy=False)
        batch = StreamBatch(pieces[:-1], pieces[1:], fresh=self._index == 0)
        self._index += 1
        if self._index == self._per_epoch:
            self._index = 0
            self._epochs_done += 1
        return batch

    def _layout(self) -> dict[str, int]:
        return {
            "crc32": self._crc32,
            "batch_size": len(self._starts),
            "steps": self._steps,
        }

    @cached_property
    def _crc32(self) -> int:
        return zlib.crc32(np.ascontiguousarray(self._tokens).view(np.uint8).data)

    def state(self) -> dict[str, Any]:
        """Returns the position, and what identifies the data it is a position in."""
        return {
            "epochs_done": self._epochs_done,
            "index": self._index,
            "offset": self._offset,
            **self._layout(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes to a position that `state` returned.

        Raises:
            ValueError: the tokens, the batch size or the steps are not those of the position, or
                it is none.
        """
        layout = self._layout()
        if {name: state[name] for name in layout} != layout:
            raise ValueError(
                "[StreamBatches] the data are not those that the run was started with, "
                "so it cannot go on where it stopped"
            )
        epochs_done, index, offset = (
            from_json(int, state[name], name) for name in ("epochs_done", "index", "offset")
        )
        places = 0 <= index < self._per_epoch and 0 <= offset < self._tokens.size
        if epochs_done < 0 or not places:
            raise ValueError(
                f"[StreamBatches] there is no position {index} of {self._per_epoch} in epoch "
                f"{epochs_done} from token {offset} of {self._tokens.size}"
            )
        self._epochs_done, self._index, self._offset = epochs_done, index, offset
