"""The cells beyond RNN, LSTM and GRU; see `_cells.py` for what a cell is."""

from __future__ import annotations

import numpy as np

from ._cells import Cell, Gradients, Units, clip, sigmoid
from ._types import Array, Saved, States

# LSTM with peepholes -----------------------------------------------------------------------------
# i = sigmoid(a_i + r_i + p_i * c_prev)   f = sigmoid(a_f + r_f + p_f * c_prev)
# g = tanh(a_g + r_g)   c = clip(f * c_prev + i * g, limit)   o = sigmoid(a_o + r_o + p_o * c)
# h = o * tanh(c)
# Source: Gers and Schmidhuber (2000), "Recurrent nets that time and count"; ONNX's LSTM with P.


def _lstm_peephole_step(
    a: Array, r: Array, p: Units, states: States, limit: float = np.inf
) -> tuple[States, Saved]:
    c_prev = states[1]
    pre_i, pre_f, pre_g, pre_o = np.split(a + r, 4, axis=1)
    i, f = sigmoid(pre_i + p[0] * c_prev), sigmoid(pre_f + p[1] * c_prev)
    g = np.tanh(pre_g)
    c, passes = clip(f * c_prev + i * g, limit)
    o = sigmoid(pre_o + p[2] * c)
    return (o * np.tanh(c), c), (i, f, g, o, c_prev, c, passes)


def _lstm_peephole_step_backward(saved: Saved, p: Units, dstates: States) -> Gradients:
    i, f, g, o, c_prev, c, passes = saved
    dh, dc = dstates
    tanh_c = np.tanh(c)
    da_o = dh * tanh_c * o * (1.0 - o)
    dc = (dc + dh * o * (1.0 - tanh_c * tanh_c) + da_o * p[2]) * passes
    da_i, da_f = dc * g * i * (1.0 - i), dc * c_prev * f * (1.0 - f)
    da = np.concatenate([da_i, da_f, dc * i * (1.0 - g * g), da_o], axis=1)
    dc_prev = dc * f + da_i * p[0] + da_f * p[1]
    return da, da, (da_i * c_prev, da_f * c_prev, da_o * c), (np.zeros_like(dh), dc_prev)


# LSTM with a coupled input gate ------------------------------------------------------------------
# f = sigmoid(a_f + r_f)   g = tanh(a_g + r_g)   o = sigmoid(a_o + r_o)
# c = clip(f * c_prev + (1 - f) * g, limit)
# h = o * tanh(c)
# Source: CIFG of Greff et al. (2017), "LSTM: a search space odyssey".


def _lstm_coupled_step(
    a: Array, r: Array, p: Units, states: States, limit: float = np.inf
) -> tuple[States, Saved]:
    c_prev = states[1]
    pre_f, pre_g, pre_o = np.split(a + r, 3, axis=1)
    f, g, o = sigmoid(pre_f), np.tanh(pre_g), sigmoid(pre_o)
    c, passes = clip(f * c_prev + (1.0 - f) * g, limit)
    tanh_c = np.tanh(c)
    return (o * tanh_c, c), (f, g, o, c_prev, tanh_c, passes)


def _lstm_coupled_step_backward(saved: Saved, p: Units, dstates: States) -> Gradients:
    f, g, o, c_prev, tanh_c, passes = saved
    dh, dc = dstates
    dc = (dc + dh * o * (1.0 - tanh_c * tanh_c)) * passes
    df, dg, do = dc * (c_prev - g), dc * (1.0 - f), dh * tanh_c
    da = np.concatenate([df * f * (1.0 - f), dg * (1.0 - g * g), do * o * (1.0 - o)], axis=1)
    return da, da, (), (np.zeros_like(dh), dc * f)


# Minimal gated unit ------------------------------------------------------------------------------
# z = sigmoid(a_z + r_z)   n = tanh(a_n + z * r_n)
# h = (1 - z) * h_prev + z * n
# Source: Zhou et al. (2016), with their f, here z, after the product.


def _mgu_step(a: Array, r: Array, p: Units, states: States) -> tuple[States, Saved]:
    (h_prev,) = states
    a_z, a_n = np.split(a, 2, axis=1)
    r_z, r_n = np.split(r, 2, axis=1)
    z = sigmoid(a_z + r_z)
    n = np.tanh(a_n + z * r_n)
    return ((1.0 - z) * h_prev + z * n,), (z, n, r_n, h_prev)


def _mgu_step_backward(saved: Saved, p: Units, dstates: States) -> Gradients:
    z, n, r_n, h_prev = saved
    (dh,) = dstates
    da_n = dh * z * (1.0 - n * n)
    da_z = (dh * (n - h_prev) + da_n * r_n) * z * (1.0 - z)
    da = np.concatenate([da_z, da_n], axis=1)
    dr = np.concatenate([da_z, da_n * z], axis=1)
    return da, dr, (), (dh * (1.0 - z),)


# minGRU ------------------------------------------------------------------------------------------
# z = sigmoid(a_z)   h = (1 - z) * h_prev + z * a_n
# Source: Feng et al. (2024), "Were RNNs all we needed?".


def _min_gru_step(a: Array, r: Array, p: Units, states: States) -> tuple[States, Saved]:
    (h_prev,) = states
    a_z, n = np.split(a, 2, axis=1)
    z = sigmoid(a_z)
    return ((1.0 - z) * h_prev + z * n,), (z, n, h_prev)


def _min_gru_step_backward(saved: Saved, p: Units, dstates: States) -> Gradients:
    z, n, h_prev = saved
    (dh,) = dstates
    da = np.concatenate([dh * (n - h_prev) * z * (1.0 - z), dh * z], axis=1)
    return da, np.zeros_like(da), (), (dh * (1.0 - z),)


# IndRNN ------------------------------------------------------------------------------------------
# h = max(a + u * h_prev, 0)
# Source: Li et al. (2018), "Independently recurrent neural network (IndRNN)".


def _indrnn_step(a: Array, r: Array, p: Units, states: States) -> tuple[States, Saved]:
    (h_prev,) = states
    h = np.maximum(a + p[0] * h_prev, 0.0)
    return (h,), (h, h_prev)


def _indrnn_step_backward(saved: Saved, p: Units, dstates: States) -> Gradients:
    h, h_prev = saved
    (dh,) = dstates
    da = np.where(h > 0.0, dh, 0.0)
    return da, np.zeros_like(da), (da * h_prev,), (da * p[0],)


# sLSTM -------------------------------------------------------------------------------------------
# l = log sigmoid(a_f + r_f) + m_prev   m = max(l, a_i + r_i)
# i = exp(a_i + r_i - m)   f = exp(l - m)   z = tanh(a_z + r_z)   o = sigmoid(a_o + r_o)
# c = f * c_prev + i * z   n = f * n_prev + i   h = o * c / n
# Source: Beck et al. (2024), "xLSTM", with the sigmoid forget gate.


def _slstm_step(a: Array, r: Array, p: Units, states: States) -> tuple[States, Saved]:
    _, c_prev, n_prev, m_prev = states
    pre_i, pre_f, pre_z, pre_o = np.split(a + r, 4, axis=1)
    log_f = -np.logaddexp(0.0, -pre_f) + m_prev
    m, of_f = np.maximum(log_f, pre_i), np.where(log_f > pre_i, 1.0, 0.0)
    i, f = np.exp(pre_i - m), np.exp(log_f - m)
    z, o = np.tanh(pre_z), sigmoid(pre_o)
    c, n = f * c_prev + i * z, f * n_prev + i
    return (o * (c / n), c, n, m), (i, f, z, o, sigmoid(pre_f), c, n, c_prev, n_prev, of_f)


def _slstm_step_backward(saved: Saved, p: Units, dstates: States) -> Gradients:
    i, f, z, o, s, c, n, c_prev, n_prev, of_f = saved
    dh, dc, dn, dm = dstates
    do = dh * c / n
    dc, dn = dc + dh * o / n, dn - dh * o * c / (n * n)
    di, df = (dc * z + dn) * i, (dc * c_prev + dn * n_prev) * f
    dm = dm - di - df
    dlog_f = df + of_f * dm
    da = np.concatenate(
        [
            di + (1.0 - of_f) * dm,
            dlog_f * (1.0 - s),
            dc * i * (1.0 - z * z),
            do * o * (1.0 - o),
        ],
        axis=1,
    )
    return da, da, (), (np.zeros_like(dh), dc * f, dn * f, dlog_f)


CELLS = (
    Cell(
        "lstm_peephole",
        ("i", "f", "g", "o"),
        ("h", "c"),
        _lstm_peephole_step,
        _lstm_peephole_step_backward,
        units=("i", "f", "o"),
        clips=True,
    ),
    Cell(
        "lstm_coupled",
        ("f", "g", "o"),
        ("h", "c"),
        _lstm_coupled_step,
        _lstm_coupled_step_backward,
        clips=True,
    ),
    Cell("mgu", ("z", "n"), ("h",), _mgu_step, _mgu_step_backward),
    Cell("min_gru", ("z", "n"), ("h",), _min_gru_step, _min_gru_step_backward, recurrent=False),
    Cell(
        "indrnn",
        ("h",),
        ("h",),
        _indrnn_step,
        _indrnn_step_backward,
        units=("u",),
        recurrent=False,
    ),
    Cell("slstm", ("i", "f", "z", "o"), ("h", "c", "n", "m"), _slstm_step, _slstm_step_backward),
)
