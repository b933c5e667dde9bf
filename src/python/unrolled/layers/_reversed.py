"""Recurrent layers that read backwards."""

from typing import Any, Generic

import numpy as np

from .. import functional
from ._base import Layer
from ._place import contiguous, is_array, move, place_of
from ._recurrent import Recurrent
from ._resets import reverse_resets
from ._state import StateT
from ._tape import RecurrentPullback
from ._types import Array


class Reversed(Layer, Generic[StateT]):
    """A recurrent layer that reads each sequence from its last step to its first.

        y = flip(layer(flip(x)))

    where a row is turned around within its length: what `bidirectional=True` has beside the other
    direction, here alone. The final state is the one after the first step::

        backwards = Reversed(LSTM(16, 32, rng=rng))
        y, (h, c) = backwards(x, lengths=lengths)

    Shapes and arguments of calls: see `Recurrent`. There is no stream: the output needs the end of
    the sequence first.

    Args:
        layer: of one direction; its parameters are those of this layer, named "layer.NAME".

    Raises:
        ValueError: the layer is bidirectional.
    """

    _runs_on_cuda = True

    def __init__(self, layer: Recurrent[StateT]) -> None:
        if layer.num_directions == 2:
            raise ValueError("[Reversed] expected a layer of one direction, got two")
        self.layer = layer
        super().__init__(children={"layer": layer})

    def __repr__(self) -> str:
        return f"Reversed({self.layer!r})"

    def __call__(
        self,
        x: Array | functional.Lookup,
        state: StateT | None = None,
        lengths: Array | None = None,
        resets: Array | None = None,
        mask: Array | None = None,
    ) -> tuple[Array, StateT]:
        """Returns y and the final state, for inference; see `Recurrent`."""
        y, final = self.layer(
            self._flip(x, lengths),
            state,
            lengths,
            self._flip_resets(resets, lengths),
            None if mask is None else self._flip_array(mask, lengths),
        )
        return self._flip_array(y, lengths), final

    def vjp(
        self,
        x: Array | functional.Lookup,
        state: StateT | None = None,
        *,
        lengths: Array | None = None,
        resets: Array | None = None,
        mask: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[tuple[Array, StateT], RecurrentPullback[StateT]]:
        """Returns (y, final state) and their pullback; see `Recurrent.vjp`."""
        (y, final), layer_pullback = self.layer.vjp(
            self._flip(x, lengths),
            state,
            lengths=lengths,
            resets=self._flip_resets(resets, lengths),
            mask=None if mask is None else self._flip_array(mask, lengths),
            rng=rng,
        )

        def pullback(
            dy: Array | None, dstate: StateT | None = None, *, needs_dx: bool = True
        ) -> tuple[Any, StateT]:
            dy = None if dy is None else self._flip_array(dy, lengths)
            dx, dinitial = layer_pullback(dy, dstate, needs_dx=needs_dx)
            if dx is not None and not isinstance(x, functional.Lookup):
                dx = self._flip_array(dx, lengths)
            return dx, dinitial

        return (self._flip_array(y, lengths), final), pullback

    def _flip(
        self, x: Array | functional.Lookup, lengths: Array | None
    ) -> Array | functional.Lookup:
        if isinstance(x, functional.Lookup):
            return functional.Lookup(self._flip_array(x.tokens, lengths), x.table)
        return self._flip_array(x, lengths)

    def _flip_resets(self, resets: Array | None, lengths: Array | None) -> Array | None:
        if resets is None:
            return None
        shifted = reverse_resets(self._steps_first(np.asarray(resets)), lengths)
        assert shifted is not None
        return self._flip_array(self._steps_first(shifted), lengths)

    def _flip_array(self, sequence: Array, lengths: Array | None) -> Array:
        """A sequence (T, B, ...), or (B, T, ...), with each row turned around within its length.

        What is no sequence, or no length of one, is left to the layer, whose error says so.
        """
        if not is_array(sequence) or sequence.ndim < 2:
            return sequence
        turned = self._steps_first(sequence)
        if lengths is None:
            return contiguous(self._steps_first(turned[::-1]))
        (steps, batch), ends = turned.shape[:2], np.asarray(lengths)
        if ends.shape != (batch,) or ends.dtype.kind not in "iu":
            return sequence
        if batch and not 0 <= ends.min() <= ends.max() <= steps:
            return sequence
        step = np.arange(steps)[:, None]
        places = np.where(step < ends, ends - 1 - step, step)
        chosen = (move(each, place_of(sequence)) for each in (places, np.arange(batch)))
        return contiguous(self._steps_first(turned[tuple(chosen)]))

    def _steps_first(self, sequence: Array) -> Array:
        """(B, T, ...) as (T, B, ...), and back, where the layer is batch_first."""
        return sequence.swapaxes(0, 1) if self.layer.batch_first else sequence
