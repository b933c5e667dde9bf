"""Learning-rate schedules: a factor of the learning rate from the fraction of the budget done.

A schedule that knows fractions only works alike for a budget of steps, of epochs and of minutes.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

#: fraction done (0 at the start, 1 at the end) -> factor of the learning rate.
Schedule: TypeAlias = Callable[[float], float]


def constant() -> Schedule:
    """Returns the schedule that is always 1."""
    return lambda fraction: 1.0


def warmup_cosine(warmup: float = 0.02, final: float = 0.0) -> Schedule:
    """Returns a linear rise to 1 followed by half a cosine down to `final`.

    Args:
        warmup: fraction of the budget that the rise takes, 0..1; 0 starts at 1.
        final: factor at the end.

    Raises:
        ValueError: an argument is outside 0..1.

    Source: Loshchilov and Hutter 2017 (SGDR, one cycle), with warm-up as in Goyal et al. 2017.
    """
    if not 0.0 <= warmup <= 1.0:
        raise ValueError(f"[warmup_cosine] expected 0 <= warmup <= 1, got {warmup}")
    if not 0.0 <= final <= 1.0:
        raise ValueError(f"[warmup_cosine] expected 0 <= final <= 1, got {final}")

    def schedule(fraction: float) -> float:
        if fraction < warmup:
            # Not from 0: an update whose learning rate is 0 would be wasted.
            return max(fraction / warmup, 0.01)
        if fraction >= 1.0:
            return final
        way = (fraction - warmup) / (1.0 - warmup)
        return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * way))

    return schedule
