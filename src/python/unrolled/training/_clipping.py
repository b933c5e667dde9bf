"""Clipping of gradients by their global norm."""

from unrolled.layers._place import functions_of

from ._types import Array


def clip_scale(grads: Array, max_norm: float | None, count: int = 1) -> tuple[float, float]:
    """Returns the norm of the mean gradients and the factor that makes them mean and clipped.

    The gradients stay as they are; an optimizer applies the factor in its own pass.

    Args:
        grads: (P,) the flat gradients, sums over `count` targets.
        max_norm: the largest norm of the mean to let through; None lets everything through.
        count: how many targets; 0 counts as 1.

    Returns:
        norm: the global norm of grads / count, NaN or infinite where a gradient is.
        scale: 1 / count where the norm is small enough, else max_norm / norm / count.
    """
    count = max(count, 1)
    norm: float = functions_of(grads).global_norm(grads) / count
    if max_norm is None or norm <= max_norm:
        return norm, 1.0 / count
    return norm, max_norm / norm / count
