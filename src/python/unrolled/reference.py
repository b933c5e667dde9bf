"""The specification: every cell, its scan over time and the fused head operations in NumPy.

Everything is computed in float64 with plain loops. Nothing here is fast and nothing is clever: the
compiled kernels must agree with this file, and this file must agree with central differences.

Shapes: T steps, B batch, I input, H hidden, G gates, N rows, V vocabulary.

A cell sees its pre-activations in two parts, because the GRU treats them differently:

    a = x_t W_ih^T + b_ih          (B, G*H)    the input part
    r = h_{t-1} W_hh^T + b_hh      (B, G*H)    the recurrent part

To add a cell: write its step and the step's transpose (10-20 lines), then register it in `CELLS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
States = tuple[Array, ...]
Saved = tuple[Array, ...]
WeightGrads = tuple[Array, Array, Array | None, Array | None]
Pullback = Callable[..., tuple[Array, States, WeightGrads]]


@dataclass(frozen=True)
class Cell:
    """One recurrent cell.

    `step(a, r, states) -> (new states, saved)` applies the gate equations to one time step.
    `step_backward(saved, dstates) -> (da, dr, dstates_before)` is its transpose: given gradients of
    the new states it returns those of `a`, of `r` and of the states before. The gradient that
    reaches h_{t-1} through `r` is added by the scan, so `dstates_before` leaves it out.

    States are (B, H) each and the first one, h, is the output. Gates lie side by side in the last
    axis of `a` and `r`, in the order of `gates`.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    step: Callable[[Array, Array, States], tuple[States, Saved]]
    step_backward: Callable[[Saved, States], tuple[Array, Array, States]]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), written with exp(-|x|) because that never overflows."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0.0, 1.0, e) / (1.0 + e)


# Elman -------------------------------------------------------------------------------------------
# h = tanh(a + r)   or   h = max(a + r, 0)
# Source: Elman (1990), "Finding structure in time"; torch.nn.RNN.


def _rnn_tanh_step(a: Array, r: Array, states: States) -> tuple[States, Saved]:
    h = np.tanh(a + r)
    return (h,), (h,)


def _rnn_tanh_step_backward(saved: Saved, dstates: States) -> tuple[Array, Array, States]:
    (h,), (dh,) = saved, dstates
    da = dh * (1.0 - h * h)
    return da, da, (np.zeros_like(dh),)


def _rnn_relu_step(a: Array, r: Array, states: States) -> tuple[States, Saved]:
    h = np.maximum(a + r, 0.0)
    return (h,), (h,)


def _rnn_relu_step_backward(saved: Saved, dstates: States) -> tuple[Array, Array, States]:
    (h,), (dh,) = saved, dstates
    da = np.where(h > 0.0, dh, 0.0)  # the derivative at 0 is 0, as in torch
    return da, da, (np.zeros_like(dh),)


# LSTM --------------------------------------------------------------------------------------------
# i = sigmoid(a_i + r_i)   f = sigmoid(a_f + r_f)   g = tanh(a_g + r_g)   o = sigmoid(a_o + r_o)
# c = f * c_prev + i * g
# h = o * tanh(c)
# Source: Hochreiter and Schmidhuber (1997), forget gate of Gers et al. (2000); torch.nn.LSTM.


def _lstm_step(a: Array, r: Array, states: States) -> tuple[States, Saved]:
    c_prev = states[1]
    pre_i, pre_f, pre_g, pre_o = np.split(a + r, 4, axis=1)
    i, f, g, o = sigmoid(pre_i), sigmoid(pre_f), np.tanh(pre_g), sigmoid(pre_o)
    c = f * c_prev + i * g
    tanh_c = np.tanh(c)
    return (o * tanh_c, c), (i, f, g, o, c_prev, tanh_c)


def _lstm_step_backward(saved: Saved, dstates: States) -> tuple[Array, Array, States]:
    i, f, g, o, c_prev, tanh_c = saved
    dh, dc = dstates
    do = dh * tanh_c
    dc = dc + dh * o * (1.0 - tanh_c * tanh_c)
    di, df, dg = dc * g, dc * c_prev, dc * i
    da = np.concatenate(
        [di * i * (1.0 - i), df * f * (1.0 - f), dg * (1.0 - g * g), do * o * (1.0 - o)], axis=1
    )
    return da, da, (np.zeros_like(dh), dc * f)


# GRU, reset-after --------------------------------------------------------------------------------
# r = sigmoid(a_r + r_r)   z = sigmoid(a_z + r_z)
# n = tanh(a_n + r * r_n)
# h = (1 - z) * n + z * h_prev
# Source: Cho et al. (2014), with the reset gate applied after the product (b_hn inside it), as in
# cuDNN and torch.nn.GRU; ONNX calls it linear_before_reset=1.


def _gru_step(a: Array, r: Array, states: States) -> tuple[States, Saved]:
    (h_prev,) = states
    a_r, a_z, a_n = np.split(a, 3, axis=1)
    r_r, r_z, r_n = np.split(r, 3, axis=1)
    reset, z = sigmoid(a_r + r_r), sigmoid(a_z + r_z)
    n = np.tanh(a_n + reset * r_n)
    h = (1.0 - z) * n + z * h_prev
    return (h,), (reset, z, n, r_n, h_prev)


def _gru_step_backward(saved: Saved, dstates: States) -> tuple[Array, Array, States]:
    reset, z, n, r_n, h_prev = saved
    (dh,) = dstates
    da_n = dh * (1.0 - z) * (1.0 - n * n)
    da_r = da_n * r_n * reset * (1.0 - reset)
    da_z = dh * (h_prev - n) * z * (1.0 - z)
    da = np.concatenate([da_r, da_z, da_n], axis=1)
    dr = np.concatenate([da_r, da_z, da_n * reset], axis=1)
    return da, dr, (dh * z,)


CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        Cell("rnn_tanh", ("h",), ("h",), _rnn_tanh_step, _rnn_tanh_step_backward),
        Cell("rnn_relu", ("h",), ("h",), _rnn_relu_step, _rnn_relu_step_backward),
        Cell("lstm", ("i", "f", "g", "o"), ("h", "c"), _lstm_step, _lstm_step_backward),
        Cell("gru", ("r", "z", "n"), ("h",), _gru_step, _gru_step_backward),
    )
}


# The scan over time ------------------------------------------------------------------------------


def scan(
    cell: str,
    x: npt.ArrayLike,
    states: tuple[npt.ArrayLike, ...] | None,
    weight_ih: npt.ArrayLike,
    weight_hh: npt.ArrayLike,
    bias_ih: npt.ArrayLike | None = None,
    bias_hh: npt.ArrayLike | None = None,
    *,
    lengths: npt.ArrayLike | None = None,
    resets: npt.ArrayLike | None = None,
    reverse: bool = False,
) -> tuple[Array, States]:
    """Run one direction of one layer over a batch of sequences.

    Shapes:
        x (T, B, I); states (B, H) each, None = zeros; weight_ih (G*H, I); weight_hh (G*H, H);
        biases (G*H,), None = absent; lengths (B,) integers in 0..T; resets (T, B) of bool.

    Args:
        cell: a name in `CELLS`.
        lengths: row b is live at the steps t < lengths[b]; None = all steps. A row keeps its state
            at dead steps, and y is zero there. Values of x at dead steps are never used.
        resets: where true, the states entering step t are set to zero first (in processing order).
        reverse: process t = T-1 .. 0, so that a row starts at its last live step.

    Returns:
        y (T, B, H), where y[t] is h after step t was processed, and the final states (B, H).
    """
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    return scan_vjp(cell, x, states, *weights, lengths=lengths, resets=resets, reverse=reverse)[0]


def scan_vjp(
    cell: str,
    x: npt.ArrayLike,
    states: tuple[npt.ArrayLike, ...] | None,
    weight_ih: npt.ArrayLike,
    weight_hh: npt.ArrayLike,
    bias_ih: npt.ArrayLike | None = None,
    bias_hh: npt.ArrayLike | None = None,
    *,
    lengths: npt.ArrayLike | None = None,
    resets: npt.ArrayLike | None = None,
    reverse: bool = False,
) -> tuple[tuple[Array, States], Pullback]:
    """`scan`, and the function that carries gradients back through it.

    Returns:
        (y, final states), pullback, where `pullback(dy, dstates=None)` takes the gradients of y
        (None = zeros) and of the final states and returns (dx, dstates of the initial states,
        (dweight_ih, dweight_hh, dbias_ih, dbias_hh)); bias gradients are None for absent biases.
        dy at dead steps is ignored and dx is zero there.
    """
    spec = CELLS[cell]
    x = np.asarray(x, np.float64)
    w_ih, w_hh = np.asarray(weight_ih, np.float64), np.asarray(weight_hh, np.float64)
    b_ih = 0.0 if bias_ih is None else np.asarray(bias_ih, np.float64)
    b_hh = 0.0 if bias_hh is None else np.asarray(bias_hh, np.float64)
    steps, batch, _ = x.shape
    shape = (batch, w_hh.shape[1])
    live_until = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    reset = np.zeros((steps, batch), bool) if resets is None else np.asarray(resets, bool)
    order = range(steps - 1, -1, -1) if reverse else range(steps)

    if states is None:
        current = [np.zeros(shape) for _ in spec.states]
    else:
        current = [np.array(s, np.float64) for s in states]
    y = np.zeros((steps, *shape))
    tape: list[tuple[int, Any, Array, Saved]] = []
    for t in order:
        rows = np.flatnonzero(t < live_until)
        cut = reset[t, rows, None]
        before = tuple(np.where(cut, 0.0, s[rows]) for s in current)
        a = x[t, rows] @ w_ih.T + b_ih
        r = before[0] @ w_hh.T + b_hh
        after, saved = spec.step(a, r, before)
        for s, new in zip(current, after, strict=True):
            s[rows] = new
        y[t, rows] = after[0]
        tape.append((t, rows, before[0], saved))
    final = tuple(current)

    def pullback(
        dy: npt.ArrayLike | None, dstates: tuple[npt.ArrayLike, ...] | None = None
    ) -> tuple[Array, States, WeightGrads]:
        dy = np.zeros_like(y) if dy is None else np.asarray(dy, np.float64)
        if dstates is None:
            dcurrent = [np.zeros(shape) for _ in spec.states]
        else:
            dcurrent = [np.array(d, np.float64) for d in dstates]
        dx, dw_ih, dw_hh = np.zeros_like(x), np.zeros_like(w_ih), np.zeros_like(w_hh)
        db_ih, db_hh = np.zeros(w_ih.shape[0]), np.zeros(w_hh.shape[0])
        for t, rows, h_before, saved in reversed(tape):
            cut = reset[t, rows, None]
            dafter = [d[rows] for d in dcurrent]
            dafter[0] = dafter[0] + dy[t, rows]
            da, dr, dbefore = spec.step_backward(saved, tuple(dafter))
            dbefore = (dbefore[0] + dr @ w_hh, *dbefore[1:])
            for d, new in zip(dcurrent, dbefore, strict=True):
                d[rows] = np.where(cut, 0.0, new)
            dx[t, rows] = da @ w_ih
            dw_ih += da.T @ x[t, rows]
            dw_hh += dr.T @ h_before
            db_ih += da.sum(axis=0)
            db_hh += dr.sum(axis=0)
        db_ih_or_none = None if bias_ih is None else db_ih
        db_hh_or_none = None if bias_hh is None else db_hh
        return dx, tuple(dcurrent), (dw_ih, dw_hh, db_ih_or_none, db_hh_or_none)

    return (y, final), pullback


# The head: softmax cross-entropy and sampling ----------------------------------------------------


def log_softmax(logits: npt.ArrayLike) -> Array:
    """log(exp(z_v) / sum_u exp(z_u)) over the last axis, without overflow."""
    z = np.asarray(logits, np.float64)
    z = z - z.max(axis=-1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=-1, keepdims=True)))


def linear_cross_entropy_vjp(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None,
    targets: npt.ArrayLike,
    scale: float = 1.0,
) -> tuple[Array, Array, Array, Array | None]:
    """Losses -log softmax(x W^T + b)[target] and the gradients of scale * sum(losses).

    Shapes:
        x (N, H); weight (V, H); bias (V,) or None; targets (N,) in 0..V-1, or -1 = ignored, which
        gives the loss 0 and no gradient.

    Returns:
        losses (N,) in nats, dx (N, H), dweight (V, H), dbias (V,) or None.
    """
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    targets = np.asarray(targets)
    counted = np.flatnonzero(targets >= 0)
    logits = x[counted] @ weight.T + (0.0 if bias is None else np.asarray(bias, np.float64))
    log_p = log_softmax(logits) if len(counted) else logits
    index = np.arange(len(counted)), targets[counted]
    losses = np.zeros(len(x))
    losses[counted] = -log_p[index]
    dlogits = np.exp(log_p)
    dlogits[index] -= 1.0
    dlogits *= scale
    dx = np.zeros_like(x)
    dx[counted] = dlogits @ weight
    dbias = None if bias is None else dlogits.sum(axis=0)
    return losses, dx, dlogits.T @ x[counted], dbias


def sampling_probabilities(
    logits: npt.ArrayLike, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> Array:
    """The distribution that one row of logits (V,) is sampled from.

    The logits are divided by the temperature (0 = all probability on the largest). Then all but the
    `top_k` largest are dropped (0 = keep all), the rest is normalised, and of these only the
    smallest set of most probable entries whose probabilities sum to at least `top_p` is kept.

    Source: top-p is nucleus sampling, Holtzman et al. (2020).
    """
    z = np.asarray(logits, np.float64)
    if temperature == 0.0:
        return np.asarray(np.arange(len(z)) == z.argmax(), np.float64)
    z = z / temperature
    order = np.argsort(-z, kind="stable")[: top_k or len(z)]
    p = np.exp(log_softmax(z[order]))
    if top_p < 1.0:
        kept = int(np.searchsorted(np.cumsum(p), top_p)) + 1
        order, p = order[:kept], p[:kept]
    result = np.zeros(len(z))
    result[order] = p / p.sum()
    return result


# Optimizer steps ---------------------------------------------------------------------------------


def adam_step(
    params: npt.ArrayLike,
    grads: npt.ArrayLike,
    m: npt.ArrayLike,
    v: npt.ArrayLike,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
    grad_scale: float = 1.0,
) -> tuple[Array, Array, Array]:
    """One step of Adam, or of AdamW when `decoupled`; returns (params, m, v). Steps start at 1.

        g = grad_scale * grads  (+ weight_decay * p, when not decoupled)
        m = beta1 m + (1 - beta1) g          v = beta2 v + (1 - beta2) g^2
        p = p (1 - lr weight_decay, when decoupled)
              - lr m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps)

    Source: Kingma and Ba (2015); Loshchilov and Hutter (2019); torch.optim.Adam and AdamW.
    """
    p, g = np.asarray(params, np.float64), np.asarray(grads, np.float64) * grad_scale
    if decoupled:
        p = p * (1.0 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    m = beta1 * np.asarray(m, np.float64) + (1.0 - beta1) * g
    v = beta2 * np.asarray(v, np.float64) + (1.0 - beta2) * g * g
    m_hat, v_hat = m / (1.0 - beta1**step), v / (1.0 - beta2**step)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def sgd_step(
    params: npt.ArrayLike,
    grads: npt.ArrayLike,
    velocity: npt.ArrayLike | None,
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    grad_scale: float = 1.0,
) -> tuple[Array, Array]:
    """One step of SGD with momentum; returns (params, velocity), velocity None = zeros.

        g = grad_scale * grads + weight_decay * p
        velocity = momentum * velocity + g
        p = p - lr * (g + momentum * velocity  if nesterov  else  velocity)

    Source: torch.optim.SGD with dampening 0.
    """
    p = np.asarray(params, np.float64)
    g = np.asarray(grads, np.float64) * grad_scale + weight_decay * p
    before = np.zeros_like(p) if velocity is None else np.asarray(velocity, np.float64)
    after = momentum * before + g
    return p - lr * (g + momentum * after if nesterov else after), after
