"""Optimizer steps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._types import Array


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
