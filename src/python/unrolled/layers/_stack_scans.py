"""How a stack runs its scans, and how gradients go back through them."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Generic, cast

import numpy as np

from .. import functional
from ._checks import check_array
from ._inputs import time_major_input
from ._mask import Mask, draw_mask, drawn_factors
from ._options import ScanOptions
from ._rows import MaskedRows, Rows
from ._scan_parameters import ScanParameters
from ._sizes import LayerSizes, StackSizes
from ._state import StateT, as_state
from ._tape import StackTape, Tape
from ._types import Array
from ._zoneout import Zoneout


class StackScans(ScanOptions, StackSizes, Generic[StateT]):
    """A stack of recurrent layers as its scans see it: `Recurrent` without the calls of users."""

    batch_first: bool
    learn_initial_state: bool
    dropout: float
    variational: bool
    weight_dropout: float
    recurrent_dropout: float
    zoneout: Zoneout
    cell_clip: float | None
    _scans: list[ScanParameters]

    def _run(
        self,
        x: Array | functional.Lookup,
        state: StateT | None,
        lengths: Array | None,
        resets: Array | None,
        mask: Array | None,
        rng: np.random.Generator | None,
        *,
        training: bool,
        every: list[tuple[Array, ...]] | None = None,
    ) -> tuple[Array, StateT, StackTape]:
        """Runs all scans; the tape is for `_pull`, empty unless training.

        To `every` go the states of each scan after each step, (T, B, H) each.
        """
        x = time_major_input(
            self._where, x, self.input_size, self.dtype, batch_first=self.batch_first
        )
        steps, batch, _ = x.shape
        begins, initial = self._begin(state, batch)
        rows = self._rows((steps, batch), lengths, resets, mask)
        final: list[tuple[Array, ...]] = []
        tapes: list[Tape] = []

        for layer, sizes in enumerate(self._layers):
            p = self.dropout if training and layer > 0 else 0.0
            input_mask = draw_mask(self._where, "dropout", p, rng, variational=self.variational)
            # A lookup is the input of the first layer alone, which neither drops nor adds it.
            read = x if isinstance(x, functional.Lookup) else input_mask(x)
            packed = rows.packed(read)
            y = self._empty(steps, batch, sizes.outputs, outer=layer == self.num_layers - 1)
            saved: list[functional.Saved] = []
            weight_masks: list[Mask] = []
            for direction in range(self.num_directions):
                scan = layer * self.num_directions + direction
                columns = sizes.states(len(self._state_names))
                part = self._part(y, sizes, direction)
                options: dict[str, Any] = {
                    "recompute": self.recompute,
                    "updates": self.zoneout.updates(
                        [(rows.steps, batch, size) for size in columns],
                        self.dtype,
                        rng,
                        training=training,
                    ),
                    "cell_clip": self.cell_clip,
                }
                weight_mask: Mask | None = None
                if training:
                    options["recurrent_factors"] = drawn_factors(
                        draw_mask(self._where, "recurrent_dropout", self.recurrent_dropout, rng),
                        (batch, sizes.h),
                        self.dtype,
                    )
                    weight_mask = draw_mask(self._where, "weight_dropout", self.weight_dropout, rng)
                    weight_masks.append(weight_mask)
                    self._expect(self._scans[scan].names(begins=begins))
                if every is not None:
                    others = [self._new((steps, batch, size)) for size in columns[1:]]
                    options["steps_out"] = others
                run = partial(
                    self._scans[scan].run, self._parameters, self.precision, weight_mask, packed
                )
                last, one = rows.run(
                    run, initial[scan], reverse=direction == 1, out=part, **options
                )
                if every is not None:
                    every.append((part.copy(), *others))
                if self.merge == "sum" and direction:
                    y += part
                if one is not None:
                    saved.append(one)
                final.append(last)
            looked_up = isinstance(x, functional.Lookup)
            if sizes.residual:
                assert not isinstance(x, functional.Lookup)
                y += x
            tapes.append(Tape(looked_up, input_mask, tuple(saved), tuple(weight_masks)))
            x = y
        tape = StackTape(tapes, rows, (steps, batch), begins)
        return self._swapped(y), cast(StateT, as_state(self._form.join(final))), tape

    def _pull(
        self, tape: StackTape, dy: Array | None, dstate: StateT | None, *, needs_dx: bool
    ) -> tuple[Any, StateT]:
        """The transpose of `_run`: layers in reverse order; both directions add to one dx."""
        steps, batch = tape.shape
        dfinal = self._split(dstate, batch, "d")
        dinitial: list[tuple[Array, ...]] = [()] * len(dfinal)
        for layer in range(self.num_layers - 1, -1, -1):
            own, sizes = tape.layers[layer], self._layers[layer]
            wanted = needs_dx or layer > 0
            dx: Array | None = None
            room: Array | None = None
            if wanted and not own.looked_up:
                dx = self._empty(steps, batch, sizes.inputs, outer=layer == 0)
                room = tape.rows.room(dx)
            for direction, saved in enumerate(own.saved):
                scan = layer * self.num_directions + direction
                pull = partial(
                    self._scans[scan].pull,
                    self._grads,
                    saved,
                    own.weight_masks[direction],
                    dx=room,
                    accumulate_dx=direction > 0,
                    needs_dx=wanted,
                    clip_gradient=self.clip_gradient,
                )
                part = dy if dy is None or self.merge == "sum" else self._half(dy, sizes, direction)
                room, dinitial[scan] = tape.rows.pull(
                    pull, part, dfinal[scan], reverse=direction == 1
                )
                if tape.begins:
                    self._scans[scan].pull_begin(self._grads, dinitial[scan])
                self._added(self._scans[scan].names(begins=tape.begins))
            if dx is None or room is None:
                dy = room
                continue
            dx = own.input_mask(tape.rows.spread(room, dx))
            if sizes.residual and dy is not None:
                dx += dy
            dy = dx
        if dy is not None and not tape.layers[0].looked_up:
            dy = self._swapped(dy)
        return dy, cast(StateT, as_state(self._form.join(dinitial)))

    def _begin(self, state: object, batch: int) -> tuple[bool, Sequence[tuple[Array, ...] | None]]:
        """Whether learned initial states take part, and with which states each scan begins."""
        begins = state is None and self.learn_initial_state
        if begins:
            return begins, [scan.begin(self._parameters, batch) for scan in self._scans]
        return begins, self._split(state, batch)

    def _rows(
        self,
        shape: tuple[int, int],
        lengths: Array | None,
        resets: Array | None,
        mask: Array | None,
    ) -> Rows:
        """The rows of a call; resets and the mask are as a caller has them, shape is (T, B)."""
        if resets is not None and self.learn_initial_state:
            raise ValueError(
                f"[{self._where}] expected no resets with learn_initial_state=True: "
                "they begin a sequence with zeros"
            )
        if resets is not None and self.batch_first:
            resets = np.asarray(resets).swapaxes(0, 1)
        if mask is None:
            return Rows(shape[0], lengths, resets)
        letters = "(B, T)" if self.batch_first else "(T, B)"
        wanted = shape[::-1] if self.batch_first else shape
        check_array(self._where, f"mask of shape {letters}", mask, wanted, np.dtype(bool))
        return MaskedRows(self._where, self._swapped(mask), lengths, resets)

    def _part(self, y: Array, sizes: LayerSizes, direction: int) -> Array:
        """Where a direction writes its outputs: half of y, or, where y is a sum, an array."""
        if self.merge == "concat":
            return self._half(y, sizes, direction)
        return self._new(y.shape) if direction else y

    def _half(self, y: Array, sizes: LayerSizes, direction: int) -> Array:
        """The part of a (T, B, outputs) array that belongs to one direction."""
        return y[:, :, direction * sizes.h : (direction + 1) * sizes.h]

    def _swapped(self, sequence: Array) -> Array:
        """Swaps (B, T, .) and (T, B, .) where the layer is batch_first; a view either way."""
        return sequence.swapaxes(0, 1) if self.batch_first else sequence

    def _empty(self, steps: int, batch: int, size: int, *, outer: bool) -> Array:
        """A (T, B, size) array, laid out as the caller's sequences where he will see it."""
        if outer and self.batch_first:
            return self._swapped(self._new((batch, steps, size)))
        return self._new((steps, batch, size))
