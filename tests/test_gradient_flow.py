"""The gradient in the state after each step is what the specification says it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stacks import gradient_roundings, scan_weights
from tolerances import assert_close
from unrolled import LSTM, RNN, Recurrent, functional, reference
from unrolled.training import gradient_flow, plot_gradient_flow

T, B, I, H = 7, 3, 4, 5  # noqa: E741


def mean_norm(array: np.ndarray) -> float:
    return float(np.sqrt(np.square(array).sum(axis=-1)).mean())


def expected_flow(layer: Recurrent[Any], x: np.ndarray, dy: np.ndarray) -> dict[str, np.ndarray]:
    """Each dL/ds_t by a BPTT of its own: over the steps after t, from the state at t."""
    names = functional.cell_info(layer.cell).states
    result = {name: np.zeros((layer.num_layers, T + 1)) for name in names}
    inputs = [x]
    for k in range(layer.num_layers - 1):
        weights = scan_weights(layer, k).values()
        inputs.append(reference.scan(layer.cell, inputs[-1], None, *weights)[0])
    for k in range(layer.num_layers - 1, -1, -1):
        weights = scan_weights(layer, k).values()
        for t in range(T + 1):
            _, state = reference.scan(layer.cell, inputs[k][:t], None, *weights)
            _, pullback = reference.scan_vjp(layer.cell, inputs[k][t:], state, *weights)
            dx, dstate, _ = pullback(dy[t:])
            direct = dy[t - 1] if t else 0.0
            for name, part in zip(names, (dstate[0] + direct, *dstate[1:]), strict=True):
                result[name][k, t] = mean_norm(part)
            if t == 0:
                below = dx
        dy = below
    return result


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("given", ["last step", "every step"])
def test_flow_is_that_of_the_specification(
    cell: str, dtype: Any, layers: int, given: str, rng: np.random.Generator
) -> None:
    layer: Recurrent[Any] = Recurrent(cell, I, H, layers, dtype=dtype, rng=rng)
    x = rng.standard_normal((T, B, I)).astype(dtype)
    dy = np.zeros((T, B, H))
    dy[-1] = H**-0.5
    if given == "every step":
        dy = rng.standard_normal(dy.shape).astype(dtype)
    flow = gradient_flow(layer, x, None if given == "last step" else dy)
    expected = expected_flow(layer, x, dy)
    assert flow.keys() == expected.keys()
    for name, norms in flow.items():
        assert norms.dtype == np.float64
        assert_close(
            norms, expected[name], K=gradient_roundings(layer, T, B) * H, kind="gradient", what=name
        )


def test_flow_is_a_product_of_jacobians(rng: np.random.Generator) -> None:
    """The textbook's formula: dL/dh_{t-1} = W_hh^T diag(1 - h_t^2) dL/dh_t."""
    layer = RNN(I, H, dtype=np.float64, rng=rng)
    x = rng.standard_normal((T, B, I))
    y, _ = layer(x)
    gradient = np.full((B, H), H**-0.5)
    expected = [1.0]
    for t in range(T - 1, -1, -1):
        gradient = (gradient * (1.0 - y[t] ** 2)) @ layer.parameters["weight_hh_l0"]
        expected.append(mean_norm(gradient))
    flow = gradient_flow(layer, x)["h"][0]
    assert_close(flow, expected[::-1], K=gradient_roundings(layer, T, B), kind="gradient")


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_gradients_vanish_and_explode_as_powers(factor: float) -> None:
    layer = RNN(1, H, nonlinearity="relu", init="identity", dtype=np.float64)
    layer.parameters["weight_hh_l0"][:] *= factor
    layer.parameters["weight_ih_l0"][:] = 1.0  # states stay above 0, where relu is the identity
    flow = gradient_flow(layer, np.ones((T, B, 1)))["h"][0]
    np.testing.assert_allclose(flow, factor ** np.arange(T, -1.0, -1.0), rtol=1e-14)


def test_an_open_forget_gate_keeps_the_gradient() -> None:
    layer = LSTM(1, H, dtype=np.float64, init="zeros")
    layer.parameters["bias_ih_l0"][H : 2 * H] = 50.0  # sigmoid(50) is 1
    flow = gradient_flow(layer, np.ones((T, B, 1)))
    # h_T = sigmoid(0) tanh(c_T), and c never leaves 0.
    np.testing.assert_allclose(flow["c"][0, :-1], 0.5, rtol=1e-14)
    assert flow["c"][0, -1] == 0.0
    np.testing.assert_array_equal(flow["h"][0], [0.0] * T + [flow["h"][0, -1]])


def test_options_of_the_layer(rng: np.random.Generator) -> None:
    plain = LSTM(I, H, 2, rng=rng)
    other = LSTM(I, H, 2, batch_first=True, rng=rng)
    other.load_parameters(plain.parameters)
    x = rng.standard_normal((T, B, I)).astype(np.float32)
    dy = rng.standard_normal((T, B, H)).astype(np.float32)
    state = tuple(rng.standard_normal((2, B, H)).astype(np.float32) for _ in range(2))
    flow = gradient_flow(plain, x, dy, state)
    swapped = gradient_flow(other, x.swapaxes(0, 1), dy.swapaxes(0, 1), state)
    for name in "hc":
        np.testing.assert_array_equal(flow[name], swapped[name])
        assert np.any(flow[name] != gradient_flow(plain, x, dy)[name])
    assert not plain.flat.grads.any(), "the layer's own gradients are left alone"


def test_bad_input() -> None:
    x = np.zeros((T, B, I), np.float32)
    with pytest.raises(ValueError, match="one direction"):
        gradient_flow(LSTM(I, H, bidirectional=True), x)
    with pytest.raises(ValueError, match=r"\(T, B, I\), none 0, got \(0, 3, 4\)"):
        gradient_flow(LSTM(I, H), x[:0])
    with pytest.raises(ValueError, match=r"dy of shape \(T, B, H\) = \(7, 3, 5\)"):
        gradient_flow(LSTM(I, H), x, np.zeros((T, B, H + 1), np.float32))


def test_picture(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("matplotlib", reason="a picture needs the extra [train]")
    x = rng.standard_normal((T, B, I)).astype(np.float32)
    flows = {
        cell: gradient_flow(Recurrent(cell, I, H, layers, rng=rng), x)
        for cell, layers in (("rnn_tanh", 1), ("lstm", 2))
    }
    flows["nothing"] = {"h": np.zeros((1, T + 1))}  # a log scale has no place for it
    for name, trained in (("one", None), ("two", flows)):
        path = tmp_path / f"{name}.png"
        plot_gradient_flow(path, flows, trained=trained, title="flow")
        assert path.read_bytes().startswith(b"\x89PNG")
