"""Recurrent layers on a CUDA device: the scan forward, and BPTT with all values stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ..functional._gates import NO_CHOICE, Gates
from ..functional._scan_arguments import (
    GradientClip,
    clip_limits,
    gradients_of,
    lengths_of,
    resets_of,
)
from ._arrays import ArrayModule, array_module, to_host
from ._cells import load_kernels
from ._library import require
from ._views import Views, full_plan, upload

if TYPE_CHECKING:
    from .. import _cuda

Precision = Literal["full", "tf32", "bf16"]
"""In which numbers products multiply; sums are float32.

"full": float32.
"tf32": the products of cuBLAS round factors to 10 bits after the point, which tensor cores multiply
    many times faster. For training and inference. A persistent kernel multiplies in float32.
"bf16": factors are rounded to 7 bits after the point: as on the CPU, for the same cells, whose
    gradients of gates are rounded before they are multiplied or summed. States stay float32.
"""

Path = Literal["auto", "steps", "persistent"]
"""How the steps of a scan run.

"steps": a product of cuBLAS and one kernel a step, from the third call with the same arrays on as
    one CUDA graph.
"persistent": one kernel for all steps, which keeps the recurrent weights on the chip. For hidden
    sizes that fit, and not where BPTT clips a norm.
"auto": what suits the shape.
"""


@dataclass(frozen=True)
class Weights:
    """One direction of one layer: views of the caller's parameters, which are not copied.

    So parameters must not change between a `scan_vjp` and its last pullback.
    """

    _core: _cuda.Weights

    @property
    def cell(self) -> str:
        """The name of the cell."""
        return self._core.cell

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""
        return np.dtype(np.float32)

    @property
    def input_size(self) -> int:
        """I."""
        return self._core.input_size

    @property
    def hidden_size(self) -> int:
        """H."""
        return self._core.hidden_size

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The columns of each state: H, or R of the h of a cell that projects."""
        return self._core.state_sizes


@dataclass(frozen=True)
class Saved:
    """What `scan_vjp` keeps for its pullbacks; may be used for any number of them.

    It refers to the caller's x, updates, factors and parameters (no copy is made): they must not
    change before the last pullback.
    """

    weights: Weights
    shape: tuple[int, int]
    """(T, B) of the sequence."""
    _plan: _cuda.Plan
    _x: Any
    _updates: tuple[Any, ...]
    _cell_clip: float
    _factors: Any | None
    _states: tuple[Any, ...]
    _values: Any

    @property
    def nbytes(self) -> int:
        """Memory held on the device, in bytes, without x."""
        return sum(int(array.nbytes) for array in (*self._states, self._values))


def pack(
    cell: str,
    weight_ih: Any,
    weight_hh: Any | None,
    bias_ih: Any | None = None,
    bias_hh: Any | None = None,
    weight_unit: Any | None = None,
    weight_hr: Any | None = None,
    *,
    precision: Precision = "full",
    backward: bool = True,
    gates: Gates = NO_CHOICE,
    path: Path = "auto",
) -> Weights:
    """Takes the parameters of one direction of one layer, C-contiguous arrays on a device.

    Shapes: weight_ih (G*H, I), weight_hh (G*H, H), biases (G*H,) or None; torch's names and gate
    order. weight_unit is (P*H,) where the cell has `units`; where it is not `recurrent`, weight_hh
    and bias_hh are None; where it `projects`, weight_hh is (G*H, R) and weight_hr (R, H). The
    result is no snapshot as that of `functional.pack` is; see `Weights`.

    Args:
        cell: a name out of `functional.cells()`.
        precision: in which numbers the products multiply; see `Precision`.
        backward: as in `functional.pack`; nothing depends on it here.
        gates: what the gates of a cell with `functions` apply.
        path: how the steps run; see `Path`.
    """
    require()
    load_kernels(cell)
    from .. import _cuda

    views = Views(cell, array_module(cell, weight_ih).stream)
    return Weights(
        _cuda.Weights(
            cell,
            views.of("weight_ih", weight_ih),
            views.of_some("weight_hh", weight_hh),
            views.of_some("bias_ih", bias_ih),
            views.of_some("bias_hh", bias_hh),
            views.of_some("weight_unit", weight_unit),
            views.of_some("weight_hr", weight_hr),
            precision,
            path,
            *gates.arguments(),
        )
    )


def scan(
    weights: Weights,
    x: Any,
    states: Sequence[Any] | None = None,
    *,
    lengths: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    reverse: bool = False,
    out: Any | None = None,
    steps_out: Sequence[Any] = (),
    updates: Sequence[Any] = (),
    cell_clip: float | None = None,
    recurrent_factors: Any | None = None,
) -> tuple[Any, tuple[Any, ...]]:
    """Runs a cell over sequences; see `functional.scan`.

    Shapes: x (T, B, I) with unit stride along I; states one (B, H) for each state of the cell;
    lengths (B,) integers 0 .. T; resets (T, B) bool; out and the result (T, B, H). The h of a cell
    that projects has R columns instead.

    Lengths and resets are arrays on the host. On the device they cost a copy that waits for it.
    `steps_out`, `updates`, `cell_clip` and `recurrent_factors` are as in `functional.scan`.
    """
    y, final, _ = _run_scan(
        weights,
        x,
        states,
        lengths=lengths,
        resets=resets,
        reverse=reverse,
        out=out,
        steps_out=steps_out,
        updates=updates,
        cell_clip=cell_clip,
        recurrent_factors=recurrent_factors,
        save=False,
    )
    return y, final


def stored_vjp(
    weights: Weights, x: Any, states: Sequence[Any] | None = None, **options: Any
) -> tuple[Any, tuple[Any, ...], Saved]:
    """`scan`, with its options, that also returns what `stored_backward` needs."""
    y, final, saved = _run_scan(weights, x, states, **options, save=True)
    assert saved is not None
    return y, final, saved


def stored_backward(
    saved: Saved,
    dy: Any | None,
    dstates: Sequence[Any] | None = None,
    *,
    grads: Sequence[Any | None],
    dsteps: Sequence[Any] = (),
    dx: Any | None = None,
    accumulate_dx: bool = False,
    needs_dx: bool = True,
    clip_gradient: GradientClip = None,
) -> tuple[Any | None, tuple[Any, ...]]:
    """BPTT through a scan whose values are all stored; see `scan_backward`."""
    from .. import _cuda

    weights = saved.weights
    cell, (steps, batch) = weights.cell, saved.shape
    dweight_ih, others = gradients_of(cell, grads)
    dweight_hh, dbias_ih, dbias_hh, dweight_unit, dweight_hr = others
    clip_value, clip_norm = clip_limits(cell, clip_gradient)
    if needs_dx and dx is None and accumulate_dx:
        raise ValueError(f"[{cell}] expected dx with accumulate_dx=True, got None")
    arrays = array_module(cell, saved._x)
    views = Views(cell, arrays.stream)
    if not needs_dx:
        dx = None
    elif dx is None:
        dx = arrays.empty((steps, batch, weights.input_size))
    dinitial = _empty_states(arrays, weights, batch)
    scratch = _cuda.sizes(weights._core, saved._plan, True, saved._factors is not None)[3]
    _cuda.backward(
        weights._core,
        saved._plan,
        views.of("x", saved._x),
        views.of_some("dy", dy),
        views.of_some("dx", dx),
        accumulate_dx,
        views.of_all("dsteps", dsteps),
        views.of_all("updates", saved._updates),
        saved._cell_clip,
        views.of_some("recurrent_factors", saved._factors),
        clip_value,
        clip_norm,
        views.of_all("dstate", dstates),
        views.of_all("dstate", dinitial),
        views.of_all("states", saved._states),
        views.of("saved", saved._values),
        views.of("dweight_ih", dweight_ih),
        views.of_some("dweight_hh", dweight_hh),
        views.of_some("dbias_ih", dbias_ih),
        views.of_some("dbias_hh", dbias_hh),
        views.of_some("dweight_unit", dweight_unit),
        views.of_some("dweight_hr", dweight_hr),
        views.of("scratch", arrays.empty((scratch,))),
        views.stream,
    )
    return dx, dinitial


def _run_scan(
    weights: Weights,
    x: Any,
    states: Sequence[Any] | None,
    *,
    lengths: ArrayLike | None,
    resets: ArrayLike | None,
    reverse: bool,
    out: Any | None,
    steps_out: Sequence[Any],
    updates: Sequence[Any],
    cell_clip: float | None,
    recurrent_factors: Any | None,
    save: bool,
) -> tuple[Any, tuple[Any, ...], Saved | None]:
    from .. import _cuda

    cell = weights.cell
    arrays = array_module(cell, x)
    views = Views(cell, arrays.stream)
    seen = views.of("x", x)
    if len(seen.shape) != 3:
        raise ValueError(f"[{cell}] expected x of shape (T, B, I), got {seen.shape}")
    steps, batch, _ = seen.shape
    if lengths is None and resets is None:
        plan = full_plan(cell, arrays, views.stream, steps, batch, reverse)
    else:
        ends = lengths_of(cell, None if lengths is None else to_host(lengths))
        cuts = resets_of(cell, None if resets is None else to_host(resets))
        plan = _cuda.Plan(cell, steps, batch, ends, cuts, reverse)
        upload(plan, arrays, views, wait=False)
    limit = math.inf if cell_clip is None else cell_clip
    state_sizes, saved_size, scratch_size, _ = _cuda.sizes(
        weights._core, plan, save, recurrent_factors is not None
    )
    y = arrays.empty((steps, batch, weights.state_sizes[0])) if out is None else out
    final = _empty_states(arrays, weights, batch)
    kept = tuple(arrays.empty((size,)) for size in state_sizes)
    values = arrays.empty((saved_size,)) if save else None
    _cuda.forward(
        weights._core,
        plan,
        seen,
        views.of("out", y),
        views.of_all("steps_out", steps_out),
        views.of_all("updates", updates),
        limit,
        views.of_some("recurrent_factors", recurrent_factors),
        views.of_all("states", states),
        views.of_all("states", final),
        views.of_all("states", kept),
        views.of_some("saved", values),
        views.of("scratch", arrays.empty((scratch_size,))),
        views.stream,
    )
    if not save:
        return y, final, None
    saved = Saved(
        weights, (steps, batch), plan, x, tuple(updates), limit, recurrent_factors, kept, values
    )
    return y, final, saved


def _empty_states(arrays: ArrayModule, weights: Weights, batch: int) -> tuple[Any, ...]:
    return tuple(arrays.empty((batch, size)) for size in weights.state_sizes)
