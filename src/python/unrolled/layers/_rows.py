"""The rows of a batch as the scans of a recurrent layer see them: ragged, or under a mask."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import functional
from ..functional._scan_arguments import lengths_of, resets_of
from ._checks import check_array
from ._place import contiguous, functions_of, move, place_of, put_rows, take_rows, zeros
from ._resets import reverse_resets
from ._types import Array

Input: TypeAlias = Array | functional.Lookup
States: TypeAlias = tuple[Array, ...]


class Rows:
    """Rows that a scan takes as they are.

    Attributes:
        steps: T of a scan.
    """

    def __init__(self, steps: int, lengths: Array | None, resets: Array | None) -> None:
        self.steps = steps
        self._lengths, self._resets = lengths, resets

    def packed(self, x: Input) -> Input:
        """The input (T, B, I) of a layer as its scans read it."""
        return x

    def room(self, dx: Array) -> Array:
        """Where scans write the gradient of `packed`: `dx` (T, B, I) itself if it fits."""
        return dx

    def spread(self, room: Array, dx: Array) -> Array:
        """Fills `dx` with what the scans wrote into `room`."""
        return dx

    def run(
        self,
        scan: Callable[..., tuple[States, functional.Saved | None]],
        states: States | None,
        *,
        reverse: bool,
        out: Array,
        steps_out: Sequence[Array] = (),
        **options: Any,
    ) -> tuple[States, functional.Saved | None]:
        """Runs `scan(states, ...)`, which takes the options of `functional.scan`, over the rows."""
        return scan(
            states,
            lengths=self._lengths,
            resets=reverse_resets(self._resets, self._lengths) if reverse else self._resets,
            reverse=reverse,
            out=out,
            steps_out=steps_out,
            **options,
        )

    def pull(
        self,
        pull: Callable[..., tuple[Array | None, States]],
        dy: Array | None,
        dfinal: States | None,
        *,
        reverse: bool,
    ) -> tuple[Array | None, States]:
        """Runs `pull(dy, dfinal)`, the pullback of the `scan` that `run` ran."""
        return pull(dy, dfinal)


class MaskedRows(Rows):
    """Rows under a mask: scans take the live steps alone, as a ragged batch.

    So a masked step costs no product, and whatever its input holds is never read. Its state is that
    of the live step before it (after it, for a scan that runs backwards), which is copied there.
    """

    def __init__(
        self, where: str, mask: Array, lengths: Array | None, resets: Array | None
    ) -> None:
        """Arguments are time-major: mask and resets (T, B), lengths (B,)."""
        steps, batch = mask.shape
        inside = np.ones_like(mask)
        ends = lengths_of(where, lengths)
        if ends is not None:
            check_array(where, "lengths of shape (B,)", ends, (batch,), ends.dtype)
            if batch and not 0 <= ends.min() <= ends.max() <= steps:
                raise ValueError(f"[{where}] expected lengths in 0 .. T = {steps}, got {lengths}")
            inside = np.arange(steps)[:, None] < ends
        resets = resets_of(where, resets)
        if resets is not None:
            check_array(where, "resets of shape (T, B)", resets, mask.shape, resets.dtype)

        live = mask & inside
        count = live.sum(axis=0)
        super().__init__(int(count.max(initial=0)), count, None)
        # Of each live step, where it stands in (T, B) and in (T', B), as one number.
        self._live = np.flatnonzero(live)
        self._packed = (live.cumsum(axis=0) - 1)[live] * batch + self._live % batch
        forward = _Direction(live, inside, None if resets is None else resets & inside, count)
        turned = reverse_resets(resets, ends)
        backward = _Direction(
            live[::-1], inside[::-1], None if turned is None else turned[::-1], count, reverse=True
        )
        self._directions = (forward, backward)

    def packed(self, x: Input) -> Input:
        if isinstance(x, functional.Lookup):
            return functional.Lookup(self._pack(x.tokens), x.table)
        return self._pack(x)

    def _pack(self, sequence: Array) -> Array:
        shape = (self.steps, *sequence.shape[1:])
        packed = zeros(shape, sequence)
        _copy_rows(sequence, self._live, packed, self._packed)
        return packed

    def room(self, dx: Array) -> Array:
        room: Array = functions_of(dx).empty((self.steps, *dx.shape[1:]), dx.dtype)
        return room

    def spread(self, room: Array, dx: Array) -> Array:
        whole = dx if dx.flags.c_contiguous else zeros(dx.shape, dx)
        whole[...] = 0
        _copy_rows(room, self._packed, whole, self._live)
        if whole is not dx:
            dx[...] = whole
        return dx

    def run(
        self,
        scan: Callable[..., tuple[States, functional.Saved | None]],
        states: States | None,
        *,
        reverse: bool,
        out: Array,
        steps_out: Sequence[Array] = (),
        **options: Any,
    ) -> tuple[States, functional.Saved | None]:
        direction, arrays = self._directions[reverse], (out, *steps_out)
        tables = []
        for k, array in enumerate(arrays):
            shape = (self.steps + 2, *array.shape[1:])
            table = functions_of(array).empty(shape, array.dtype)
            table[0], table[1] = 0, 0 if states is None else states[k]
            tables.append(table)
        final, saved = scan(
            states,
            lengths=self._lengths,
            resets=direction.resets,
            reverse=reverse,
            out=tables[0][2:],
            steps_out=[table[2:] for table in tables[1:]],
            **options,
        )
        for array, table in zip(arrays, tables, strict=True):
            array[...] = functions_of(table).embedding(direction.places, _rows_of(table))
        direction.begin_anew(final)
        return final, saved

    def pull(
        self,
        pull: Callable[..., tuple[Array | None, States]],
        dy: Array | None,
        dfinal: States | None,
        *,
        reverse: bool,
    ) -> tuple[Array | None, States]:
        direction = self._directions[reverse]
        table: Array | None = None
        if dy is not None:
            table = zeros((self.steps + 2, *dy.shape[1:]), dy)
            functions_of(dy).embedding_backward(
                direction.places, contiguous(dy), dweight=_rows_of(table)
            )
        if dfinal is not None:
            dfinal = tuple(state.copy() for state in dfinal)
            direction.begin_anew(dfinal)
        dx, dinitial = pull(None if table is None else table[2:], dfinal)
        if table is not None:
            np.add(dinitial[0], table[1], out=dinitial[0])
        return dx, dinitial


class _Direction:
    """Where the states after each step come from, for a scan in one direction.

    They stand in a table (T' + 2, B, H): zeros, the initial state, then those after each of the T'
    packed steps.

    Attributes:
        places: (T, B) rows of that table as (T' + 2) * B rows.
        resets: (T', B) before which of the packed steps a sequence begins, or None. A masked step
            where one begins has the state zero, and so has the next live step before it.
    """

    def __init__(
        self,
        live: Array,
        inside: Array,
        resets: Array | None,
        count: Array,
        *,
        reverse: bool = False,
    ) -> None:
        """Arrays (T, B) are in the order in which the scan goes, count (B,) are the live steps."""
        steps, batch = live.shape
        met = live.cumsum(axis=0)
        packed = count - met if reverse else met - 1
        source = np.where(met > 0, packed + 2, 1)
        self.resets: Array | None = None
        self._ends_anew = np.zeros(batch, bool)
        if resets is not None and steps:
            step = np.arange(steps)[:, None]
            last_reset = np.maximum.accumulate(np.where(resets, step, -1), axis=0)
            last_live = np.maximum.accumulate(np.where(live, step, -1), axis=0)
            source[last_reset > last_live] = 0
            self._ends_anew = last_reset[-1] > last_live[-1]
            before = np.concatenate([np.full((1, batch), -1), last_live[:-1]])
            columns = np.nonzero(live)[1]
            self.resets = np.zeros((int(count.max(initial=0)), batch), bool)
            self.resets[packed[live], columns] = (last_reset > before)[live]
        source[~inside] = 0
        places = source * batch + np.arange(batch)
        self.places = np.ascontiguousarray(places[::-1] if reverse else places)

    def begin_anew(self, states: States) -> None:
        """Zeroes the states (B, H) of rows in which a sequence began after the last live step."""
        if self._ends_anew.any():
            for state in states:
                state[move(self._ends_anew, place_of(state))] = 0


def _rows_of(table: Array) -> Array:
    return table.reshape(-1, table.shape[2])


def _copy_rows(source: Array, rows: Array, target: Array, to: Array) -> None:
    """Copies rows of an array (T, B, ...), named t*B + b, to those of another, of zeros."""
    if source.ndim == 2:  # tokens
        target.reshape(-1)[to] = source.reshape(-1)[rows]
        return
    put_rows(take_rows(_rows_of(contiguous(source)), rows), to, _rows_of(target))
