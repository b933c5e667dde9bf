"""Learning-rate schedules: a factor of the learning rate from how far a run has come.

A schedule knows the fraction of the budget that is done, so that it works alike for a budget of
steps, of epochs and of minutes, and the validation losses so far. It has no state of its own: a
resumed run needs nothing but these two.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

#: (fraction done, 0..1; validation losses so far, the oldest first) -> factor of the learning rate.
Schedule: TypeAlias = Callable[[float, Sequence[float]], float]


def constant(warmup: float = 0.0) -> Schedule:
    """Returns the schedule that is 1 after a linear rise over the fraction `warmup`."""
    _check("constant", warmup=warmup)
    return lambda fraction, losses: _rise(fraction, warmup)


def warmup_cosine(warmup: float = 0.02, final: float = 0.0) -> Schedule:
    """Returns a linear rise to 1 followed by half a cosine down to `final`.

    Args:
        warmup: fraction of the budget that the rise takes, 0..1; 0 starts at 1.
        final: factor at the end, 0..1.

    Raises:
        ValueError: an argument is outside 0..1.

    Source: Loshchilov and Hutter 2017 (SGDR, one cycle), with warm-up as in Goyal et al. 2017.
    """
    _check("warmup_cosine", warmup=warmup, final=final)

    def schedule(fraction: float, losses: Sequence[float]) -> float:
        if fraction < warmup:
            return _rise(fraction, warmup)
        if fraction >= 1.0:
            return final
        return _cosine(1.0, final, (fraction - warmup) / (1.0 - warmup))

    return schedule


def one_cycle(rise: float = 0.3, start: float = 0.04, final: float = 1e-4) -> Schedule:
    """Returns half a cosine up from `start` to 1 and half a cosine down to `final`.

    Args:
        rise: fraction of the budget that the way up takes, 0..1.
        start: factor at the beginning, 0..1.
        final: factor at the end, 0..1.

    Raises:
        ValueError: an argument is outside 0..1.

    Source: Smith and Topin 2018; the shape and the default values of torch's OneCycleLR. Momentum
    stays as it is.
    """
    _check("one_cycle", rise=rise, start=start, final=final)

    def schedule(fraction: float, losses: Sequence[float]) -> float:
        if fraction < rise:
            return _cosine(start, 1.0, fraction / rise)
        return _cosine(1.0, final, (fraction - rise) / (1.0 - rise)) if fraction < 1.0 else final

    return schedule


def plateau(factor: float = 0.5, patience: int = 2, warmup: float = 0.0) -> Schedule:
    """Returns 1, multiplied by `factor` each time that validation stops getting better.

    Args:
        factor: of the learning rate, 0..1.
        patience: so many validations in a row without a new best one are waited for; the next
            one multiplies, and the count begins anew.
        warmup: fraction of the budget over which the learning rate rises first, 0..1.

    Raises:
        ValueError: an argument is outside its range.

    Source: as torch's ReduceLROnPlateau with threshold 0.
    """
    _check("plateau", factor=factor, warmup=warmup)
    if patience < 0:
        raise ValueError(f"[plateau] expected patience >= 0, got {patience}")

    def schedule(fraction: float, losses: Sequence[float]) -> float:
        scale, best, waited = _rise(fraction, warmup), math.inf, 0
        for loss in losses:
            if loss < best:
                best, waited = loss, 0
                continue
            waited += 1
            if waited > patience:
                scale, waited = scale * factor, 0
        return scale

    return schedule


def _rise(fraction: float, warmup: float) -> float:
    # Not from 0: an update whose learning rate is 0 would be wasted.
    return max(fraction / warmup, 0.01) if fraction < warmup else 1.0


def _cosine(start: float, end: float, way: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * way))


def _check(name: str, **values: float) -> None:
    for argument, value in values.items():
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"[{name}] expected 0 <= {argument} <= 1, got {value}")
