"""Cells that need a whole row inside a step: one time step of each, and its transpose.

They see the input part without its bias, a = x_t W_ih^T (B, G*H), and multiply h by their recurrent
weights themselves: h as products read it, which with dropout is not the state h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from . import _cells
from ._cells import Units, sigmoid
from ._types import Array, Saved, States

Weights: TypeAlias = dict[str, Array]
"""weight_hh, bias_ih, bias_hh (zeros where absent) and weight_hr, by name."""

_LSTM, _GRU = ({cell.name: cell for cell in _cells.CELLS}[name] for name in ("lstm", "gru"))

PhasedGradients: TypeAlias = tuple[Array, tuple[Array, ...], States, Array, Weights]


@dataclass(frozen=True)
class PhasedCell:
    """One recurrent cell.

    `step(a, p, states, h, weights) -> (new states, saved)`, and its transpose
    `step_backward(saved, p, dstates, weights) -> (da, dp, dstates_before, dh, dweights)`: gradients
    of `a`, of each of `p` in every row, of the states before, of the `h` of products, and of what
    it uses of `weights`. Where it `clips`, `step` takes a sixth argument, the limit of the new c.

    See `Cell` for the rest.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    step: Callable[..., tuple[States, Saved]]
    step_backward: Callable[[Saved, Units, States, Weights], PhasedGradients]
    units: tuple[str, ...] = ()
    recurrent: bool = True
    clips: bool = False
    functions: tuple[str, ...] = ()


# Projected LSTM ----------------------------------------------------------------------------------
# (m, c) = LSTM(a, W_hh h_prev + b_hh, c_prev)      h = W_hr m
# Shapes: h (B, R), c (B, H), weight_hh (4*H, R), weight_hr (R, H).
# Source: Sak, Senior and Beaufays (2014), without peepholes; torch.nn.LSTM with proj_size.


def _projected_step(
    a: Array, p: Units, states: States, h: Array, w: Weights, limit: float = np.inf
) -> tuple[States, Saved]:
    _, c_prev = states
    r = h @ w["weight_hh"].T + w["bias_hh"]
    (m, c), saved = _LSTM.step(a + w["bias_ih"], r, (), (c_prev, c_prev), limit)
    return (m @ w["weight_hr"].T, c), (*saved, m, h)


def _projected_step_backward(
    saved: Saved, p: Units, dstates: States, w: Weights
) -> PhasedGradients:
    *of_cell, m, h = saved
    dh, dc = dstates
    dm = dh @ w["weight_hr"]
    da, dr, _, (_, dc_prev) = _LSTM.step_backward(tuple(of_cell), (), (dm, dc))
    return (
        da,
        (),
        (np.zeros_like(dh), dc_prev),
        dr @ w["weight_hh"],
        {
            "weight_hh": dr.T @ h,
            "bias_ih": da.sum(axis=0),
            "bias_hh": dr.sum(axis=0),
            "weight_hr": dh.T @ m,
        },
    )


# GRU, reset-before -------------------------------------------------------------------------------
# r = sigmoid(a_r + W_hr h_prev + b_hr)   z = sigmoid(a_z + W_hz h_prev + b_hz)
# n = tanh(a_n + W_hn (r * h_prev) + b_hn)
# h = (1 - z) * n + z * h_prev
# Source: Cho et al. (2014); Keras's reset_after=False, ONNX's linear_before_reset=0.


def _reset_before_step(
    a: Array, p: Units, states: States, h: Array, w: Weights
) -> tuple[States, Saved]:
    (h_prev,) = states
    w_r, w_z, w_n = np.split(w["weight_hh"], 3)
    a_r, a_z, a_n = np.split(a + w["bias_ih"] + w["bias_hh"], 3, axis=1)
    reset = sigmoid(a_r + h @ w_r.T)
    z = sigmoid(a_z + h @ w_z.T)
    n = np.tanh(a_n + (reset * h) @ w_n.T)
    return ((1.0 - z) * n + z * h_prev,), (reset, z, n, h_prev, h)


def _reset_before_step_backward(
    saved: Saved, p: Units, dstates: States, w: Weights
) -> PhasedGradients:
    reset, z, n, h_prev, h = saved
    (d,) = dstates
    w_r, w_z, w_n = np.split(w["weight_hh"], 3)
    da_n = d * (1.0 - z) * (1.0 - n * n)
    da_z = d * (h_prev - n) * z * (1.0 - z)
    dm = da_n @ w_n
    da_r = dm * h * reset * (1.0 - reset)
    da = np.concatenate([da_r, da_z, da_n], axis=1)
    dh = dm * reset + da_r @ w_r + da_z @ w_z
    dweight = np.concatenate([da_r.T @ h, da_z.T @ h, da_n.T @ (reset * h)])
    dbias = da.sum(axis=0)
    return da, (), (d * z,), dh, {"weight_hh": dweight, "bias_ih": dbias, "bias_hh": dbias}


# Layer normalisation ------------------------------------------------------------------------------
# x = gain_ih * norm(a) + b_ih        r = gain_hh * norm(W_hh h_prev) + b_hh       over all gates
# norm(v) = (v - mean(v)) / sqrt(var(v) + 1e-5), of a row
# LSTM: i f g o and c of z = x + r as ever;   h = o * tanh(gain_c * norm(c) + shift_c)
# GRU: reset-after, of x and r.
# Source: Ba, Kiros and Hinton (2016), whose shifts are the biases here; in the GRU they normalise
# r and z apart from n.


def _norm(v: Array) -> tuple[Array, Array]:
    """norm(v) and the standard deviations that it divided by."""
    away = v - v.mean(axis=1, keepdims=True)
    deviation = np.sqrt((away * away).mean(axis=1, keepdims=True) + 1e-5)
    return away / deviation, deviation


def _norm_backward(d: Array, hat: Array, deviation: Array) -> Array:
    """The gradient of v, given that of hat = norm(v)."""
    means = d.mean(axis=1, keepdims=True) + hat * (d * hat).mean(axis=1, keepdims=True)
    return np.asarray((d - means) / deviation)


def _norm_parts(a: Array, h: Array, p: Units, w: Weights) -> tuple[Array, Array, Saved]:
    gates = a.shape[1] // len(p[0])
    gain_ih, gain_hh = np.concatenate(p[:gates]), np.concatenate(p[gates : 2 * gates])
    x_hat, x_deviation = _norm(a)
    r_hat, r_deviation = _norm(h @ w["weight_hh"].T)
    x, r = gain_ih * x_hat + w["bias_ih"], gain_hh * r_hat + w["bias_hh"]
    return x, r, (x_hat, x_deviation, r_hat, r_deviation, h)


def _norm_parts_backward(
    saved: Saved, dx: Array, dr: Array, p: Units, w: Weights
) -> tuple[Array, tuple[Array, ...], Array, Weights]:
    """Gradients of a, of the gains, of the h of the product, and of the weights."""
    x_hat, x_deviation, r_hat, r_deviation, h = saved
    gates = dx.shape[1] // len(p[0])
    gain_ih, gain_hh = np.concatenate(p[:gates]), np.concatenate(p[gates : 2 * gates])
    da = _norm_backward(gain_ih * dx, x_hat, x_deviation)
    du = _norm_backward(gain_hh * dr, r_hat, r_deviation)
    dp = (*np.split(dx * x_hat, gates, axis=1), *np.split(dr * r_hat, gates, axis=1))
    dweights = {
        "weight_hh": du.T @ h,
        "bias_ih": dx.sum(axis=0),
        "bias_hh": dr.sum(axis=0),
    }
    return da, dp, du @ w["weight_hh"], dweights


def _lstm_norm_step(
    a: Array, p: Units, states: States, h: Array, w: Weights, limit: float = np.inf
) -> tuple[States, Saved]:
    x, r, parts = _norm_parts(a, h, p, w)
    (_, c), gates = _LSTM.step(x, r, (), states, limit)
    c_hat, deviation = _norm(c)
    gain_c, shift_c = p[8:]
    tanh_n = np.tanh(gain_c * c_hat + shift_c)
    return (gates[3] * tanh_n, c), (*parts, *gates, c_hat, deviation, tanh_n)


def _lstm_norm_step_backward(
    saved: Saved, p: Units, dstates: States, w: Weights
) -> PhasedGradients:
    parts, (i, f, g, o, c_prev, _, passes, c_hat, deviation, tanh_n) = saved[:5], saved[5:]
    dh, dc = dstates
    dn = dh * o * (1.0 - tanh_n * tanh_n)
    dc = (dc + _norm_backward(p[8] * dn, c_hat, deviation)) * passes
    gates = (dc * g * i * (1.0 - i), dc * c_prev * f * (1.0 - f), dc * i * (1.0 - g * g))
    dz = np.concatenate([*gates, dh * tanh_n * o * (1.0 - o)], axis=1)
    da, dp, dh_prev, dweights = _norm_parts_backward(parts, dz, dz, p, w)
    return da, (*dp, dn * c_hat, dn), (np.zeros_like(dh), dc * f), dh_prev, dweights


def _gru_norm_step(
    a: Array, p: Units, states: States, h: Array, w: Weights
) -> tuple[States, Saved]:
    x, r, parts = _norm_parts(a, h, p, w)
    after, of_cell = _GRU.step(x, r, (), states)
    return after, (*parts, *of_cell)


def _gru_norm_step_backward(saved: Saved, p: Units, dstates: States, w: Weights) -> PhasedGradients:
    dx, dr, _, direct = _GRU.step_backward(saved[5:], (), dstates)
    da, dp, dh, dweights = _norm_parts_backward(saved[:5], dx, dr, p, w)
    return da, dp, direct, dh, dweights


def _gains(gates: str) -> tuple[str, ...]:
    return tuple(f"gain_{part}_{gate}" for part in ("ih", "hh") for gate in gates)


CELLS = (
    PhasedCell(
        "gru_reset_before",
        ("r", "z", "n"),
        ("h",),
        _reset_before_step,
        _reset_before_step_backward,
    ),
    PhasedCell(
        "lstm_projected",
        ("i", "f", "g", "o"),
        ("h", "c"),
        _projected_step,
        _projected_step_backward,
        clips=True,
    ),
    PhasedCell(
        "lstm_norm",
        ("i", "f", "g", "o"),
        ("h", "c"),
        _lstm_norm_step,
        _lstm_norm_step_backward,
        (*_gains("ifgo"), "gain_c", "shift_c"),
        clips=True,
    ),
    PhasedCell(
        "gru_norm",
        ("r", "z", "n"),
        ("h",),
        _gru_norm_step,
        _gru_norm_step_backward,
        _gains("rzn"),
    ),
)
