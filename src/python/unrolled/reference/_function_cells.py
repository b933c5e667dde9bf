"""Cells whose gates have functions that are chosen: one time step of each, and its transpose.

What is chosen is an object with `functions`, each with `name`, `alpha` and `beta`, a `clip` (None:
none) of what gates read, and `coupled`; it follows the other arguments of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ._cells import Cell, Gradients, Units, clip, sigmoid
from ._phased import PhasedCell, PhasedGradients, Weights
from ._types import Array, Saved, States

_Pair: TypeAlias = tuple[Array, Array]


@dataclass(frozen=True)
class Function:
    """A function by name, with its parameters; None: it has none."""

    name: str
    alpha: float | None = None
    beta: float | None = None


@dataclass(frozen=True)
class Gates:
    """What is chosen where nothing is."""

    functions: Sequence[Function]
    clip: float | None = None
    coupled: bool = False


# f(x) and f'(x). Source: ONNX's operators RNN, GRU and LSTM.
FUNCTIONS: Mapping[str, Callable[[Array, float, float], _Pair]] = {
    "sigmoid": lambda x, a, b: (sigmoid(x), sigmoid(x) * sigmoid(-x)),
    "tanh": lambda x, a, b: (np.tanh(x), 1.0 - np.tanh(x) ** 2),
    "relu": lambda x, a, b: (np.maximum(x, 0.0), np.where(x > 0.0, 1.0, 0.0)),
    "affine": lambda x, a, b: (a * x + b, np.full_like(x, a)),
    "leaky_relu": lambda x, a, b: (np.where(x > 0.0, x, a * x), np.where(x > 0.0, 1.0, a)),
    "thresholded_relu": lambda x, a, b: (np.where(x < a, 0.0, x), np.where(x < a, 0.0, 1.0)),
    "scaled_tanh": lambda x, a, b: (a * np.tanh(b * x), a * b * (1.0 - np.tanh(b * x) ** 2)),
    "hard_sigmoid": lambda x, a, b: (
        np.clip(a * x + b, 0.0, 1.0),
        np.where((a * x + b > 0.0) & (a * x + b < 1.0), a, 0.0),
    ),
    "elu": lambda x, a, b: (
        np.where(x > 0.0, x, a * np.expm1(np.minimum(x, 0.0))),
        np.where(x > 0.0, 1.0, a * np.exp(np.minimum(x, 0.0))),
    ),
    "softsign": lambda x, a, b: (x / (1.0 + np.abs(x)), (1.0 + np.abs(x)) ** -2.0),
    "softplus": lambda x, a, b: (np.logaddexp(x, 0.0), sigmoid(x)),
}


def _apply(function: Function, x: Array) -> _Pair:
    return FUNCTIONS[function.name](x, function.alpha or 0.0, function.beta or 0.0)


def _gate(gates: Gates, k: int, z: Array) -> _Pair:
    """Function k at z, cut to the clip, and its slope there."""
    read, passes = clip(z, np.inf if gates.clip is None else gates.clip)
    y, slope = _apply(gates.functions[k], read)
    return y, slope * passes


# h = F(a + r) -------------------------------------------------------------------------------------


def _rnn_step(a: Array, r: Array, p: Units, states: States, gates: Gates) -> tuple[States, Saved]:
    h, slope = _gate(gates, 0, a + r)
    return (h,), (slope,)


def _rnn_step_backward(saved: Saved, p: Units, dstates: States) -> Gradients:
    da = dstates[0] * saved[0]
    return da, da, (), (np.zeros_like(da),)


# LSTM ---------------------------------------------------------------------------------------------
# i = F(z_i + p_i * c_prev)   f = F(z_f + p_f * c_prev), or 1 - i where coupled   g = G(z_g)
# c = clip(f * c_prev + i * g, limit)   o = F(z_o + p_o * c)   h = o * H(c),   z = a + r


def _lstm_step(
    a: Array, r: Array, p: Units, states: States, limit: float, gates: Gates
) -> tuple[States, Saved]:
    c_prev = states[1]
    z_i, z_f, z_g, z_o = np.split(a + r, 4, axis=1)
    i, slope_i = _gate(gates, 0, z_i + p[0] * c_prev)
    f, slope_f = _gate(gates, 0, z_f + p[1] * c_prev)
    # The gradient of i, too, where f is 1 - i.
    through = -1.0 if gates.coupled else 0.0
    if gates.coupled:
        f, slope_f = 1.0 - i, np.zeros_like(i)
    g, slope_g = _gate(gates, 1, z_g)
    c, passes = clip(f * c_prev + i * g, limit)
    o, slope_o = _gate(gates, 0, z_o + p[2] * c)
    read, slope_h = _apply(gates.functions[2], c)
    slopes = (slope_i, slope_f, slope_g, slope_o, slope_h)
    kept = (i, f, g, o, c_prev, c, read, passes, np.full_like(i, through))
    return (o * read, c), (*slopes, *kept)


def _lstm_step_backward(saved: Saved, p: Units, dstates: States) -> Gradients:
    slope_i, slope_f, slope_g, slope_o, slope_h, i, f, g, o, c_prev, c, read, passes, through = (
        saved
    )
    dh, dc = dstates
    da_o = dh * read * slope_o
    dc = (dc + dh * o * slope_h + da_o * p[2]) * passes
    df = dc * c_prev
    da_i, da_f = (dc * g + through * df) * slope_i, df * slope_f
    da = np.concatenate([da_i, da_f, dc * i * slope_g, da_o], axis=1)
    dc_prev = dc * f + da_i * p[0] + da_f * p[1]
    return da, da, (da_i * c_prev, da_f * c_prev, da_o * c), (np.zeros_like(dh), dc_prev)


# GRU ----------------------------------------------------------------------------------------------
# r = F(a_r + r_r)   z = F(a_z + r_z)   h = (1 - z) * n + z * h_prev
# n = G(a_n + r * r_n), or with the reset gate before the product n = G(a_n + W_hn (r * h_prev))


def _gru_step(a: Array, r: Array, p: Units, states: States, gates: Gates) -> tuple[States, Saved]:
    (h_prev,) = states
    a_r, a_z, a_n = np.split(a, 3, axis=1)
    r_r, r_z, r_n = np.split(r, 3, axis=1)
    reset, slope_r = _gate(gates, 0, a_r + r_r)
    z, slope_z = _gate(gates, 0, a_z + r_z)
    n, slope_n = _gate(gates, 1, a_n + reset * r_n)
    h = (1.0 - z) * n + z * h_prev
    return (h,), (reset, slope_r, z, slope_z, n, slope_n, r_n, h_prev)


def _gru_step_backward(saved: Saved, p: Units, dstates: States) -> Gradients:
    reset, slope_r, z, slope_z, n, slope_n, r_n, h_prev = saved
    (dh,) = dstates
    da_n = dh * (1.0 - z) * slope_n
    da_r, da_z = da_n * r_n * slope_r, dh * (h_prev - n) * slope_z
    da = np.concatenate([da_r, da_z, da_n], axis=1)
    dr = np.concatenate([da_r, da_z, da_n * reset], axis=1)
    return da, dr, (), (dh * z,)


def _reset_before_step(
    a: Array, p: Units, states: States, h: Array, w: Weights, gates: Gates
) -> tuple[States, Saved]:
    (h_prev,) = states
    w_r, w_z, w_n = np.split(w["weight_hh"], 3)
    a_r, a_z, a_n = np.split(a + w["bias_ih"] + w["bias_hh"], 3, axis=1)
    reset, slope_r = _gate(gates, 0, a_r + h @ w_r.T)
    z, slope_z = _gate(gates, 0, a_z + h @ w_z.T)
    n, slope_n = _gate(gates, 1, a_n + (reset * h) @ w_n.T)
    return ((1.0 - z) * n + z * h_prev,), (reset, slope_r, z, slope_z, n, slope_n, h_prev, h)


def _reset_before_step_backward(
    saved: Saved, p: Units, dstates: States, w: Weights
) -> PhasedGradients:
    reset, slope_r, z, slope_z, n, slope_n, h_prev, h = saved
    (d,) = dstates
    w_r, w_z, w_n = np.split(w["weight_hh"], 3)
    da_n, da_z = d * (1.0 - z) * slope_n, d * (h_prev - n) * slope_z
    dm = da_n @ w_n
    da_r = dm * h * slope_r
    da = np.concatenate([da_r, da_z, da_n], axis=1)
    dh = dm * reset + da_r @ w_r + da_z @ w_z
    dweight = np.concatenate([da_r.T @ h, da_z.T @ h, da_n.T @ (reset * h)])
    dbias = da.sum(axis=0)
    return da, (), (d * z,), dh, {"weight_hh": dweight, "bias_ih": dbias, "bias_hh": dbias}


CELLS = (
    Cell("rnn_functions", ("h",), ("h",), _rnn_step, _rnn_step_backward, functions=("tanh",)),
    Cell(
        "lstm_functions",
        ("i", "f", "g", "o"),
        ("h", "c"),
        _lstm_step,
        _lstm_step_backward,
        ("i", "f", "o"),
        clips=True,
        functions=("sigmoid", "tanh", "tanh"),
    ),
    Cell(
        "gru_functions",
        ("r", "z", "n"),
        ("h",),
        _gru_step,
        _gru_step_backward,
        functions=("sigmoid", "tanh"),
    ),
    PhasedCell(
        "gru_reset_before_functions",
        ("r", "z", "n"),
        ("h",),
        _reset_before_step,
        _reset_before_step_backward,
        functions=("sigmoid", "tanh"),
    ),
)
