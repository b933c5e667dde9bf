"""The scan over time, forward and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ._cells import CELLS
from ._operands import OPERANDS
from ._phased import PHASED_CELLS, PhasedCell
from ._types import Array, Saved, States

WeightGrads = tuple[Array | None, ...]
Pullback = Callable[..., tuple[Array, States, WeightGrads]]


def scan(
    cell: str,
    x: npt.ArrayLike,
    states: tuple[npt.ArrayLike, ...] | None,
    weight_ih: npt.ArrayLike,
    weight_hh: npt.ArrayLike,
    bias_ih: npt.ArrayLike | None = None,
    bias_hh: npt.ArrayLike | None = None,
    *extras: npt.ArrayLike,
    lengths: npt.ArrayLike | None = None,
    resets: npt.ArrayLike | None = None,
    reverse: bool = False,
    precision: str = "full",
) -> tuple[Array, States]:
    """Run one direction of one layer over a batch of sequences.

    Shapes:
        x (T, B, I); states (B, H) each, None = zeros; weight_ih (G*H, I); weight_hh (G*H, H), or
        (G*H, P) where h is (B, P);
        biases (G*H,), None = absent; lengths (B,) integers in 0..T; resets (T, B) of bool.

    Args:
        cell: a name in `CELLS` or `PHASED_CELLS`.
        extras: further parameters of a phased cell, in the order of its `extras`.
        lengths: row b is live at the steps t < lengths[b]; None = all steps. A row keeps its state
            at dead steps, and y is zero there. Values of x at dead steps are never used.
        resets: where true, the states entering step t are set to zero first (in processing order).
        reverse: process t = T-1 .. 0, so that a row starts at its last live step.
        precision: a name in `OPERANDS`; in products both factors are rounded by it, rows of states
            and x at every step.

    Returns:
        y (T, B, H), as wide as h, where y[t] is h after step t was processed, and the final states.
    """
    result, _ = scan_vjp(
        cell,
        x,
        states,
        weight_ih,
        weight_hh,
        bias_ih,
        bias_hh,
        *extras,
        lengths=lengths,
        resets=resets,
        reverse=reverse,
        precision=precision,
    )
    return result


def scan_vjp(
    cell: str,
    x: npt.ArrayLike,
    states: tuple[npt.ArrayLike, ...] | None,
    weight_ih: npt.ArrayLike,
    weight_hh: npt.ArrayLike,
    bias_ih: npt.ArrayLike | None = None,
    bias_hh: npt.ArrayLike | None = None,
    *extras: npt.ArrayLike,
    lengths: npt.ArrayLike | None = None,
    resets: npt.ArrayLike | None = None,
    reverse: bool = False,
    precision: str = "full",
) -> tuple[tuple[Array, States], Pullback]:
    """`scan`, and the function that carries gradients back through it.

    Returns:
        (y, final states), pullback, where `pullback(dy, dstates=None)` takes the gradients of y
        (None = zeros) and of the final states and returns (dx, dstates of the initial states,
        (dweight_ih, dweight_hh, dbias_ih, dbias_hh, *dextras)); bias gradients are None for absent
        biases.
        dy at dead steps is ignored and dx is zero there. With precision "bf16" the gradients of
        gates are rounded before they are multiplied or summed, and a rounding counts as the
        identity; with "int8" there are no gradients.
    """
    phased = PHASED_CELLS.get(cell)
    spec, operand = phased or CELLS[cell], OPERANDS[precision]
    x = operand(np.asarray(x, np.float64))
    w_ih, w_hh = (operand(np.asarray(w, np.float64)) for w in (weight_ih, weight_hh))
    b_ih = 0.0 if bias_ih is None else np.asarray(bias_ih, np.float64)
    b_hh = 0.0 if bias_hh is None else np.asarray(bias_hh, np.float64)
    steps, batch, _ = x.shape
    sizes = [w_hh.shape[1], *[len(w_hh) // len(spec.gates)] * (len(spec.states) - 1)]
    shapes = [(batch, size) for size in sizes]
    live_until = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    reset = np.zeros((steps, batch), bool) if resets is None else np.asarray(resets, bool)
    order = range(steps - 1, -1, -1) if reverse else range(steps)

    if states is None:
        current = [np.zeros(shape) for shape in shapes]
    else:
        current = [np.array(s, np.float64) for s in states]
    y = np.zeros((steps, *shapes[0]))
    weights: dict[str, Array] = {
        "weight_hh": w_hh,
        "bias_ih": b_ih + np.zeros(len(w_ih)),
        "bias_hh": b_hh + np.zeros(len(w_ih)),
    }
    if phased is not None:
        given = (np.asarray(extra, np.float64) for extra in extras)
        weights.update(zip(phased.extras, given, strict=True))
    tape: list[tuple[int, Any, Array, Saved]] = []
    for t in order:
        rows = np.flatnonzero(t < live_until)
        cut = reset[t, rows, None]
        before = tuple(np.where(cut, 0.0, s[rows]) for s in current)
        a = x[t, rows] @ w_ih.T
        h_before = operand(before[0])
        if isinstance(spec, PhasedCell):
            after, saved = spec.step(a, before, weights)
        else:
            after, saved = spec.step(a + b_ih, h_before @ w_hh.T + b_hh, before)
        for s, new in zip(current, after, strict=True):
            s[rows] = new
        y[t, rows] = after[0]
        tape.append((t, rows, h_before, saved))
    final = tuple(current)

    def pullback(
        dy: npt.ArrayLike | None, dstates: tuple[npt.ArrayLike, ...] | None = None
    ) -> tuple[Array, States, WeightGrads]:
        if precision == "int8":
            raise ValueError("[reference] int8 has no gradients")
        dy = np.zeros_like(y) if dy is None else np.asarray(dy, np.float64)
        if dstates is None:
            dcurrent = [np.zeros(shape) for shape in shapes]
        else:
            dcurrent = [np.array(d, np.float64) for d in dstates]
        dx, dw_ih = np.zeros_like(x), np.zeros_like(w_ih)
        dweights = {name: np.zeros_like(weight) for name, weight in weights.items()}
        for t, rows, h_before, saved in reversed(tape):
            cut = reset[t, rows, None]
            dafter = [d[rows] for d in dcurrent]
            dafter[0] = dafter[0] + dy[t, rows]
            if isinstance(spec, PhasedCell):
                da, dbefore, added = spec.step_backward(saved, tuple(dafter), weights)
            else:
                da, dr, dbefore = spec.step_backward(saved, tuple(dafter))
                da, dr = operand(da), operand(dr)
                dbefore = (dbefore[0] + dr @ w_hh, *dbefore[1:])
                added = {
                    "weight_hh": dr.T @ h_before,
                    "bias_ih": da.sum(axis=0),
                    "bias_hh": dr.sum(axis=0),
                }
            for d, new in zip(dcurrent, dbefore, strict=True):
                d[rows] = np.where(cut, 0.0, new)
            dx[t, rows] = da @ w_ih
            dw_ih += da.T @ x[t, rows]
            for name, gradient in added.items():
                dweights[name] += gradient
        dw_hh, db_ih, db_hh, *dextras = dweights.values()
        db_ih_or_none = None if bias_ih is None else db_ih
        db_hh_or_none = None if bias_hh is None else db_hh
        return dx, tuple(dcurrent), (dw_ih, dw_hh, db_ih_or_none, db_hh_or_none, *dextras)

    return (y, final), pullback
