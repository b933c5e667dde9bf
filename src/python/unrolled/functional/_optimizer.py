"""Fused passes of optimizers over flat 1-D arrays (P,).

Every step first multiplies the gradients by `grad_scale` and clamps them to
-clip_value..clip_value.
"""

from __future__ import annotations

import math

from .. import _core
from ._types import Array


def adam_step(
    params: Array,
    grads: Array,
    m: Array,
    v: Array,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
    grad_scale: float = 1.0,
    clip_value: float = math.inf,
) -> None:
    """One step of Adam, or of AdamW with decoupled=True, in place; `step` counts from 1.

    Source: Kingma & Ba 2015, Loshchilov & Hutter 2019; the same arithmetic as torch.optim.
    """
    _core.adam_step(
        params,
        grads,
        m,
        v,
        lr,
        beta1,
        beta2,
        eps,
        weight_decay,
        decoupled,
        step,
        grad_scale,
        clip_value,
    )


def sgd_step(
    params: Array,
    grads: Array,
    velocity: Array | None,
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    grad_scale: float = 1.0,
    clip_value: float = math.inf,
) -> None:
    """One step of SGD in place; velocity may be None without momentum."""
    _core.sgd_step(
        params, grads, velocity, lr, momentum, nesterov, weight_decay, grad_scale, clip_value
    )


def rmsprop_step(
    params: Array,
    grads: Array,
    square: Array,
    mean: Array | None,
    velocity: Array | None,
    *,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    weight_decay: float,
    grad_scale: float = 1.0,
    clip_value: float = math.inf,
) -> None:
    """One step of RMSprop in place; centered where `mean` is given, velocity None = no momentum.

    Source: Tieleman & Hinton 2012, centered as Graves 2013; the same arithmetic as torch.optim.
    """
    _core.rmsprop_step(
        params,
        grads,
        square,
        mean,
        velocity,
        lr,
        alpha,
        eps,
        momentum,
        weight_decay,
        grad_scale,
        clip_value,
    )


def average_step(params: Array, average: Array, weight: float) -> None:
    """average <- average + weight * (params - average), in place."""
    _core.average_step(params, average, weight)


def zero(flat: Array) -> None:
    """Sets a 1-D array to zero, with all threads: one core alone is bound by its stores."""
    _core.zero(flat)


def global_norm(flat: Array) -> float:
    """Euclidean norm of a 1-D array, summed in float64 in one order for any thread count."""
    return _core.global_norm(flat)
