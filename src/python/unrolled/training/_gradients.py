"""The gradients of one update, and the recurrent state that goes from batch to batch."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Generic

import numpy as np

from unrolled import functional
from unrolled.layers import Layer

from ._group import Group
from ._signals import StopRequest
from ._types import Array, Batches, BatchT, Carry, LossFunction

_CARRY = "carry."


class Gradients(Generic[BatchT]):
    """Sums gradients over all targets of an update: of `accumulate` batches, on all ranks.

    Args: see `Trainer`.

    Attributes:
        carry: what the last batch left to the next, this rank's rows; None: the next begins afresh.
    """

    def __init__(
        self,
        model: Layer,
        batches: Batches[BatchT],
        loss: LossFunction[BatchT],
        rng: np.random.Generator,
        *,
        accumulate: int,
        precision: functional.Precision,
        group: Group,
    ) -> None:
        self.carry: Carry = None
        self._model = model
        self._batches = batches
        self._loss = loss
        self._rng = rng
        self._accumulate = accumulate
        self._precision = precision
        self._group = group

    def sum(self, stop: StopRequest) -> tuple[float, int, bool]:
        """Puts the sums into `model.grads`; the next batches are taken.

        Args:
            stop: what this rank was asked. It goes along with the losses, so that all ranks stop
                after the same update.

        Returns:
            The mean loss of the targets, their number, and whether any rank was asked to stop.
        """
        total, targets = 0.0, 0
        self._model.zero_grads()
        full = self._precision == "full"
        with nullcontext() if full else self._model.in_precision(self._precision):
            for part in range(self._accumulate):
                if part == self._accumulate - 1:
                    self._group.begin()
                batch, rng = self._batches.next(), self._group.rng(self._rng)
                (loss, count, self.carry), pullback = self._loss(batch, self.carry, rng)
                pullback(float(count))
                total += loss * count
                targets += count
        self._group.finish()
        total, all_targets, stops = self._group.sum([total, targets, stop.requested])
        return total / max(all_targets, 1.0), int(all_targets), stops > 0.0

    def check_ranks(self) -> None:
        """Makes sure that all ranks are at the same place; all ranks call it.

        Raises:
            RuntimeError: data or parameters differ.
        """
        place = json.dumps(self._batches.state()).encode()
        self._group.check_same("data", np.frombuffer(place, np.uint8))
        self._group.check_same("parameters", self._model.flat.values)

    def carry_arrays(self) -> dict[str, Array]:
        """Returns the carry of all ranks as arrays by name; all ranks call it."""
        parts = self.carry if isinstance(self.carry, tuple) else (self.carry,)
        return {
            f"{_CARRY}{index}": self._group.gather(part)
            for index, part in enumerate(parts)
            if part is not None
        }

    def load_carry(self, arrays: Mapping[str, Array], is_tuple: bool) -> None:
        """Takes this rank's rows of what `carry_arrays` returned, on any number of ranks.

        Raises:
            ValueError: the rows cannot be divided evenly among the ranks.
        """
        count = sum(name.startswith(_CARRY) for name in arrays)
        whole = [arrays[f"{_CARRY}{index}"] for index in range(count)]
        parts = tuple(self._group.share(array).copy() for array in whole)
        self.carry = parts if is_tuple else (parts[0] if parts else None)
