"""A recurrent layer one step at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, cast

import numpy as np

from .. import cuda, functional
from ._checks import checked_size
from ._state import StateForm, StateT, as_state
from ._types import Array


class Stream(Generic[StateT]):
    """One step of a stack of recurrent layers at a time, for input that arrives as it is made.

    ::

        stream = layer.stream(batch=1)
        for x_t in source:             # (B, I) each
            y_t = stream(x_t)          # (B, H)

    Weights are packed once, at the creation of the stream, and are a snapshot: later changes to the
    layer's parameters do not reach it. The outputs are, bit for bit, those of the layer over the
    whole sequence at once (on a CUDA device up to rounding). A stream serves one caller; `fork`
    starts more over the same weights.

    Shapes: B batch, I input, H hidden, L layers; x_t (B, I), y_t (B, H), states (L, B, H) each, as
    those of the layer.
    """

    def __init__(
        self,
        weights: Sequence[functional.Weights],
        batch: int,
        updates: Sequence[float] = (),
        *,
        cell_clip: float | None = None,
        form: StateForm,
        residual: Sequence[bool],
        initial: Sequence[tuple[Array, ...] | None],
    ) -> None:
        """See `Recurrent.stream`.

        Args:
            weights: of each layer.
            batch: B.
            updates: see `functional.Stream`.
            cell_clip: limit of the state c; None: none.
            form: of the state.
            residual: of each layer, whether its input is added to its output.
            initial: of each layer, the states that a sequence begins with, (1, H) each; None =
                zeros.
        """
        self._weights = tuple(weights)
        self._batch = checked_size("stream", "batch", batch)
        first, last = self._weights[0], self._weights[-1]
        on_host = isinstance(first, functional.Weights)
        self._new_array: Callable[..., Array] = np.empty if on_host else cuda.empty
        self._new_steps: Callable[..., functional.Stream] = (
            functional.Stream if on_host else cuda.Stream  # type: ignore[assignment]
        )
        self._dtype = first.dtype
        self._output_shape = (self._batch, last.state_sizes[0])
        self._updates, self._cell_clip = tuple(updates), cell_clip
        self._form, self._residual, self._initial = form, tuple(residual), tuple(initial)
        # The kernels read and write these arrays in place, in every step.
        self._states = [
            tuple(self._new_array((self._batch, size), self._dtype) for size in each.state_sizes)
            for each in self._weights
        ]
        self._parts = self._make_parts()
        self.reset()

    def _make_parts(self) -> list["_Part"]:
        """The layers in as few calls as there can be: what is added lies between two of them."""
        ends = [
            k + 1
            for k, residual in enumerate(self._residual)
            if residual or k + 1 == len(self._residual) or self._residual[k + 1]
        ]
        parts, begin = [], 0
        for end in ends:
            steps = self._new_steps(
                self._weights[begin:end], self._states[begin:end], self._updates, self._cell_clip
            )
            shape = (self._batch, self._weights[end - 1].state_sizes[0])
            room = self._new_array(shape, self._dtype)
            parts.append(_Part(steps, self._residual[begin], room))
            begin = end
        return parts

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
            out = self._new_array(self._output_shape, self._dtype)
        for part in self._parts:
            y = out if part is self._parts[-1] else part.room
            part.steps.step(x_t, y)
            if part.residual:
                y += x_t
            x_t = y
        return out

    @property
    def state(self) -> StateT:
        """A copy of the state, in the layer's form; assign one to continue from there."""
        return cast(StateT, as_state(self._form.stack(self._states)))

    @state.setter
    def state(self, state: StateT | None) -> None:
        parts: Sequence[tuple[Array, ...] | None] = self._initial
        if state is not None:
            parts = self._form.split("stream", state, self._batch, self._dtype)
        for own, given in zip(self._states, parts, strict=True):
            for k, array in enumerate(own):
                array[...] = 0 if given is None else given[k]

    @property
    def batch(self) -> int:
        """B, how many sequences advance together."""
        return self._batch

    def reset(self) -> None:
        """Sets the state to zero, or to what was learned: all sequences begin anew."""
        self.state = None

    def fork(self, batch: int | None = None) -> "Stream[StateT]":
        """Starts another stream, which begins anew; both share the packed weights.

        Args:
            batch: B of the new stream, by default that of this one.
        """
        return Stream(
            self._weights,
            self._batch if batch is None else batch,
            self._updates,
            cell_clip=self._cell_clip,
            form=self._form,
            residual=self._residual,
            initial=self._initial,
        )


@dataclass(frozen=True)
class _Part:
    """Layers that take a step in one call: those between two residual connections."""

    steps: functional.Stream
    residual: bool
    """Whether their input is added to their output; it is one layer then."""
    room: Array
    """(B, H) for their output, where others read it."""
