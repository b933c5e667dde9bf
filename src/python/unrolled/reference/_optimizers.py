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
    clip_value: float = np.inf,
) -> tuple[Array, Array, Array]:
    """One step of Adam, or of AdamW when `decoupled`; returns (params, m, v). Steps start at 1.

        g = clip(grad_scale * grads)  (+ weight_decay * p, when not decoupled)
        m = beta1 m + (1 - beta1) g          v = beta2 v + (1 - beta2) g^2
        p = p (1 - lr weight_decay, when decoupled)
              - lr m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps)

    Source: Kingma and Ba (2015); Loshchilov and Hutter (2019); torch.optim.Adam and AdamW.
    """
    p, g = np.asarray(params, np.float64), _clipped(grads, grad_scale, clip_value)
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
    clip_value: float = np.inf,
) -> tuple[Array, Array]:
    """One step of SGD with momentum; returns (params, velocity), velocity None = zeros.

        g = clip(grad_scale * grads) + weight_decay * p
        velocity = momentum * velocity + g
        p = p - lr * (g + momentum * velocity  if nesterov  else  velocity)

    Source: torch.optim.SGD with dampening 0.
    """
    p = np.asarray(params, np.float64)
    g = _clipped(grads, grad_scale, clip_value) + weight_decay * p
    before = np.zeros_like(p) if velocity is None else np.asarray(velocity, np.float64)
    after = momentum * before + g
    return p - lr * (g + momentum * after if nesterov else after), after


def rmsprop_step(
    params: npt.ArrayLike,
    grads: npt.ArrayLike,
    square: npt.ArrayLike,
    mean: npt.ArrayLike | None,
    velocity: npt.ArrayLike | None,
    *,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    weight_decay: float,
    grad_scale: float = 1.0,
    clip_value: float = np.inf,
) -> tuple[Array, Array, Array | None, Array]:
    """One step of RMSprop; returns (params, square, mean, velocity), velocity None = zeros.

        g = clip(grad_scale * grads) + weight_decay * p
        square = alpha square + (1 - alpha) g^2
        mean = alpha mean + (1 - alpha) g       (centered: where a mean is given)
        velocity = momentum velocity + g / (sqrt(square (- mean^2, centered)) + eps)
        p = p - lr velocity

    Source: Tieleman and Hinton (2012); Graves (2013); torch.optim.RMSprop.
    """
    p = np.asarray(params, np.float64)
    g = _clipped(grads, grad_scale, clip_value) + weight_decay * p
    square = alpha * np.asarray(square, np.float64) + (1.0 - alpha) * g * g
    variance = square
    if mean is not None:
        mean = alpha * np.asarray(mean, np.float64) + (1.0 - alpha) * g
        variance = np.maximum(square - mean * mean, 0.0)
    before = np.zeros_like(p) if velocity is None else np.asarray(velocity, np.float64)
    after = momentum * before + g / (np.sqrt(variance) + eps)
    return p - lr * after, square, mean, after


def _clipped(grads: npt.ArrayLike, scale: float, limit: float) -> Array:
    return np.clip(np.asarray(grads, np.float64) * scale, -limit, limit)
