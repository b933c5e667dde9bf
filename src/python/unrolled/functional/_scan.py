"""Recurrent layers: packing of parameters, the scan forward, and BPTT."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .. import _core
from .._core import Weights
from ._cells import cell_info, load_kernels
from ._embedding import Lookup, embedding_backward
from ._gates import NO_CHOICE, Gates
from ._memory import Recompute, recompute_code
from ._precision import Precision
from ._scan_arguments import GradientClip, clip_limits, gradients_of, lengths_of, resets_of
from ._types import Array, States, empty, indices_of


@dataclass(frozen=True)
class Saved:
    """What `scan_vjp` keeps for its pullbacks; may be used for any number of them.

    It refers to the caller's x (no copy is made): x must not change before the last pullback.
    """

    _core: _core.Saved
    weights: Weights
    shape: tuple[int, int]
    """(T, B) of the sequence."""
    lookup: Lookup | None = None

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes, without x."""
        return self._core.nbytes


def pack(
    cell: str,
    weight_ih: Array,
    weight_hh: Array | None,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    weight_unit: Array | None = None,
    weight_hr: Array | None = None,
    *,
    precision: Precision = "full",
    backward: bool = True,
    gates: Gates = NO_CHOICE,
) -> Weights:
    """Copies the parameters of one direction of one layer into the layout of the kernels.

    Shapes: weight_ih (G*H, I), weight_hh (G*H, H), biases (G*H,) or None; torch's names and gate
    order. weight_unit is (P*H,) where the cell has `units`; where it is not `recurrent`, weight_hh
    and bias_hh are None; where it projects its output, weight_hr is (R, H), weight_hh (G*H, R), and
    y and the state h have R columns. The result is a snapshot: later changes of the arrays do not
    reach it.

    Args:
        cell: a name out of `cells()`.
        precision: in which numbers the products multiply; see `Precision`.
        gates: what the gates of a cell with `functions` apply.
        backward: also pack the transposed copies that `scan_backward` needs (twice the memory).
    """

    def contiguous(array: Array | None) -> Array | None:
        return None if array is None else np.ascontiguousarray(array)

    load_kernels(cell, np.asarray(weight_ih).dtype, precision)
    return _core.pack(
        cell,
        np.ascontiguousarray(weight_ih),
        contiguous(weight_hh),
        contiguous(bias_ih),
        contiguous(bias_hh),
        contiguous(weight_unit),
        contiguous(weight_hr),
        precision,
        backward,
        *gates.arguments(),
    )


def _states(states: Sequence[Array] | None) -> list[Array]:
    if states is None:
        return []
    if isinstance(states, np.ndarray):
        raise TypeError("expected states as a tuple of arrays (B, H), got one array")
    return [np.ascontiguousarray(s) for s in states]


def _run_scan(
    weights: Weights,
    x: Array | Lookup,
    states: Sequence[Array] | None,
    lengths: ArrayLike | None,
    resets: ArrayLike | None,
    reverse: bool,
    out: Array | None,
    save: bool,
    steps_out: Sequence[Array] = (),
    updates: Sequence[Array] = (),
    cell_clip: float | None = None,
    recurrent_factors: Array | None = None,
    recompute: Recompute = "none",
) -> tuple[Array, States, Saved | None]:
    lookup, tokens = None, None
    if isinstance(x, Lookup):
        lookup = _lookup(weights.cell, x, lengths)
        used = _uses_tables(weights, lookup)
        tokens, x = (lookup.tokens, lookup.table) if used else (None, lookup.gather())
    x = np.asarray(x)
    if x.ndim != (3 if tokens is None else 2):
        raise ValueError(f"[{weights.cell}] expected x of shape (T, B, I), got {x.shape}")
    steps, batch = x.shape[:2] if tokens is None else tokens.shape
    sizes, dtype = weights.state_sizes, weights.dtype
    y = empty((steps, batch, sizes[0]), dtype) if out is None else out
    final = tuple(np.empty((batch, size), dtype) for size in sizes)
    saved = _core.forward(
        weights,
        x,
        tokens,
        y,
        _states(states),
        final,
        steps_out,
        updates,
        lengths_of(weights.cell, lengths),
        resets_of(weights.cell, resets),
        reverse,
        math.inf if cell_clip is None else cell_clip,
        None if recurrent_factors is None else np.ascontiguousarray(recurrent_factors),
        save,
        recompute_code(weights.cell, recompute),
    )
    return y, final, None if saved is None else Saved(saved, weights, (steps, batch), lookup)


def _uses_tables(weights: Weights, lookup: Lookup) -> bool:
    """Whether the kernels multiply the table, rather than rows gathered from it."""
    return lookup.pays and not cell_info(weights.cell).normalises


def _lookup(where: str, lookup: Lookup, lengths: ArrayLike | None) -> Lookup:
    """The lookup with int64 tokens, where those after the end of a row (they may be -1) are 0."""
    tokens, table = indices_of(where, "tokens", lookup.tokens), np.asarray(lookup.table)
    if tokens.ndim != 2 or table.ndim != 2:
        raise ValueError(
            f"[{where}] expected tokens of shape (T, B) and a table of shape (V, I), "
            f"got {tokens.shape} and {table.shape}"
        )
    ends = lengths_of(where, lengths)
    if ends is not None and ends.shape == tokens.shape[1:]:
        tokens = np.where(np.arange(len(tokens))[:, None] < ends, tokens, 0)
    return Lookup(tokens, table)


def scan(
    weights: Weights,
    x: Array | Lookup,
    states: Sequence[Array] | None = None,
    *,
    lengths: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    reverse: bool = False,
    out: Array | None = None,
    steps_out: Sequence[Array] = (),
    updates: Sequence[Array] = (),
    cell_clip: float | None = None,
    recurrent_factors: Array | None = None,
) -> tuple[Array, States]:
    """Runs a cell over sequences.

    Shapes: x (T, B, I) with unit stride along I; states one (B, H) for each state of the cell;
    lengths (B,) integers 0 .. T; resets (T, B) bool; out and the result (T, B, H).

    Args:
        states: initial states, zeros if None.
        lengths: row b is live at t < lengths[b]. In any order; zeros allowed. The output is zero
            elsewhere, and the cost is that of the live tokens.
        resets: where true, the states that enter step t are set to zero.
        reverse: process each row from its last live step to its first.
        out: array to write the output into, for instance one half of a (T, B, 2*H) array.
        steps_out: arrays (T, B, H) for the other states after each step, as c of an LSTM: one for
            each state but the first, whose are the output.
        updates: one array (T, B, H) for each state: the share u of its new value that it takes,
            s <- s + u * (new s - s). With 0 and 1 this is zoneout (Krueger et al. 2017). They may
            have any strides over T and B, zero included. There is no gradient for them, and
            `scan_vjp` does not copy them.
        cell_clip: limit > 0 of the state c of a cell that `clips` (see `CellInfo`): the new c is
            min(max(c, -cell_clip), cell_clip) for all that reads it, and no gradient passes where
            that changed it. TensorFlow's cell_clip (Sak, Senior and Beaufays 2014).
        recurrent_factors: (B, H), what h is multiplied by on its way into the recurrent product (of
            a cell that has one), the same in every step; state and output stay as they are. Draws
            of dropout make it variational dropout of h (Gal and Ghahramani 2016). There is no
            gradient for it, and `scan_vjp` does not copy it.

    Returns:
        The output y and the final states: those after the last step that was processed.
    """
    y, final, _ = _run_scan(
        weights,
        x,
        states,
        lengths,
        resets,
        reverse,
        out,
        False,
        steps_out,
        updates,
        cell_clip,
        recurrent_factors,
    )
    return y, final


def scan_vjp(
    weights: Weights,
    x: Array | Lookup,
    states: Sequence[Array] | None = None,
    *,
    lengths: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    reverse: bool = False,
    out: Array | None = None,
    steps_out: Sequence[Array] = (),
    updates: Sequence[Array] = (),
    cell_clip: float | None = None,
    recurrent_factors: Array | None = None,
    recompute: Recompute = "none",
) -> tuple[Array, States, Saved]:
    """`scan` that also returns what `scan_backward` needs. Weights need `backward=True`.

    `recompute` trades time for memory and changes no bit; see `Recompute`.
    """
    y, final, saved = _run_scan(
        weights,
        x,
        states,
        lengths,
        resets,
        reverse,
        out,
        True,
        steps_out,
        updates,
        cell_clip,
        recurrent_factors,
        recompute,
    )
    assert saved is not None
    return y, final, saved


def scan_backward(
    saved: Saved,
    dy: Array | None,
    dstates: Sequence[Array] | None = None,
    *,
    grads: Sequence[Array | None],
    dsteps: Sequence[Array] = (),
    dx: Array | None = None,
    accumulate_dx: bool = False,
    needs_dx: bool = True,
    clip_gradient: GradientClip = None,
) -> tuple[Array | None, States]:
    """Back-propagation through time.

    Shapes: dy (T, B, H); dstates one (B, H) a state; dx (T, B, I).

    Args:
        dy: gradient of the output, or None for zeros. Ignored where no token is.
        dstates: gradients of the final states, or None for zeros.
        grads: those of `PARAMETERS`, added to; biases may be None, and what the cell does not have.
            The last two may be left away.
        dsteps: gradients of the `steps_out` of a `scan_vjp`, or none for zeros.
        dx: array for the gradient of x (of the table of a Lookup); a new one if None.
        accumulate_dx: add to `dx` instead of overwriting it.
        needs_dx: False skips dx (the first layer of a network) and returns None for it.
        clip_gradient: of h, on its way from a step to the one before; see `GradientClip`.

    Returns:
        dx (zero where no token is) and the gradients of the initial states.
    """
    weights, lookup = saved.weights, saved.lookup
    steps, batch = saved.shape
    dinitial = tuple(np.empty((batch, size), weights.dtype) for size in weights.state_sizes)
    if not needs_dx:
        dx = None
    elif dx is None:
        if accumulate_dx:
            raise ValueError(f"[{weights.cell}] expected dx with accumulate_dx=True, got None")
        shape = (steps, batch, weights.input_size) if lookup is None else lookup.table.shape
        dx = empty(shape, weights.dtype)
    gathered = None
    if lookup is not None and dx is not None and not _uses_tables(weights, lookup):
        gathered = empty((steps, batch, weights.input_size), weights.dtype)
    dweight_ih, others = gradients_of(weights.cell, grads)
    dweight_hh, dbias_ih, dbias_hh, dweight_unit, dweight_hr = others
    _core.backward(
        saved._core,
        dy,
        dsteps,
        _states(dstates),
        dinitial,
        dx if gathered is None else gathered,
        accumulate_dx and gathered is None,
        dweight_ih,
        dweight_hh,
        dbias_ih,
        dbias_hh,
        dweight_unit,
        dweight_hr,
        *clip_limits(weights.cell, clip_gradient),
    )
    if lookup is not None and dx is not None and gathered is not None:
        if not accumulate_dx:
            dx[...] = 0
        embedding_backward(lookup.tokens, gathered, dweight=dx)
    return dx, dinitial
