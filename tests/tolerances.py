"""How far a computed array may lie from the float64 truth: one formula and one table.

    tolerance = factor * K * eps * scale

The derivation is the usual one for sums (Higham, "Accuracy and Stability of Numerical Algorithms",
3.1). A sum of K products rounds at most K times, and each rounding moves the result by at most
eps/2 times the size of what has been summed so far. The activations do not enlarge an error, since
the slopes of tanh, sigmoid and relu are at most 1, so K is the number of roundings on the longest
path from an input to a result:

    forward    T * (I + H + gates)         each step sums I + H products, and steps follow another
    gradient   T * (I + (G + 1) * H + B)   the forward pass, G*H products a step, T*B terms

`scale` is the largest magnitude among the expected values, at least 1 because the tests draw all
inputs of order 1. The bound is a worst case: random roundings reach about its square root.

`factor` covers what the count leaves out; every value stands in `FACTORS` with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FACTORS = {
    # A rounding is eps/2, so 1 leaves half of the bound for the element-wise part of a cell: a few
    # roundings a step, exp and tanh of 3 ULP. Measured: at most a tenth of the bound is used.
    "forward": 1.0,
    "gradient": 1.0,
    # The same for log(sum(exp)) and the subtraction of the target's logit.
    "head": 1.0,
    # Formulas of about ten roundings with a square root and a division, and K counting the steps.
    "elementwise": 8.0,
    # The other library rounds as often as we do.
    "peer": 2.0,
    # Two runs of our own, K counting a gradient's roundings, one more for each rank whose sum is
    # added, times the updates that follow each other: both round as often, as beside a peer.
    "ranks": 2.0,
}


def eps(dtype: npt.DTypeLike) -> float:
    return float(np.finfo(dtype).eps)


def assert_close(
    actual: npt.ArrayLike,
    expected: npt.ArrayLike,
    *,
    K: int,
    kind: str,
    dtype: npt.DTypeLike | None = None,
    what: str = "value",
) -> None:
    """Compare with the tolerance of the module docstring; `dtype` defaults to that of `actual`."""
    actual, expected = np.asarray(actual), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    if actual.size == 0:
        return
    scale = max(1.0, float(np.abs(expected).max()))
    bound = FACTORS[kind] * eps(dtype or actual.dtype) * max(K, 1) * scale
    error = np.abs(actual.astype(np.float64) - expected)
    worst = np.unravel_index(int(np.argmax(error)), error.shape)  # argmax stops at a NaN
    if not error[worst] <= bound:
        raise AssertionError(
            f"{what}{[int(i) for i in worst]}: got {actual[worst]!r}, not {expected[worst]!r}; "
            f"error {error[worst]:.3g} > {bound:.3g} at K {K}, scale {scale:.3g}"
        )


def assert_slope(slope: float, difference: float, scale: float, what: str = "slope") -> None:
    """Compare a gradient along a direction with a float64 central difference of step `STEP`.

    Truncation is of order STEP^2 and rounding of order eps / STEP, both eps^(2/3) at the best step.
    The factor 100 covers third derivatives and the size of the sums; `scale` is the sum of the
    magnitudes of the terms in <gradient, direction>.
    """
    bound = 100.0 * STEP**2 * max(1.0, scale)
    assert abs(slope - difference) <= bound, (
        f"{what}: gradient gives {slope!r}, central difference {difference!r}, bound {bound:.3g}"
    )


STEP = float(np.finfo(np.float64).eps ** (1 / 3))


def slope_along(
    value: Callable[[], float], array: npt.NDArray[Any], direction: npt.NDArray[Any]
) -> float:
    """The slope of `value` as `array` moves along a direction, by two central differences.

    The errors of order STEP^2 of (4 D(STEP) - D(2 STEP)) / 3 cancel (Richardson 1911), which a row
    of few normalised units needs: its third derivatives are large.
    """
    centre = array.copy()

    def difference(step: float) -> float:
        array[...] = centre + step * direction
        above = value()
        array[...] = centre - step * direction
        below = value()
        array[...] = centre
        return (above - below) / (2 * step)

    return (4 * difference(STEP) - difference(2 * STEP)) / 3


def assert_same_bits(
    actual: npt.ArrayLike | Sequence[npt.ArrayLike | None] | None,
    expected: npt.ArrayLike | Sequence[npt.ArrayLike | None] | None,
    what: str = "value",
) -> None:
    """Equality of every bit, so that 0.0 differs from -0.0 and a NaN equals itself."""
    if isinstance(expected, tuple | list):
        assert isinstance(actual, tuple | list), what
        assert len(actual) == len(expected), what
        for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
            assert_same_bits(a, e, f"{what}[{i}]")
    elif expected is None:
        assert actual is None, what
    else:
        a, e = np.asarray(actual), np.asarray(expected)
        assert (a.dtype, a.shape) == (e.dtype, e.shape), what
        if a.tobytes() != e.tobytes():
            differs = np.argwhere(a != e)
            raise AssertionError(
                f"{what}: {len(differs)} of {a.size} differ, first at {differs[:1]}"
            )
