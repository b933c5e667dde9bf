"""The cells: one time step of each, and its transpose.

A cell sees its pre-activations in two parts, because the GRU treats them differently:

    a = x_t W_ih^T + b_ih          (B, G*H)    the input part
    r = h_{t-1} W_hh^T + b_hh      (B, G*H)    the recurrent part

and p, arrays (H,) of the parameters that each unit has for itself. Without a recurrent product
r = 0.

To add a cell: write its step and the step's transpose (10-20 lines), then list it in `CELLS`
here or in `_further_cells.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ._types import Array, Saved, States

Units: TypeAlias = tuple[Array, ...]  # (H,) each
Gradients: TypeAlias = tuple[Array, Array, tuple[Array, ...], States]


@dataclass(frozen=True)
class Cell:
    """One recurrent cell.

    `step(a, r, p, states) -> (new states, saved)` applies the gate equations to one time step.
    `step_backward(saved, p, dstates) -> (da, dr, dp, dstates_before)` is its transpose: given
    gradients of the new states it returns those of `a`, of `r`, of each of `p` in every row (B, H),
    and of the states before. The gradient that reaches h_{t-1} through `r` is added by the scan, so
    `dstates_before` leaves it out.

    States are (B, H) each and the first one, h, is the output. Gates lie side by side in the last
    axis of `a` and `r`, in the order of `gates`. Where it `clips`, `step` takes a fifth argument:
    the limit that the new state c is clipped to before anything reads it. Where it has `functions`,
    names of what its gates apply by default, what they apply is the last argument of `step`.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    step: Callable[..., tuple[States, Saved]]
    step_backward: Callable[[Saved, Units, States], Gradients]
    units: tuple[str, ...] = ()
    recurrent: bool = True
    clips: bool = False
    functions: tuple[str, ...] = ()


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), written with exp(-|x|) because that never overflows."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0.0, 1.0, e) / (1.0 + e)


def clip(c: Array, limit: float) -> tuple[Array, Array]:
    """c within -limit .. limit, and where its gradient passes: 1 where c is not beyond, else 0."""
    return np.clip(c, -limit, limit), np.where(np.abs(c) > limit, 0.0, 1.0)


# Elman -------------------------------------------------------------------------------------------
# h = tanh(a + r)   or   h = max(a + r, 0)
# Source: Elman (1990), "Finding structure in time"; torch.nn.RNN.


def _rnn_tanh_step(a: Array, r: Array, p: Units, states: States) -> tuple[States, Saved]:
    h = np.tanh(a + r)
    return (h,), (h,)


def _rnn_tanh_step_backward(saved: Saved, p: Units, dstates: States) -> Gradients:
    (h,), (dh,) = saved, dstates
    da = dh * (1.0 - h * h)
    return da, da, (), (np.zeros_like(dh),)


def _rnn_relu_step(a: Array, r: Array, p: Units, states: States) -> tuple[States, Saved]:
    h = np.maximum(a + r, 0.0)
    return (h,), (h,)


def _rnn_relu_step_backward(saved: Saved, p: Units, dstates: States) -> Gradients:
    (h,), (dh,) = saved, dstates
    da = np.where(h > 0.0, dh, 0.0)  # the derivative at 0 is 0, as in torch
    return da, da, (), (np.zeros_like(dh),)


# LSTM --------------------------------------------------------------------------------------------
# i = sigmoid(a_i + r_i)   f = sigmoid(a_f + r_f)   g = tanh(a_g + r_g)   o = sigmoid(a_o + r_o)
# c = clip(f * c_prev + i * g, limit)
# h = o * tanh(c)
# Source: Hochreiter and Schmidhuber (1997), forget gate of Gers et al. (2000); torch.nn.LSTM.
# The clip is that of Sak, Senior and Beaufays (2014), as cell_clip of TensorFlow's LSTMCell.


def _lstm_step(
    a: Array, r: Array, p: Units, states: States, limit: float = np.inf
) -> tuple[States, Saved]:
    c_prev = states[1]
    pre_i, pre_f, pre_g, pre_o = np.split(a + r, 4, axis=1)
    i, f, g, o = sigmoid(pre_i), sigmoid(pre_f), np.tanh(pre_g), sigmoid(pre_o)
    c, passes = clip(f * c_prev + i * g, limit)
    tanh_c = np.tanh(c)
    return (o * tanh_c, c), (i, f, g, o, c_prev, tanh_c, passes)


def _lstm_step_backward(saved: Saved, p: Units, dstates: States) -> Gradients:
    i, f, g, o, c_prev, tanh_c, passes = saved
    dh, dc = dstates
    do = dh * tanh_c
    dc = (dc + dh * o * (1.0 - tanh_c * tanh_c)) * passes
    di, df, dg = dc * g, dc * c_prev, dc * i
    da = np.concatenate(
        [di * i * (1.0 - i), df * f * (1.0 - f), dg * (1.0 - g * g), do * o * (1.0 - o)], axis=1
    )
    return da, da, (), (np.zeros_like(dh), dc * f)


# GRU, reset-after --------------------------------------------------------------------------------
# r = sigmoid(a_r + r_r)   z = sigmoid(a_z + r_z)
# n = tanh(a_n + r * r_n)
# h = (1 - z) * n + z * h_prev
# Source: Cho et al. (2014), with the reset gate applied after the product (b_hn inside it), as in
# cuDNN and torch.nn.GRU; ONNX calls it linear_before_reset=1.


def _gru_step(a: Array, r: Array, p: Units, states: States) -> tuple[States, Saved]:
    (h_prev,) = states
    a_r, a_z, a_n = np.split(a, 3, axis=1)
    r_r, r_z, r_n = np.split(r, 3, axis=1)
    reset, z = sigmoid(a_r + r_r), sigmoid(a_z + r_z)
    n = np.tanh(a_n + reset * r_n)
    h = (1.0 - z) * n + z * h_prev
    return (h,), (reset, z, n, r_n, h_prev)


def _gru_step_backward(saved: Saved, p: Units, dstates: States) -> Gradients:
    reset, z, n, r_n, h_prev = saved
    (dh,) = dstates
    da_n = dh * (1.0 - z) * (1.0 - n * n)
    da_r = da_n * r_n * reset * (1.0 - reset)
    da_z = dh * (h_prev - n) * z * (1.0 - z)
    da = np.concatenate([da_r, da_z, da_n], axis=1)
    dr = np.concatenate([da_r, da_z, da_n * reset], axis=1)
    return da, dr, (), (dh * z,)


CELLS = (
    Cell("rnn_tanh", ("h",), ("h",), _rnn_tanh_step, _rnn_tanh_step_backward),
    Cell("rnn_relu", ("h",), ("h",), _rnn_relu_step, _rnn_relu_step_backward),
    Cell("lstm", ("i", "f", "g", "o"), ("h", "c"), _lstm_step, _lstm_step_backward, clips=True),
    Cell("gru", ("r", "z", "n"), ("h",), _gru_step, _gru_step_backward),
)
