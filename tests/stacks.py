"""Whole layers and models composed from the specification, one scan at a time, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from problems import sums_of_a_step
from unrolled import functional, reference
from unrolled.layers import Recurrent


def as_tuple(state: Any) -> tuple[np.ndarray, ...]:
    """A layer's state, h or (h, c), as a tuple."""
    return state if isinstance(state, tuple) else (state,)


def as_state(arrays: tuple[np.ndarray, ...]) -> Any:
    """A tuple of states in the layer's form."""
    return arrays[0] if len(arrays) == 1 else arrays


def scan_weights(layer: Recurrent[Any], k: int) -> dict[str, np.ndarray | None]:
    """Name -> array or None, of scan k, in the order in which the reference takes them."""
    depth, direction = divmod(k, layer.num_directions)
    ending = f"_l{depth}" + ("_reverse" if direction else "")
    names = [name + ending for name in functional.PARAMETERS]
    return {name: layer.parameters.get(name) for name in names}


def reference_stack(
    layer: Recurrent[Any],
    x: np.ndarray,
    state: Any = None,
    *,
    lengths: np.ndarray | None = None,
    resets: np.ndarray | None = None,
    dy: np.ndarray | None = None,
    dstate: Any = None,
) -> dict[str, Any]:
    """y, state, dx, dstate and grads of a time-major stack without dropout.

    Resets here are those of the forward direction; a bidirectional stack takes none, since what
    they mean there is tested by its promise (see test_layers.py) rather than by a copy of the code.
    """
    scans = layer.num_layers * layer.num_directions
    assert resets is None or layer.num_directions == 1
    initial = [None] * scans
    if state is not None:
        initial = [tuple(s[k] for s in as_tuple(state)) for k in range(scans)]
    final: list[tuple[np.ndarray, ...]] = []
    pullbacks = []
    y = x
    for depth in range(layer.num_layers):
        halves = []
        for direction in range(layer.num_directions):
            k = depth * layer.num_directions + direction
            (half, last), pullback = reference.scan_vjp(
                layer.cell,
                y,
                initial[k],
                *scan_weights(layer, k).values(),
                lengths=lengths,
                resets=resets,
                reverse=direction == 1,
            )
            halves.append(half)
            final.append(last)
            pullbacks.append(pullback)
        y = np.concatenate(halves, axis=2)

    states = len(final[0])
    result: dict[str, Any] = {
        "y": y,
        "state": tuple(np.stack([f[i] for f in final]) for i in range(states)),
    }
    if dy is None and dstate is None:
        return result
    grads: dict[str, np.ndarray] = {}
    dinitial: list[Any] = [None] * scans
    dx = np.zeros_like(y) if dy is None else np.asarray(dy, np.float64)
    for depth in range(layer.num_layers - 1, -1, -1):
        below = 0.0
        for direction in range(layer.num_directions):
            k = depth * layer.num_directions + direction
            half = np.split(dx, layer.num_directions, axis=2)[direction]
            dlast = None if dstate is None else tuple(d[k] for d in as_tuple(dstate))
            part, dinitial[k], dweights = pullbacks[k](half, dlast)
            below = below + part
            named = zip(scan_weights(layer, k), dweights, strict=True)
            grads.update({name: d for name, d in named if d is not None})
        dx = below
    result["dx"] = dx
    result["dstate"] = tuple(np.stack([d[i] for d in dinitial]) for i in range(states))
    result["grads"] = grads
    return result


def forward_roundings(layer: Recurrent[Any], steps: int) -> int:
    """K of tolerances.py for the output of a stack: each layer follows the one below."""
    rows, hidden = len(layer.parameters["weight_ih_l0"]), layer.hidden_size
    widest = max(layer.input_size, layer.output_size)
    sums = sums_of_a_step(layer.cell, hidden)
    return layer.num_layers * steps * (widest + sums * hidden + rows // hidden)


def gradient_roundings(layer: Recurrent[Any], steps: int, batch: int) -> int:
    """K of tolerances.py for the gradients of a stack: through all layers and back."""
    rows, hidden = len(layer.parameters["weight_ih_l0"]), layer.hidden_size
    widest = max(layer.input_size, layer.output_size)
    sums = sums_of_a_step(layer.cell, hidden)
    return layer.num_layers * steps * (widest + sums * (rows + hidden) + batch)
