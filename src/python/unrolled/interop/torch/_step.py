"""A single step of a stack of layers without autograd, for callers that go step by step."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import functional
from ..._extras import import_extra
from ...layers._types import Array

torch: Any = import_extra("torch", "torch")


class Stepper:
    """A `functional.Stream` whose state comes and goes with each step; for one caller at a time.

    Shapes: B batch, I input, H hidden, L layers.
    """

    def __init__(self, weights: Sequence[functional.Weights], batch: int) -> None:
        last = weights[-1]
        self.batch, self.threads = batch, functional.get_num_threads()
        self._states = [
            np.zeros((len(weights), batch, size), last.dtype) for size in last.state_sizes
        ]
        per_layer = [tuple(array[k] for array in self._states) for k in range(len(weights))]
        self._stream = functional.Stream(weights, per_layer)

    def __call__(self, x: Array, states: Sequence[Any], out: Array) -> list[Any]:
        """Reads x (B, I) and states (L, B, H) or None; writes out (B, H), returns new states."""
        for array, state in zip(self._states, states, strict=True):
            array[...] = 0 if state is None else state.numpy(force=True)
        self._stream.step(x, out)
        return [torch.from_numpy(array.copy()) for array in self._states]


class Steppers:
    """Those over the same weights which nobody is using now."""

    def __init__(self, weights: Sequence[functional.Weights]) -> None:
        self._weights, self._idle = weights, list[Stepper]()

    def step(self, x: Array, states: Sequence[Any], out: Array) -> list[Any]:
        """See `Stepper.__call__`; for any number of callers at once."""
        try:
            stepper = self._idle.pop()
        except IndexError:
            stepper = None
        threads = functional.get_num_threads()
        if stepper is None or stepper.batch != len(x) or stepper.threads != threads:
            stepper = Stepper(self._weights, len(x))
        final = stepper(x, states, out)
        self._idle.append(stepper)
        return final
