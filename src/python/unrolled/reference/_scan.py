"""The scan over time, forward and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _cells, _function_cells, _further_cells, _phased
from ._cells import Cell
from ._function_cells import Function, Gates
from ._operands import OPERANDS
from ._phased import PhasedCell
from ._types import Array, Saved, States

#: See `_clipped`.
GradientClip = float | tuple[Literal["norm"], float] | None

CELLS: dict[str, Cell | PhasedCell] = {
    cell.name: cell
    for cells in (_cells.CELLS, _further_cells.CELLS, _phased.CELLS, _function_cells.CELLS)
    for cell in cells
}

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
    weight_hr: npt.ArrayLike | None = None,
    *,
    lengths: npt.ArrayLike | None = None,
    resets: npt.ArrayLike | None = None,
    reverse: bool = False,
    updates: Sequence[npt.ArrayLike] = (),
    cell_clip: float | None = None,
    recurrent_factors: npt.ArrayLike | None = None,
    precision: str = "full",
    gates: Any = None,
) -> tuple[Array, States]:
    """Run one direction of one layer over a batch of sequences.

    Shapes:
        x (T, B, I); states (B, H) each, None = zeros; weight_ih (G*H, I); weight_hh (G*H, H);
        biases (G*H,), None = absent; weight_unit (P*H,); where a cell has no recurrent product,
        weight_hh and bias_hh are None; where h is projected to (B, R), weight_hh is (G*H, R),
        weight_hr (R, H), and y as h; lengths (B,) integers in 0..T; resets (T, B) of bool;
        updates (T, B, H) each.

    Args:
        cell: a name in `CELLS`.
        lengths: row b is live at the steps t < lengths[b]; None = all steps. A row keeps its state
            at dead steps, and y is zero there. Values of x at dead steps are never used.
        resets: where true, the states entering step t are set to zero first (in processing order).
        reverse: process t = T-1 .. 0, so that a row starts at its last live step.
        updates: for each state the share u of its new value that it takes: s + u * (new s - s).
        cell_clip: limit of the new state c of a cell that `clips`; None: no limit.
        recurrent_factors: (B, H) what h is multiplied by on its way into recurrent products, in
            every step; the state stays as it is. None: ones.
        gates: what gates apply in a cell with `functions`, as `unrolled.functional.Gates` says it;
            None: what the cell has by default.
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
        weight_hr,
        lengths=lengths,
        resets=resets,
        reverse=reverse,
        updates=updates,
        cell_clip=cell_clip,
        recurrent_factors=recurrent_factors,
        precision=precision,
        gates=gates,
    )
    return result


def _clipped(d: Array, clip: GradientClip) -> Array:
    """A gradient (B, H) with clipped elements, or with rows of a clipped Euclidean norm:

    limit             min(max(d, -limit), limit)
    ("norm", limit)   d * min(1, limit / |d|)
    """
    if clip is None:
        return d
    if not isinstance(clip, tuple):
        return np.clip(d, -clip, clip)
    norms = np.sqrt((d * d).sum(axis=1, keepdims=True))
    return np.asarray(d * np.minimum(1.0, clip[1] / np.where(norms == 0.0, clip[1], norms)))


def scan_vjp(
    cell: str,
    x: npt.ArrayLike,
    states: tuple[npt.ArrayLike, ...] | None,
    weight_ih: npt.ArrayLike,
    weight_hh: npt.ArrayLike | None,
    bias_ih: npt.ArrayLike | None = None,
    bias_hh: npt.ArrayLike | None = None,
    weight_unit: npt.ArrayLike | None = None,
    weight_hr: npt.ArrayLike | None = None,
    *,
    lengths: npt.ArrayLike | None = None,
    resets: npt.ArrayLike | None = None,
    reverse: bool = False,
    updates: Sequence[npt.ArrayLike] = (),
    cell_clip: float | None = None,
    recurrent_factors: npt.ArrayLike | None = None,
    precision: str = "full",
    gates: Any = None,
) -> tuple[tuple[Array, States], Pullback]:
    """`scan`, and the function that carries gradients back through it.

    Returns:
        (y, final states), pullback, where `pullback(dy, dstates=None, clip_gradient=None)` takes
        the gradients of y (None = zeros) and of the final states, clips that of h on its way from
        each step to the one before, with all that it consists of but dy, and returns (dx, dstates
        of the initial states, (dweight_ih, dweight_hh, dbias_ih, dbias_hh, dweight_unit,
        dweight_hr)); None for what is absent.
        dy at dead steps is ignored and dx is zero there. With precision "bf16" the gradients of
        gates are rounded before they are multiplied or summed, and a rounding counts as the
        identity; with "int8" there are no gradients.
    """
    spec, operand = CELLS[cell], OPERANDS[precision]
    options: tuple[Any, ...] = (np.inf if cell_clip is None else cell_clip,) if spec.clips else ()
    if spec.functions:
        options += (gates or Gates([Function(name) for name in spec.functions]),)
    x = operand(np.asarray(x, np.float64))
    steps, batch, _ = x.shape
    w_ih = operand(np.asarray(weight_ih, np.float64))
    hidden = w_ih.shape[0] // len(spec.gates)
    # Without a recurrent product it is one with zeros.
    zeros = np.zeros((w_ih.shape[0], hidden))
    w_hh = operand(zeros if weight_hh is None else np.asarray(weight_hh, np.float64))
    b_ih = 0.0 if bias_ih is None else np.asarray(bias_ih, np.float64)
    b_hh = 0.0 if bias_hh is None else np.asarray(bias_hh, np.float64)
    units = np.zeros(len(spec.units) * hidden)
    if weight_unit is not None:
        units = np.asarray(weight_unit, np.float64)
    p = tuple(units.reshape(len(spec.units), hidden))
    sizes = [w_hh.shape[1], *[hidden] * (len(spec.states) - 1)]
    shapes = [(batch, size) for size in sizes]
    w_hr = np.zeros((0, hidden)) if weight_hr is None else np.asarray(weight_hr, np.float64)
    no_bias = np.zeros(len(w_ih))
    weights = {
        "weight_hh": w_hh,
        "bias_ih": b_ih + no_bias,
        "bias_hh": b_hh + no_bias,
        "weight_hr": w_hr,
    }
    live_until = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    reset = np.zeros((steps, batch), bool) if resets is None else np.asarray(resets, bool)
    factors = np.ones(shapes[0])
    if recurrent_factors is not None:
        factors = np.asarray(recurrent_factors, np.float64)
    shares = [np.asarray(u, np.float64) for u in updates]
    if not shares:
        shares = [np.ones((steps, *shape)) for shape in shapes]
    order = range(steps - 1, -1, -1) if reverse else range(steps)

    if states is None:
        current = [np.zeros(shape) for shape in shapes]
    else:
        current = [np.array(s, np.float64) for s in states]
    y = np.zeros((steps, *shapes[0]))
    tape: list[tuple[int, Any, Array, Saved]] = []
    for t in order:
        rows = np.flatnonzero(t < live_until)
        cut = reset[t, rows, None]
        before = tuple(np.where(cut, 0.0, s[rows]) for s in current)
        a = x[t, rows] @ w_ih.T
        h_before = operand(factors[rows] * before[0])
        if isinstance(spec, PhasedCell):
            after, saved = spec.step(a, p, before, h_before, weights, *options)
        else:
            after, saved = spec.step(a + b_ih, h_before @ w_hh.T + b_hh, p, before, *options)
        for s, old, new, u in zip(current, before, after, shares, strict=True):
            s[rows] = old + u[t, rows] * (new - old)
        y[t, rows] = current[0][rows]
        tape.append((t, rows, h_before, saved))
    final = tuple(current)

    def pullback(
        dy: npt.ArrayLike | None,
        dstates: tuple[npt.ArrayLike, ...] | None = None,
        clip_gradient: GradientClip = None,
    ) -> tuple[Array, States, WeightGrads]:
        if precision == "int8":
            raise ValueError("[reference] int8 has no gradients")
        dy = np.zeros_like(y) if dy is None else np.asarray(dy, np.float64)
        if dstates is None:
            dcurrent = [np.zeros(shape) for shape in shapes]
        else:
            dcurrent = [np.array(d, np.float64) for d in dstates]
        dx, dw_ih, dunits = np.zeros_like(x), np.zeros_like(w_ih), np.zeros((len(p), hidden))
        dweights = {name: np.zeros_like(weight) for name, weight in weights.items()}
        for t, rows, h_before, saved in reversed(tape):
            cut = reset[t, rows, None]
            dafter = [d[rows] for d in dcurrent]
            dafter[0] = dafter[0] + dy[t, rows]
            taken = [u[t, rows] * d for u, d in zip(shares, dafter, strict=True)]
            if isinstance(spec, PhasedCell):
                of_step = spec.step_backward(saved, p, tuple(taken), weights)
                da, dp, dbefore, dh, added = of_step
            else:
                da, dr, dp, dbefore = spec.step_backward(saved, p, tuple(taken))
                da, dr = operand(da), operand(dr)
                dh = dr @ w_hh
                added = {
                    "weight_hh": dr.T @ h_before,
                    "bias_ih": da.sum(axis=0),
                    "bias_hh": dr.sum(axis=0),
                }
            handed = [
                new + whole - part for new, whole, part in zip(dbefore, dafter, taken, strict=True)
            ]
            handed[0] = _clipped(handed[0] + factors[rows] * dh, clip_gradient)
            for d, new in zip(dcurrent, handed, strict=True):
                d[rows] = np.where(cut, 0.0, new)
            dx[t, rows] = da @ w_ih
            dw_ih += da.T @ x[t, rows]
            for name, gradient in added.items():
                dweights[name] += gradient
            for total, of_rows in zip(dunits, dp, strict=True):
                total += of_rows.sum(axis=0)
        given = (weight_ih, weight_hh, bias_ih, bias_hh, weight_unit, weight_hr)
        dw_hh, db_ih, db_hh, dw_hr = dweights.values()
        grads = (dw_ih, dw_hh, db_ih, db_hh, dunits.reshape(-1), dw_hr)
        kept = (None if g is None else d for g, d in zip(given, grads, strict=True))
        return dx, tuple(dcurrent), tuple(kept)

    return (y, final), pullback
