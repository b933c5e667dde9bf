"""Clipping of gradients by their global norm."""

from unrolled import functional

from ._types import Array


def clip_scale(grads: Array, max_norm: float | None) -> tuple[float, float]:
    """Returns the norm of all gradients and the factor that brings it down to `max_norm`.

    The gradients stay as they are; an optimizer applies the factor in its own pass.

    Args:
        grads: (P,) the flat gradients.
        max_norm: the largest norm to let through; None lets everything through.

    Returns:
        norm: the global norm, NaN or infinite where a gradient is.
        scale: 1 where the norm is small enough, else max_norm / norm.
    """
    norm = functional.global_norm(grads)
    if max_norm is None or norm <= max_norm:
        return norm, 1.0
    return norm, max_norm / norm
