"""The scan over time, forward and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _cells, _further_cells
from ._operands import OPERANDS
from ._types import Array, Saved, States

CELLS = {cell.name: cell for cell in (*_cells.CELLS, *_further_cells.CELLS)}

#: In the order of the parameters; those of absent biases, and of what a cell has not, are None.
WeightGrads = tuple[Array | None, ...]
Pullback = Callable[..., tuple[Array, States, WeightGrads]]


def scan(
    cell: str,
    x: npt.ArrayLike,
    states: tuple[npt.ArrayLike, ...] | None,
    weight_ih: npt.ArrayLike,
    weight_hh: npt.ArrayLike | None,
    bias_ih: npt.ArrayLike | None = None,
    bias_hh: npt.ArrayLike | None = None,
    weight_unit: npt.ArrayLike | None = None,
    *,
    lengths: npt.ArrayLike | None = None,
    resets: npt.ArrayLike | None = None,
    reverse: bool = False,
    updates: Sequence[npt.ArrayLike] = (),
    precision: str = "full",
) -> tuple[Array, States]:
    """Run one direction of one layer over a batch of sequences.

    Shapes:
        x (T, B, I); states (B, H) each, None = zeros; weight_ih (G*H, I); weight_hh (G*H, H);
        biases (G*H,), None = absent; weight_unit (P*H,); where a cell has no recurrent product,
        weight_hh and bias_hh are None; lengths (B,) integers in 0..T; resets (T, B) of bool;
        updates (T, B, H) each.

    Args:
        cell: a name in `CELLS`.
        lengths: row b is live at the steps t < lengths[b]; None = all steps. A row keeps its state
            at dead steps, and y is zero there. Values of x at dead steps are never used.
        resets: where true, the states entering step t are set to zero first (in processing order).
        reverse: process t = T-1 .. 0, so that a row starts at its last live step.
        updates: for each state the share u of its new value that it takes: s + u * (new s - s).
        precision: a name in `OPERANDS`; in products both factors are rounded by it, rows of states
            and x at every step.

    Returns:
        y (T, B, H), where y[t] is h after step t was processed, and the final states (B, H).
    """
    result, _ = scan_vjp(
        cell,
        x,
        states,
        weight_ih,
        weight_hh,
        bias_ih,
        bias_hh,
        weight_unit,
        lengths=lengths,
        resets=resets,
        reverse=reverse,
        updates=updates,
        precision=precision,
    )
    return result


def scan_vjp(
    cell: str,
    x: npt.ArrayLike,
    states: tuple[npt.ArrayLike, ...] | None,
    weight_ih: npt.ArrayLike,
    weight_hh: npt.ArrayLike | None,
    bias_ih: npt.ArrayLike | None = None,
    bias_hh: npt.ArrayLike | None = None,
    weight_unit: npt.ArrayLike | None = None,
    *,
    lengths: npt.ArrayLike | None = None,
    resets: npt.ArrayLike | None = None,
    reverse: bool = False,
    updates: Sequence[npt.ArrayLike] = (),
    precision: str = "full",
) -> tuple[tuple[Array, States], Pullback]:
    """`scan`, and the function that carries gradients back through it.

    Returns:
        (y, final states), pullback, where `pullback(dy, dstates=None)` takes the gradients of y
        (None = zeros) and of the final states and returns (dx, dstates of the initial states,
        (dweight_ih, dweight_hh, dbias_ih, dbias_hh, dweight_unit)); None for what is absent.
        dy at dead steps is ignored and dx is zero there. With precision "bf16" the gradients of
        gates are rounded before they are multiplied or summed, and a rounding counts as the
        identity; with "int8" there are no gradients.
    """
    spec, operand = CELLS[cell], OPERANDS[precision]
    x = operand(np.asarray(x, np.float64))
    steps, batch, _ = x.shape
    w_ih = operand(np.asarray(weight_ih, np.float64))
    shape = (batch, w_ih.shape[0] // len(spec.gates))
    # Without a recurrent product it is one with zeros.
    zeros = np.zeros((w_ih.shape[0], shape[1]))
    w_hh = operand(zeros if weight_hh is None else np.asarray(weight_hh, np.float64))
    b_ih = 0.0 if bias_ih is None else np.asarray(bias_ih, np.float64)
    b_hh = 0.0 if bias_hh is None else np.asarray(bias_hh, np.float64)
    units = np.zeros(0) if weight_unit is None else np.asarray(weight_unit, np.float64)
    p = tuple(units.reshape(len(spec.units), shape[1]))
    live_until = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    reset = np.zeros((steps, batch), bool) if resets is None else np.asarray(resets, bool)
    shares = [np.asarray(u, np.float64) for u in updates]
    if not shares:
        shares = [np.ones((steps, *shape))] * len(spec.states)
    order = range(steps - 1, -1, -1) if reverse else range(steps)

    if states is None:
        current = [np.zeros(shape) for _ in spec.states]
    else:
        current = [np.array(s, np.float64) for s in states]
    y = np.zeros((steps, *shape))
    tape: list[tuple[int, Any, Array, Saved]] = []
    for t in order:
        rows = np.flatnonzero(t < live_until)
        cut = reset[t, rows, None]
        before = tuple(np.where(cut, 0.0, s[rows]) for s in current)
        a = x[t, rows] @ w_ih.T + b_ih
        h_before = operand(before[0])
        r = h_before @ w_hh.T + b_hh
        after, saved = spec.step(a, r, p, before)
        for s, old, new, u in zip(current, before, after, shares, strict=True):
            s[rows] = old + u[t, rows] * (new - old)
        y[t, rows] = current[0][rows]
        tape.append((t, rows, h_before, saved))
    final = tuple(current)

    def pullback(
        dy: npt.ArrayLike | None, dstates: tuple[npt.ArrayLike, ...] | None = None
    ) -> tuple[Array, States, WeightGrads]:
        if precision == "int8":
            raise ValueError("[reference] int8 has no gradients")
        dy = np.zeros_like(y) if dy is None else np.asarray(dy, np.float64)
        if dstates is None:
            dcurrent = [np.zeros(shape) for _ in spec.states]
        else:
            dcurrent = [np.array(d, np.float64) for d in dstates]
        dx, dw_ih, dw_hh = np.zeros_like(x), np.zeros_like(w_ih), np.zeros_like(w_hh)
        db_ih, db_hh = np.zeros(w_ih.shape[0]), np.zeros(w_hh.shape[0])
        dunits = np.zeros((len(p), shape[1]))
        for t, rows, h_before, saved in reversed(tape):
            cut = reset[t, rows, None]
            dafter = [d[rows] for d in dcurrent]
            dafter[0] = dafter[0] + dy[t, rows]
            taken = [u[t, rows] * d for u, d in zip(shares, dafter, strict=True)]
            da, dr, dp, dbefore = spec.step_backward(saved, p, tuple(taken))
            da, dr = operand(da), operand(dr)
            dbefore = (dbefore[0] + dr @ w_hh, *dbefore[1:])
            for d, new, whole, part in zip(dcurrent, dbefore, dafter, taken, strict=True):
                d[rows] = np.where(cut, 0.0, new + whole - part)
            dx[t, rows] = da @ w_ih
            dw_ih += da.T @ x[t, rows]
            dw_hh += dr.T @ h_before
            db_ih += da.sum(axis=0)
            db_hh += dr.sum(axis=0)
            for total, of_rows in zip(dunits, dp, strict=True):
                total += of_rows.sum(axis=0)
        given = (weight_ih, weight_hh, bias_ih, bias_hh, weight_unit)
        grads = (dw_ih, dw_hh, db_ih, db_hh, dunits.reshape(-1))
        kept = (None if g is None else d for g, d in zip(given, grads, strict=True))
        return dx, tuple(dcurrent), tuple(kept)

    return (y, final), pullback
