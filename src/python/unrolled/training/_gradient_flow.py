"""How much of a gradient is left at each step on its way back through time."""

from typing import Any

import numpy as np

from unrolled import functional
from unrolled.layers import Recurrent, as_state, map_state, state_arrays

from ._types import Array


def gradient_flow(
    layer: Recurrent[Any], x: Array, dy: Array | None = None, state: Any = None
) -> dict[str, Array]:
    """Returns the size of the loss's gradient in the state after each step.

        flow["h"][k, t] = mean_b |dL / dh_t[b]|      of layer k, Euclidean norms over its units

    h_t is the state after t steps: h_0 the initial one, h_T the last. Its gradient is exact and
    total, that is, over everything that h_t acts on: the output y_t, the layers above and all later
    steps. Where the state has two parts, h and c of an LSTM, each is varied with the other held
    fixed, so that c_T, on which nothing depends any more, has gradient 0.

    A curve that falls towards t = 0 is a vanishing gradient, one that rises an exploding one::

        flow = gradient_flow(layer, x)
        plot_gradient_flow("flow.png", {"lstm": flow})

    Computed on copies of the layers in float64, where 10^-38 is still a gradient; the layer's own
    gradients are left alone. There is no dropout.

    Shapes: T steps, B batch, I input, H hidden, L layers.

    Args:
        layer: one direction, any number of layers.
        x: (T, B, I); with batch_first (B, T, I).
        dy: the gradient of the loss in the outputs, (T, B, H) or, with batch_first, (B, T, H).
            None: L is a sum over the units of the last output, scaled so that |dL/dh_T| = 1.
        state: the initial state, None = zeros, or what the layer learned.

    Returns:
        name of the state, "h" or "h" and "c" -> (L, T+1) float64.

    Raises:
        ValueError: the layer is bidirectional, so that there is no one way back through time; there
            are no steps; or a shape does not fit.

    Source: Hochreiter, "Untersuchungen zu dynamischen neuronalen Netzen", 1991; Bengio, Simard and
    Frasconi, "Learning long-term dependencies with gradient descent is difficult", 1994.
    """
    if layer.num_directions == 2:
        raise ValueError("[gradient_flow] expected a layer of one direction, got a bidirectional")
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(f"[gradient_flow] expected x of shape (T, B, I), none 0, got {x.shape}")
    x = _time_major(layer, x)
    singles = [_single(layer, k) for k in range(layer.num_layers)]
    _, begin = layer._begin(state, x.shape[1])
    initial = [
        None if own is None else as_state(tuple(array[None].astype(np.float64) for array in own))
        for own in begin
    ]
    residual = [sizes.residual for sizes in layer._layers]
    inputs = [x]
    for single, before, added in zip(singles[:-1], initial[:-1], residual[:-1], strict=True):
        y, _ = single(inputs[-1], before)
        inputs.append(y + inputs[-1] if added else y)
    shape = (*x.shape[:2], layer.output_size)
    if dy is None:
        dy = np.zeros(shape)
        dy[-1] = layer.output_size**-0.5
    elif (dy := _time_major(layer, dy)).shape != shape:
        raise ValueError(
            f"[gradient_flow] expected dy of shape (T, B, H) = {shape}, got {dy.shape}"
        )
    flows: list[list[Array]] = []
    for k in range(layer.num_layers - 1, -1, -1):
        dx, norms = _flow_back(singles[k], inputs[k], dy, initial[k])
        flows.insert(0, norms)
        dy = dx + dy if residual[k] else dx
    names = functional.cell_info(layer.cell).states
    return {name: np.stack([norms[i] for norms in flows]) for i, name in enumerate(names)}


def _time_major(layer: Recurrent[Any], sequence: Array) -> Array:
    """Returns a sequence as (T, B, .) float64, laid out so."""
    return np.ascontiguousarray(
        sequence.swapaxes(0, 1) if layer.batch_first else sequence, np.float64
    )


def _single(layer: Recurrent[Any], k: int) -> Recurrent[Any]:
    """Returns a copy of layer k of a stack as a layer of its own: time-major, in float64."""
    parameters = {
        f"{key}_l0": layer.parameters[name].astype(np.float64)
        for key, name in layer._scans[k].keys.items()
    }
    single: Recurrent[Any] = Recurrent(
        layer.cell,
        layer._layers[k].inputs,
        layer.hidden_sizes[k],
        bias=layer.bias,
        dtype=np.float64,
        init="zeros",
    )
    single.load_parameters(parameters)
    return single


def _flow_back(layer: Recurrent[Any], x: Array, dy: Array, state: Any) -> tuple[Array, list[Array]]:
    """Runs one layer step by step and chains the pullbacks of its states.

    Returns:
        dx (T, B, I), and for each part of the state (T+1,) mean norms.
    """
    pullbacks = []
    for t in range(len(x)):
        (_, state), pullback = layer.vjp(x[t : t + 1], state)
        pullbacks.append(pullback)
    # What the steps after t say about the state that step t hands on.
    dstate = map_state(np.zeros_like, state)
    dx = np.empty_like(x)
    flows = []
    for t in range(len(x) - 1, -1, -1):
        flows.append(_norms(dstate, dy[t]))  # y_t is h_t itself
        dx[t : t + 1], dstate = pullbacks[t](dy[t : t + 1], dstate)
    flows.append(_norms(dstate, 0.0))
    return dx, [np.array(norms) for norms in zip(*flows[::-1], strict=True)]


def _norms(dstate: Any, dy: Array | float) -> list[float]:
    """Returns the mean norm over the batch of each part of a state's gradient, dy added to h's."""
    parts = state_arrays(dstate)
    total = (parts[0][0] + dy, *(part[0] for part in parts[1:]))
    return [float(np.linalg.norm(part, axis=-1).mean()) for part in total]
