"""Whole layers and models composed from the specification, one scan at a time, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from problems import sums_of_a_step
from tolerances import assert_close, assert_same_bits
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


def _widest(layer: Recurrent[Any]) -> tuple[int, int, int]:
    """The most that a layer of the stack reads, its units and its rows of weights."""
    hidden = max(layer.hidden_sizes)
    inputs = max(layer.input_size, layer.output_size, layer.num_directions * hidden)
    return inputs, hidden, len(functional.cell_info(layer.cell).gates) * hidden


def forward_roundings(layer: Recurrent[Any], steps: int) -> int:
    """K of tolerances.py for the output of a stack: each layer follows the one below."""
    inputs, hidden, rows = _widest(layer)
    sums = sums_of_a_step(layer.cell, min(layer.hidden_sizes))
    return layer.num_layers * steps * (inputs + sums * hidden + rows // hidden)


def gradient_roundings(layer: Recurrent[Any], steps: int, batch: int) -> int:
    """K of tolerances.py for the gradients of a stack: through all layers and back."""
    inputs, hidden, rows = _widest(layer)
    sums = sums_of_a_step(layer.cell, min(layer.hidden_sizes))
    return layer.num_layers * steps * (inputs + sums * (rows + hidden) + batch)


def single_layers(layer: Recurrent[Any]) -> list[Recurrent[Any]]:
    """The layers of a stack as layers of their own, time-major, with the same parameters."""
    singles = []
    for k, hidden in enumerate(layer.hidden_sizes):
        own = {
            name.replace(f"_l{k}", "_l0"): array
            for name, array in layer.parameters.items()
            if f"_l{k}" in name and not name.startswith("initial")
        }
        single: Recurrent[Any] = Recurrent(
            layer.cell,
            own["weight_ih_l0"].shape[1],
            hidden,
            bias=layer.bias,
            bidirectional=layer.num_directions == 2,
            proj_size=own["weight_hr_l0"].shape[0] if "weight_hr_l0" in own else 0,
            dtype=layer.dtype,
            init="zeros",
        )
        single.load_parameters(own)
        singles.append(single)
    return singles


def assert_single_grads(layer: Recurrent[Any], singles: list[Recurrent[Any]], K: int) -> None:
    """The gradients of a stack's weights are those of its layers as layers of their own."""
    for k, single in enumerate(singles):
        for name, expected in single.grads.items():
            own = name.replace("_l0", f"_l{k}")
            assert_close(layer.grads[own], expected, K=K, kind="gradient", what=own)


def check_steps(layer: Recurrent[Any], x: np.ndarray, dy: np.ndarray) -> None:
    """Training step by step gives what `vjp` gives: outputs in its bits, and its gradients."""
    steps_count, batch, _ = x.shape
    (y, _), pullback = layer.vjp(x)
    dx, _ = pullback(dy)
    expected = layer.flat.grads.copy()
    layer.zero_grads()
    steps, state, live = layer.steps_vjp(), None, np.ones(batch, np.int64)
    for t in range(steps_count):
        y_t, state = steps(x[t], state, live)
        assert_same_bits(y_t, y[t])
    K, dstate = gradient_roundings(layer, steps_count, batch), None
    for t in reversed(range(steps_count)):
        dx_t, dstate = steps.pull(dy[t], dstate)
        assert_close(dx_t, dx[t], K=K, kind="gradient")
    assert_close(layer.flat.grads, expected, K=K, kind="gradient")
