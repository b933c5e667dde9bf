"""Fused optimizer steps over flat 1-D arrays."""

from __future__ import annotations

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
) -> None:
    """One step of Adam, or of AdamW with decoupled=True, in place on 1-D arrays (P,).

    `step` counts from 1; grads are multiplied by grad_scale first. Source: Kingma & Ba 2015,
    Loshchilov & Hutter 2019; the same arithmetic as torch.optim.
    """
    _core.adam_step(
        params, grads, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, step, grad_scale
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
) -> None:
    """One step of SGD in place on 1-D arrays (P,); velocity may be None without momentum."""
    _core.sgd_step(params, grads, velocity, lr, momentum, nesterov, weight_decay, grad_scale)


def zero(flat: Array) -> None:
    """Sets a 1-D array to zero, with all threads: one core alone is bound by its stores."""
    _core.zero(flat)


def global_norm(flat: Array) -> float:
    """Euclidean norm of a 1-D array, summed in float64 in one order for any thread count."""
    return _core.global_norm(flat)
