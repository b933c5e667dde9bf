"""The passes of `unrolled.functional` for optimizers over flat arrays (P,) of a CUDA device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._arrays import array_module, to_host
from ._library import require
from ._views import Views


def adam_step(
    params: Any,
    grads: Any,
    m: Any,
    v: Any,
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
    """`functional.adam_step`."""
    views = _views("adam_step", params)
    from .. import _cuda

    _cuda.adam_step(
        views.of("params", params),
        views.of("grads", grads),
        views.of("m", m),
        views.of("v", v),
        lr,
        beta1,
        beta2,
        eps,
        weight_decay,
        decoupled,
        step,
        grad_scale,
        clip_value,
        views.stream,
    )


def sgd_step(
    params: Any,
    grads: Any,
    velocity: Any | None,
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    grad_scale: float = 1.0,
    clip_value: float = math.inf,
) -> None:
    """`functional.sgd_step`."""
    views = _views("sgd_step", params)
    from .. import _cuda

    _cuda.sgd_step(
        views.of("params", params),
        views.of("grads", grads),
        views.of_some("velocity", velocity),
        lr,
        momentum,
        nesterov,
        weight_decay,
        grad_scale,
        clip_value,
        views.stream,
    )


def rmsprop_step(
    params: Any,
    grads: Any,
    square: Any,
    mean: Any | None,
    velocity: Any | None,
    *,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    weight_decay: float,
    grad_scale: float = 1.0,
    clip_value: float = math.inf,
) -> None:
    """`functional.rmsprop_step`."""
    views = _views("rmsprop_step", params)
    from .. import _cuda

    _cuda.rmsprop_step(
        views.of("params", params),
        views.of("grads", grads),
        views.of("square", square),
        views.of_some("mean", mean),
        views.of_some("velocity", velocity),
        lr,
        alpha,
        eps,
        momentum,
        weight_decay,
        grad_scale,
        clip_value,
        views.stream,
    )


def average_step(params: Any, average: Any, weight: float) -> None:
    """average <- average + weight * (params - average), in place."""
    views = _views("average_step", params)
    from .. import _cuda

    _cuda.average_step(
        views.of("params", params), views.of("average", average), weight, views.stream
    )


def global_norm(flat: Any) -> float:
    """Euclidean norm of a 1-D array, summed in float64 in one order. The device is waited for."""
    views = _views("global_norm", flat)
    from .. import _cuda

    given = views.of("flat", flat)
    sums = array_module("global_norm", flat).empty((_cuda.square_sum_count(given),), np.float64)
    _cuda.square_sums(given, views.of("sums", sums), views.stream)
    return math.sqrt(to_host(sums).sum())


def _views(where: str, array: Any) -> Views:
    require()
    return Views(where, array_module(where, array).stream)
