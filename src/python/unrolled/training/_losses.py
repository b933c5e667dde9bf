"""Losses on plain arrays, for heads that are small enough not to need the fused kernel.

A head over a large vocabulary takes `unrolled.functional.linear_cross_entropy` instead, which
never holds all logits.
"""

from collections.abc import Callable

import numpy as np

from ..functional import log_softmax
from ..layers._place import move, place_of
from ._types import Array


def cross_entropy_vjp(
    logits: Array, targets: Array
) -> tuple[tuple[float, int], Callable[[float], Array]]:
    """Returns the mean cross-entropy in nats over the targets that count, and its pullback.

    loss = -mean_n log softmax(logits_n)[targets_n]

    Shapes: logits (N, V); targets (N,) integers, -1 = does not count.

    Returns:
        (loss, count): the mean and how many targets it was taken over (0 gives loss 0).
        pullback: dloss -> dlogits (N, V).

    Raises:
        ValueError: a shape does not fit or a target is outside -1..V-1.
    """
    if logits.ndim != 2 or targets.shape != logits.shape[:1]:
        raise ValueError(
            "[cross_entropy] expected logits of shape (N, V) and targets of shape (N,), "
            f"got {logits.shape} and {targets.shape}"
        )
    vocabulary = logits.shape[1]
    if targets.size and not (targets.min() >= -1 and targets.max() < vocabulary):
        raise ValueError(
            f"[cross_entropy] expected targets in -1..{vocabulary - 1}, "
            f"got {targets.min()}..{targets.max()}"
        )
    place, logits = place_of(logits), move(logits, "cpu")  # a few numbers beside what made them
    rows = np.flatnonzero(targets >= 0)
    chosen = targets[rows]
    logs = log_softmax(logits[rows])
    count = rows.size
    loss = -float(logs[np.arange(count), chosen].mean(dtype=np.float64)) if count else 0.0

    def pullback(dloss: float) -> Array:
        dlogits = np.zeros_like(logits)
        if count:
            part = np.exp(logs)
            part[np.arange(count), chosen] -= 1.0
            dlogits[rows] = part * logits.dtype.type(dloss / count)
        return move(dlogits, place)

    return (loss, count), pullback


def mse_vjp(outputs: Array, targets: Array) -> tuple[tuple[float, int], Callable[[float], Array]]:
    """Returns the mean squared error and its pullback.

    loss = mean_n (outputs_n - targets_n)^2

    Shapes: outputs and targets (...), alike.

    Returns:
        (loss, count): the mean and how many numbers it was taken over (0 gives loss 0).
        pullback: dloss -> doutputs (...).

    Raises:
        ValueError: the shapes differ.
    """
    if outputs.shape != targets.shape:
        raise ValueError(
            f"[mse] expected targets of the outputs' shape {outputs.shape}, got {targets.shape}"
        )
    place = place_of(outputs)
    error = move(outputs, "cpu") - move(targets, "cpu")
    count = error.size
    loss = float(np.square(error).mean(dtype=np.float64)) if count else 0.0

    def pullback(dloss: float) -> Array:
        doutputs: Array = error * error.dtype.type(2.0 * dloss / max(count, 1))
        return move(doutputs, place)

    return (loss, count), pullback
