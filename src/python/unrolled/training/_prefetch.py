"""Batches that a thread makes ahead."""

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic

from ._types import Batches, BatchT

_Made = tuple[BatchT, dict[str, Any], float]


class Prefetch(Generic[BatchT]):
    """Makes the next batches in a background thread, while the last one is trained on.

    The batches, their order and `state` are exactly those of `batches` without the thread: the
    state is that after the batch that was handed out last, whatever lies ready. This needs batches
    whose randomness is their own, as `StreamBatches` and `BucketBatches` have it from their seed.

    It pays where making a batch takes long, such as reading files or computing features. An error
    in the thread is raised by the `next` whose batch it belongs to; calling `next` again tries
    again. The thread ends with `close` or at the end of a `with` block, having made the batch under
    way; when the object is no longer used or the program ends, having made all that were asked
    for; after a fork the child starts its own.

    Args:
        batches: where batches come from; not to be used elsewhere before `close`.
        depth: how many batches may lie ready.

    Raises:
        ValueError: depth is less than 1.
    """

    def __init__(self, batches: Batches[BatchT], depth: int = 2) -> None:
        if depth < 1:
            raise ValueError(f"[Prefetch] expected depth >= 1, got {depth}")
        self._batches = batches
        self._depth = depth
        self._state, self._epoch = batches.state(), batches.epoch
        self._thread: ThreadPoolExecutor | None = None
        self._made: deque[Future[_Made[BatchT]]] = deque()
        self._process = os.getpid()

    @property
    def epoch(self) -> float:
        """How many times the data have been gone through, with the fraction under way."""
        return self._epoch

    def next(self) -> BatchT:
        """Returns the next batch.

        Raises:
            Exception: whatever making this batch raised.
        """
        if self._thread is None or self._process != os.getpid():
            self.close()
            self._process = os.getpid()
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="unrolled-prefetch")
        while len(self._made) < self._depth:
            self._made.append(self._thread.submit(_make, self._batches))
        # Not `result`, which would not tell an error of the batch from a Ctrl-C while waiting.
        error = self._made[0].exception()
        if error is not None:
            self.close()
            raise error
        batch, self._state, self._epoch = self._made.popleft().result()
        self._made.append(self._thread.submit(_make, self._batches))
        return batch

    def state(self) -> dict[str, Any]:
        """Returns the position after the batch handed out last, as `batches.state` would."""
        return dict(self._state)

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes to a position that `state` returned, here or without prefetching.

        Raises:
            ValueError: the position belongs to other data.
        """
        self.close()
        self._batches.load_state(state)
        self._state, self._epoch = self._batches.state(), self._batches.epoch

    def close(self) -> None:
        """Ends the thread, and puts `batches` after the batch handed out last.

        The batch being made is waited for; what lies ready is dropped. `next` starts again.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._process == os.getpid():  # a fork has no threads but the one that forked
            thread.shutdown(wait=True, cancel_futures=True)
        self._made.clear()
        self._batches.load_state(self._state)

    def __enter__(self) -> "Prefetch[BatchT]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _make(batches: Batches[BatchT]) -> _Made[BatchT]:
    # A function of its own: a method would keep the Prefetch alive for as long as the thread.
    return batches.next(), batches.state(), batches.epoch
