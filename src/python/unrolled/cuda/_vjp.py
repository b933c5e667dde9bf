"""BPTT on a CUDA device, with all values stored or window by window of steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..functional import GradientClip, Recompute, recompute_code
from ..functional._scan_arguments import lengths_of, resets_of
from ._arrays import array_module, to_host
from ._scan import Saved, Weights, scan, stored_backward, stored_vjp


@dataclass(frozen=True)
class _Window:
    """Some steps of a sequence, and the states that enter them.

    Attributes:
        steps: which they are.
        states: one (B, H) for each state of the cell; None = zeros.
        options: of `scan`, for these steps alone.
    """

    steps: slice
    states: tuple[Any, ...] | None
    options: dict[str, Any]


@dataclass(frozen=True)
class WindowedSaved:
    """What `scan_vjp` keeps for its pullbacks with `recompute`: states between windows alone."""

    weights: Weights
    shape: tuple[int, int]
    """(T, B) of the sequence."""
    _x: Any
    _windows: tuple[_Window, ...]
    """In the order in which the scan goes through them."""

    @property
    def nbytes(self) -> int:
        """Memory held on the device, in bytes, without x and the initial state."""
        return sum(
            int(state.nbytes) for window in self._windows[1:] for state in window.states or ()
        )


def scan_vjp(
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
    recompute: Recompute = "none",
) -> tuple[Any, tuple[Any, ...], Saved | WindowedSaved]:
    """`scan` that also returns what `scan_backward` needs; see `functional.scan_vjp`.

    With `recompute` = k the states that enter every k-th step are stored, and its window of steps
    is run again on the way back. "gates" is a k of about the root of T. Gradients are those of
    "none" up to rounding.
    """
    recompute_code(weights.cell, recompute)
    given: dict[str, Any] = {
        "lengths": lengths,
        "resets": resets,
        "updates": updates,
        "reverse": reverse,
        "cell_clip": cell_clip,
        "recurrent_factors": recurrent_factors,
    }
    if recompute == "none":
        return stored_vjp(weights, x, states, out=out, steps_out=steps_out, **given)

    if len(x.shape) != 3:
        raise ValueError(f"[{weights.cell}] expected x of shape (T, B, I), got {tuple(x.shape)}")
    steps, batch, _ = x.shape
    given["lengths"] = lengths_of(weights.cell, to_host(lengths))
    given["resets"] = resets_of(weights.cell, to_host(resets))
    _check_rows(weights.cell, steps, batch, given)
    size = max(round(math.sqrt(steps)), 1) if recompute == "gates" else int(recompute)
    starts = range(0, max(steps, 1), size)
    if out is None:
        out = array_module(weights.cell, x).empty((steps, batch, weights.state_sizes[0]))
    windows: list[_Window] = []
    entering = None if states is None else tuple(states)
    for start in reversed(starts) if reverse else starts:
        part = slice(start, min(start + size, steps))
        window = _Window(part, entering, _part_of(given, part))
        windows.append(window)
        _, entering = scan(
            weights,
            x[part],
            window.states,
            out=out[part],
            steps_out=[array[part] for array in steps_out],
            **window.options,
        )
    assert entering is not None
    return out, entering, WindowedSaved(weights, (steps, batch), x, tuple(windows))


def scan_backward(
    saved: Saved | WindowedSaved,
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
    """Back-propagation through time; see `functional.scan_backward`.

    Shapes: dy (T, B, H); dstates one (B, H) a state; dx (T, B, I).

    Args:
        dy: gradient of the output, or None for zeros. Ignored where no token is.
        dstates: gradients of the final states, or None for zeros.
        grads: (dweight_ih, dweight_hh, dbias_ih, dbias_hh, dweight_unit, dweight_hr), added to;
            biases may be None, and what the cell does not have. The last two may be left away.
        dsteps: gradients of the `steps_out` of a `scan_vjp`, or none for zeros.
        dx: array for the gradient of x; a new one if None.
        accumulate_dx: add to `dx` instead of overwriting it.
        needs_dx: False skips dx (the first layer of a network) and returns None for it.
        clip_gradient: of h, on its way from a step to the one before; see
            `functional.GradientClip`.

    Returns:
        dx (zero where no token is) and the gradients of the initial states.
    """
    options: dict[str, Any] = {
        "grads": grads,
        "accumulate_dx": accumulate_dx,
        "needs_dx": needs_dx,
        "clip_gradient": clip_gradient,
    }
    if isinstance(saved, Saved):
        return stored_backward(saved, dy, dstates, dsteps=dsteps, dx=dx, **options)

    if needs_dx and dx is None and not accumulate_dx:
        dx = array_module(saved.weights.cell, saved._x).empty(tuple(saved._x.shape))
    through = None if dstates is None else tuple(dstates)
    for window in reversed(saved._windows):
        part = window.steps
        _, _, own = stored_vjp(
            saved.weights,
            saved._x[part],
            window.states,
            out=None,
            steps_out=(),
            **window.options,
        )
        _, through = stored_backward(
            own,
            None if dy is None else dy[part],
            through,
            dsteps=[array[part] for array in dsteps],
            dx=None if dx is None else dx[part],
            **options,
        )
    assert through is not None
    return (dx if needs_dx else None), through


def _check_rows(cell: str, steps: int, batch: int, options: dict[str, Any]) -> None:
    """Raises ValueError unless lengths and resets fit: of windows they always would."""
    from .. import _cuda

    _cuda.Plan(cell, steps, batch, options["lengths"], options["resets"], options["reverse"])


def _part_of(options: dict[str, Any], part: slice) -> dict[str, Any]:
    """The options of a scan for a part of its steps."""
    own = dict(options)
    if own["lengths"] is not None:
        own["lengths"] = np.clip(own["lengths"] - part.start, 0, part.stop - part.start)
    if own["resets"] is not None:
        own["resets"] = own["resets"][part]
    own["updates"] = [update[part] for update in own["updates"]]
    return own
