"""The head: softmax cross-entropy and sampling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._operands import OPERANDS
from ._types import Array


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
    *,
    smoothing: float = 0.0,
    precision: str = "full",
) -> tuple[Array, Array, Array, Array | None]:
    """Losses -log softmax(x W^T + b)[target] and the gradients of scale * sum(losses).

    With smoothing s the target is the distribution (1 - s) onehot + s / V. In precision "bf16" both
    factors of each of the three products are rounded.

    Shapes:
        x (N, H); weight (V, H); bias (V,) or None; targets (N,) in 0..V-1, or -1 = ignored, which
        gives the loss 0 and no gradient.

    Returns:
        losses (N,) in nats, dx (N, H), dweight (V, H), dbias (V,) or None.
    """
    rounded = OPERANDS[precision]
    x, weight = (rounded(np.asarray(a, np.float64)) for a in (x, weight))
    targets = np.asarray(targets)
    counted = np.flatnonzero(targets >= 0)
    logits = x[counted] @ weight.T + (0.0 if bias is None else np.asarray(bias, np.float64))
    log_p = log_softmax(logits) if len(counted) else logits
    index = np.arange(len(counted)), targets[counted]
    wanted = np.full_like(log_p, smoothing / len(weight))
    wanted[index] += 1.0 - smoothing
    losses = np.zeros(len(x))
    losses[counted] = -log_p[index]
    if smoothing:
        losses[counted] = -(wanted * log_p).sum(axis=1)
    dlogits = (np.exp(log_p) - wanted) * scale
    dbias = None if bias is None else dlogits.sum(axis=0)
    dlogits = rounded(dlogits)
    dx = np.zeros_like(x)
    dx[counted] = dlogits @ weight
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
