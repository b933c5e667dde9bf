"""A recurrent layer one step at a time."""

from collections.abc import Sequence
from typing import Generic, cast

import numpy as np

from .. import functional
from ._checks import checked_size
from ._state import StateT, as_state, split_state, stack_state
from ._types import Array


class Stream(Generic[StateT]):
    """One step of a stack of recurrent layers at a time, for input that arrives as it is made.

    ::

        stream = layer.stream(batch=1)
        for x_t in source:             # (B, I) each
            y_t = stream(x_t)          # (B, H)

    Weights are packed once, at the creation of the stream, and are a snapshot: later changes to the
    layer's parameters do not reach it. The outputs are, bit for bit, those of the layer over the
    whole sequence at once. A stream serves one caller; `fork` starts more over the same weights.

    Shapes: B batch, I input, H hidden, L layers; x_t (B, I), y_t (B, H), states (L, B, H) each.
    """

    def __init__(
        self,
        weights: Sequence[functional.Weights],
        batch: int,
        updates: Sequence[float] = (),
        cell_clip: float | None = None,
    ) -> None:
        self._weights = tuple(weights)
        self._batch = checked_size("stream", "batch", batch)
        first, last = self._weights[0], self._weights[-1]
        if not isinstance(first, functional.Weights):
            raise ValueError(
                "[stream] expected a layer on the host, got one on a CUDA device; "
                'call layer.to("cpu")'
            )
        self._dtype = first.dtype
        self._output_shape = (self._batch, last.state_sizes[0])
        self._state_shapes = [(len(weights), self._batch, size) for size in last.state_sizes]
        self._state_names = functional.cell_info(first.cell).states
        # The kernels read and write these arrays in place, in every step.
        self._states = [
            tuple(np.zeros(shape[1:], self._dtype) for shape in self._state_shapes)
            for _ in self._weights
        ]
        self._options = (tuple(updates), cell_clip)
        self._steps = functional.Stream(self._weights, self._states, *self._options)

    def __call__(self, x_t: Array, *, out: Array | None = None) -> Array:
        """Advances all B sequences by one step.

        Args:
            x_t: (B, I), the input of this step.
            out: (B, H), where to write the output, so that the step allocates nothing; by default
                a new array. Not x_t itself.

        Returns:
            y_t (B, H): the output of the last layer.

        Raises:
            ValueError: a shape or a layout does not fit; TypeError: a dtype does not fit.
        """
        if out is None:
            out = np.empty(self._output_shape, self._dtype)
        self._steps.step(x_t, out)
        return out

    @property
    def state(self) -> StateT:
        """A copy of the state, in the layer's form; assign one to continue from there."""
        return cast(StateT, as_state(stack_state(self._states)))

    @state.setter
    def state(self, state: StateT | None) -> None:
        parts = split_state("stream", state, self._state_names, self._state_shapes, self._dtype)
        for own, given in zip(self._states, parts, strict=True):
            for k, array in enumerate(own):
                array[...] = 0 if given is None else given[k]

    @property
    def batch(self) -> int:
        """B, how many sequences advance together."""
        return self._batch

    def reset(self) -> None:
        """Sets the state to zero: all sequences begin anew."""
        self.state = None

    def fork(self, batch: int | None = None) -> "Stream[StateT]":
        """Starts another stream at the zero state; both share the packed weights.

        Args:
            batch: B of the new stream, by default that of this one.
        """
        return Stream(self._weights, self._batch if batch is None else batch, *self._options)
