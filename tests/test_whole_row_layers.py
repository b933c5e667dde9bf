"""Layers that need a whole row in a step are what the same equations are in torch, and say what
they take: projection, reset before the product, layer normalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from problems import ragged_lengths
from stacks import as_state, as_tuple, forward_roundings, gradient_roundings
from tolerances import assert_close
from unrolled.layers import GRU, LSTM, Recurrent

torch = pytest.importorskip("torch", reason='torch is not installed: pip install "unrolled[peers]"')

T, B, I, H = 6, 5, 4, 9  # noqa: E741


def norm(v: Any) -> Any:
    return torch.nn.functional.layer_norm(v, v.shape[-1:])


def lstm_norm(w: dict[str, Any], x: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
    h, c = state
    gain_ih, gain_hh, gain_c, shift_c = w["weight_unit"].split([4 * H, 4 * H, H, H])
    of_x, of_h = norm(x @ w["weight_ih"].T) * gain_ih, norm(h @ w["weight_hh"].T) * gain_hh
    i, f, g, o = (of_x + w["bias_ih"] + of_h + w["bias_hh"]).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * (norm(c) * gain_c + shift_c).tanh(), c


def gru_norm(w: dict[str, Any], x: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
    gain_ih, gain_hh = w["weight_unit"].chunk(2)
    x_r, x_z, x_n = (norm(x @ w["weight_ih"].T) * gain_ih + w["bias_ih"]).chunk(3, -1)
    h_r, h_z, h_n = (norm(state[0] @ w["weight_hh"].T) * gain_hh + w["bias_hh"]).chunk(3, -1)
    r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
    n = (x_n + r * h_n).tanh()
    return ((1 - z) * n + z * state[0],)


def gru_reset_before(w: dict[str, Any], x: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
    (h,) = state
    w_r, w_z, w_n = w["weight_hh"].chunk(3)
    x_r, x_z, x_n = (x @ w["weight_ih"].T + w["bias_ih"] + w["bias_hh"]).chunk(3, -1)
    r, z = (x_r + h @ w_r.T).sigmoid(), (x_z + h @ w_z.T).sigmoid()
    n = (x_n + (r * h) @ w_n.T).tanh()
    return ((1 - z) * n + z * h,)


LAYERS: dict[str, tuple[Callable[..., Recurrent[Any]], dict[str, Any], Any]] = {
    "lstm_norm": (LSTM, {"layer_norm": True}, lstm_norm),
    "gru_norm": (GRU, {"layer_norm": True}, gru_norm),
    "gru_reset_before": (GRU, {"reset_after": False}, gru_reset_before),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("bias", [True, False])
def test_layer_equals_the_equations_in_torch(
    name: str, bias: bool, dtype: Any, rng: np.random.Generator
) -> None:
    """Outputs, states and every gradient of two layers, over ragged rows with resets."""
    make, options, step = LAYERS[name]
    layer = make(I, H, 2, bias=bias, **options, dtype=dtype, rng=rng)
    assert layer.cell == name
    for parameter in layer.parameters.values():
        parameter += (0.3 * rng.standard_normal(parameter.shape)).astype(dtype)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    x, dy = draw(T, B, I), draw(T, B, H)
    state, dstate = (as_state(tuple(draw(*shape) for shape in layer._shapes(B))) for _ in range(2))
    lengths, resets = ragged_lengths(rng, T, B), rng.random((T, B)) < 0.2

    w = {key: torch.tensor(p, requires_grad=True) for key, p in layer.parameters.items()}
    x_t = torch.tensor(x, requires_grad=True)
    initial = [torch.tensor(s, requires_grad=True) for s in as_tuple(state)]
    final: list[list[Any]] = []
    y_t = list(x_t)
    for k in range(2):
        none = torch.zeros(layer.parameters["weight_ih_l0"].shape[0], dtype=x_t.dtype)
        own = {key[:-3]: array for key, array in w.items() if key.endswith(f"_l{k}")}
        own = {"bias_ih": none, "bias_hh": none} | own
        current = [s[k] for s in initial]
        for t in range(T):
            live = torch.tensor(t < lengths)[:, None]
            kept = torch.tensor(~resets[t])[:, None]
            entering = [torch.where(live & ~kept, torch.zeros_like(s), s) for s in current]
            after = step(own, y_t[t], tuple(entering))
            current = [torch.where(live, a, s) for a, s in zip(after, current, strict=True)]
            y_t[t] = torch.where(live, after[0], torch.zeros_like(after[0]))
        final.append(current)
    outputs = [torch.stack(y_t), *map(torch.stack, zip(*final, strict=True))]
    given = [dy, *as_tuple(dstate)]
    torch.autograd.backward(outputs, [torch.tensor(d) for d in given])

    (y, last), pullback = layer.vjp(x, state, lengths=lengths, resets=resets)
    dx, dinitial = pullback(dy, dstate)
    forward, backward = 2 * forward_roundings(layer, T), 2 * gradient_roundings(layer, T, B)
    for got, want in zip([y, *as_tuple(last)], outputs, strict=True):
        assert_close(got, want.detach(), K=forward, kind="forward")
    for got, want in zip([dx, *as_tuple(dinitial)], [x_t, *initial], strict=True):
        assert_close(got, want.grad, K=backward, kind="gradient")
    for key, parameter in w.items():
        assert_close(layer.grads[key], parameter.grad, K=backward, kind="gradient", what=key)


def test_a_new_norm_scales_nothing() -> None:
    lstm, gru = LSTM(I, H, layer_norm=True), GRU(I, H, layer_norm=True, init="torch")
    ones, zeros = np.ones(H), np.zeros(H)
    np.testing.assert_array_equal(lstm.parameters["weight_unit_l0"], [*ones.repeat(9), *zeros])
    np.testing.assert_array_equal(gru.parameters["weight_unit_l0"], ones.repeat(6))


def test_the_text_of_a_layer_names_its_options() -> None:
    assert "proj_size=3" in repr(LSTM(I, H, proj_size=3))
    assert "layer_norm=True" in repr(LSTM(I, H, layer_norm=True))
    assert "layer_norm=True" in repr(GRU(I, H, layer_norm=True))
    assert "reset_after=False" in repr(GRU(I, H, reset_after=False))
    assert "proj_size=3" in repr(Recurrent("lstm_projected", I, H, proj_size=3))


@pytest.mark.parametrize("proj_size", [-1, H, H + 1])
def test_a_projection_is_smaller_than_the_layer(proj_size: int) -> None:
    with pytest.raises(ValueError, match=r"\[LSTM\] expected proj_size in 0 .. hidden_size - 1"):
        LSTM(I, H, proj_size=proj_size)


def test_options_that_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="expected proj_size or layer_norm, got both"):
        LSTM(I, H, proj_size=2, layer_norm=True)
    with pytest.raises(ValueError, match="expected reset_after=True with layer_norm"):
        GRU(I, H, reset_after=False, layer_norm=True)
    with pytest.raises(ValueError, match="expected proj_size 0 for the cell gru, got 2"):
        Recurrent("gru", I, H, proj_size=2)


def test_sizes_of_a_projected_stack(rng: np.random.Generator) -> None:
    layer = LSTM(I, H, 2, bidirectional=True, proj_size=3, batch_first=True, rng=rng)
    assert layer.output_size == 6
    assert layer.parameters["weight_ih_l1"].shape == (4 * H, 6)
    assert layer.parameters["weight_hh_l1_reverse"].shape == (4 * H, 3)
    assert layer.parameters["weight_hr_l1_reverse"].shape == (3, H)
    y, (h, c) = layer(rng.standard_normal((B, T, I), np.float32))
    assert (y.shape, h.shape, c.shape) == ((B, T, 6), (4, B, 3), (4, B, H))
    h, c = layer.states(rng.standard_normal((B, T, I), np.float32))
    assert (h.shape, c.shape) == ((4, B, T, 3), (4, B, T, H))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_they_multiply_in_full_precision_only(
    name: str, precision: Any, rng: np.random.Generator
) -> None:
    make, options, _ = LAYERS[name]
    layer = make(I, H, **options, rng=rng)
    with (
        layer.in_precision(precision),
        pytest.raises(ValueError, match=rf"\[{name}\] expected precision full"),
    ):
        layer(np.zeros((T, B, I), np.float32))
