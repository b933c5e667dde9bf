"""Sequence boundaries inside a row, seen from the other end."""

import numpy as np

from ._types import Array


def reverse_resets(resets: Array | None, lengths: Array | None) -> Array | None:
    """Turns "a new sequence begins at step t" into resets for a scan that runs backwards.

    There the state must not cross from step t into step t-1, so the reset belongs to step t-1; it
    counts only if step t is live, since nothing crosses from a dead step.
    """
    if resets is None or len(resets) == 0:
        return resets
    shifted = np.zeros_like(resets)
    shifted[:-1] = resets[1:]
    if lengths is not None:
        shifted[:-1] &= np.arange(1, len(resets))[:, None] < lengths
    return shifted
