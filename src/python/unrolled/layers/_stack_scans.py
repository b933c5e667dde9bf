"""How a stack runs its scans, and how gradients go back through them."""

from typing import Any, Generic, cast

import numpy as np

from .. import functional
from ._inputs import time_major_input
from ._mask import Mask, draw_mask, drawn_factors
from ._options import ScanOptions
from ._resets import reverse_resets
from ._scan_parameters import ScanParameters
from ._sizes import StackSizes
from ._state import StateT, as_state, join_state
from ._tape import Tape
from ._types import Array
from ._zoneout import Zoneout


class StackScans(ScanOptions, StackSizes, Generic[StateT]):
    """A stack of recurrent layers as its scans see it: `Recurrent` without the calls of users."""

    input_size: int
    batch_first: bool
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
        rng: np.random.Generator | None,
        *,
        training: bool,
        every: list[tuple[Array, ...]] | None = None,
    ) -> tuple[Array, StateT, list[Tape]]:
        """Runs all scans; the tapes are for `_pull`, empty unless training.

        To `every` go the states of each scan after each step, (T, B, H) each.
        """
        x = time_major_input(
            self._where, x, self.input_size, self.dtype, batch_first=self.batch_first
        )
        steps, batch, _ = x.shape
        initial = self._split(state, batch)
        shapes = self._shapes(batch)
        final: list[tuple[Array, ...]] = []
        tapes: list[Tape] = []
        if resets is not None and self.batch_first:
            resets = np.asarray(resets).swapaxes(0, 1)

        for layer in range(self.num_layers):
            p = self.dropout if training and layer > 0 else 0.0
            input_mask = draw_mask(self._where, "dropout", p, rng, variational=self.variational)
            if not isinstance(x, functional.Lookup):  # as the input of all layers but the first
                x = input_mask(x)
            y = self._empty(steps, batch, self.output_size, outer=layer == self.num_layers - 1)
            saved: list[functional.Saved] = []
            weight_masks: list[Mask] = []
            for direction in range(self.num_directions):
                scan = layer * self.num_directions + direction
                options: dict[str, Any] = {
                    "lengths": lengths,
                    "resets": reverse_resets(resets, lengths) if direction else resets,
                    "reverse": direction == 1,
                    "out": self._half(y, direction),
                    "updates": self.zoneout.updates(
                        [(steps, *shape[1:]) for shape in shapes],
                        self.dtype,
                        rng,
                        training=training,
                    ),
                    "cell_clip": self.cell_clip,
                }
                mask: Mask | None = None
                if training:
                    options["recurrent_factors"] = drawn_factors(
                        draw_mask(self._where, "recurrent_dropout", self.recurrent_dropout, rng),
                        shapes[0][1:],
                        self.dtype,
                    )
                    mask = draw_mask(self._where, "weight_dropout", self.weight_dropout, rng)
                    weight_masks.append(mask)
                    self._expect(self._scans[scan].names)
                if every is not None:
                    others = [np.empty((steps, *shape[1:]), self.dtype) for shape in shapes[1:]]
                    options["steps_out"] = others
                    every.append((options["out"], *others))
                last, one = self._scans[scan].run(
                    self._parameters,
                    self.precision,
                    mask,
                    x,
                    initial[scan],
                    recompute=self.recompute,
                    **options,
                )
                if one is not None:
                    saved.append(one)
                final.append(last)
            looked_up = isinstance(x, functional.Lookup)
            tapes.append(Tape(x.shape[2], looked_up, input_mask, tuple(saved), tuple(weight_masks)))
            x = y
        return self._swapped(y), cast(StateT, as_state(join_state(final))), tapes

    def _pull(
        self,
        tapes: list[Tape],
        dy: Array | None,
        dstate: StateT | None,
        steps: int,
        batch: int,
        needs_dx: bool,
    ) -> tuple[Any, StateT]:
        """The transpose of `_run`: layers in reverse order; both directions add to one dx."""
        dfinal = self._split(dstate, batch, "d")
        dinitial: list[tuple[Array, ...]] = [()] * len(dfinal)
        for layer in range(self.num_layers - 1, -1, -1):
            tape = tapes[layer]
            wanted = needs_dx or layer > 0
            dx: Array | None = None
            if wanted and not tape.looked_up:
                dx = self._empty(steps, batch, tape.input_size, outer=layer == 0)
            for direction, saved in enumerate(tape.saved):
                scan = layer * self.num_directions + direction
                dx, dinitial[scan] = self._scans[scan].pull(
                    self._grads,
                    saved,
                    tape.weight_masks[direction],
                    None if dy is None else self._half(dy, direction),
                    dfinal[scan],
                    dx=dx,
                    accumulate_dx=direction > 0,
                    needs_dx=wanted,
                    clip_gradient=self.clip_gradient,
                )
                self._added(self._scans[scan].names)
            dy = None if dx is None else tape.input_mask(dx)
        if dy is not None and not tapes[0].looked_up:
            dy = self._swapped(dy)
        return dy, cast(StateT, as_state(join_state(dinitial)))

    def _swapped(self, sequence: Array) -> Array:
        """Swaps (B, T, .) and (T, B, .) where the layer is batch_first; a view either way."""
        return sequence.swapaxes(0, 1) if self.batch_first else sequence

    def _empty(self, steps: int, batch: int, size: int, *, outer: bool) -> Array:
        """A (T, B, size) array, laid out as the caller's sequences where he will see it."""
        if outer and self.batch_first:
            return self._swapped(self._new((batch, steps, size)))
        return self._new((steps, batch, size))
