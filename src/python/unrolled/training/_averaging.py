"""Averages of the parameters over updates: smoother than the last ones, and mostly better.

A run trains on as without; validation, checkpoints and the final model take the average.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from unrolled.layers import Layer
from unrolled.layers._place import assign, functions_of

from ._types import Array


class Averaging(ABC):
    """A running average of all parameters.

        average <- average + weight * (values - average)      after each update

    Args:
        model: the outermost layer.

    Attributes:
        count: how many updates are in the average; 0: it has not begun.
    """

    def __init__(self, model: Layer) -> None:
        self._live = model.flat.values
        self._average = self._live.copy()
        self.count = 0

    @abstractmethod
    def weight(self, losses: Sequence[float]) -> float | None:
        """Returns the weight of the newest values, None = do not average yet.

        Args:
            losses: the validation losses so far, the oldest first.
        """

    def update(self, losses: Sequence[float]) -> None:
        """Takes the parameters after an update into the average."""
        weight = self.weight(losses)
        if weight is None:
            return
        if self.count == 0:
            self._average[...] = self._live
        else:
            functions_of(self._live).average_step(self._live, self._average, weight)
        self.count += 1

    @property
    def values(self) -> Array:
        """(P,) the average, or the model's own parameters before it has begun."""
        return self._average if self.count else self._live

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the average in the place of the model's parameters for a while."""
        kept = self._live.copy()
        self._live[...] = self.values
        try:
            yield
        finally:
            self._live[...] = kept

    def state(self) -> dict[str, Array]:
        """Returns everything a checkpoint needs, by name; the average is live, not a copy."""
        return {"count": np.array([self.count], np.int64), "average": self._average}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Goes to where `state` was called.

        Raises:
            ValueError: the state is not one of averaging, or belongs to another model.
        """
        where = type(self).__name__
        if set(state) != {"count", "average"}:
            raise ValueError(f"[{where}] the run to go on with does not average its parameters")
        if state["average"].shape != self._average.shape:
            raise ValueError(
                f"[{where}] expected an average of shape (P,) = {self._average.shape}, "
                f"got {state['average'].shape}"
            )
        assign(self._average, state["average"])
        self.count = int(state["count"][0])


class EMA(Averaging):
    """Exponential moving average: weight 1 - decay, but the plain mean of the first updates.

    The mean of the first 1 / (1 - decay) updates takes away the weight of the initial values.

    Args:
        model: the outermost layer.
        decay: 0..1; the average reaches back about 1 / (1 - decay) updates.

    Raises:
        ValueError: decay is outside 0..1.

    Source: Polyak and Juditsky 1992; as used by Kingma and Ba 2015, section 7.2.
    """

    def __init__(self, model: Layer, decay: float = 0.999) -> None:
        super().__init__(model)
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"[EMA] expected 0 <= decay < 1, got {decay}")
        self.decay = decay

    def weight(self, losses: Sequence[float]) -> float:
        """The larger of 1 - decay and 1 / (updates so far)."""
        return max(1.0 - self.decay, 1.0 / (self.count + 1))


class ASGD(Averaging):
    """The plain mean, with a trigger: it begins when validation stops getting better.

    Under `SGD` this is (non-monotonically triggered) averaged SGD; any other optimizer will do.
    Before the trigger, and where it never comes, the model is that of the last update.

    Args:
        model: the outermost layer.
        trigger: begin after a validation that is worse than the best of those more than `trigger`
            validations before it; None = begin at once.

    Raises:
        ValueError: the trigger is negative.

    Source: Polyak and Juditsky 1992; Merity, Keskar and Socher 2018, algorithm 1 (NT-ASGD).
    """

    def __init__(self, model: Layer, trigger: int | None = 5) -> None:
        super().__init__(model)
        if trigger is not None and trigger < 0:
            raise ValueError(f"[ASGD] expected trigger >= 0, got {trigger}")
        self.trigger = trigger

    def weight(self, losses: Sequence[float]) -> float | None:
        """1 / (updates since the trigger); None before it."""
        if self.count == 0 and not self._triggered(losses):
            return None
        return 1.0 / (self.count + 1)

    def _triggered(self, losses: Sequence[float]) -> bool:
        if self.trigger is None:
            return True
        earlier = losses[: -self.trigger - 1]
        return bool(earlier) and losses[-1] > min(earlier)
