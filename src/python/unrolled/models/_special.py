"""Functions that densities and quantiles are made of, in float64."""

import math
from statistics import NormalDist

import numpy as np

from ..layers._types import Array


def log_gamma(x: Array) -> Array:
    """log Gamma(x) for x > 0: Stirling's series from x + 6 on (Abramowitz and Stegun, 6.1.41).

    Error below 1e-9 of max(1, result) in float64.
    """
    x = x.astype(np.float64)
    shift = np.ones_like(x)
    for i in range(6):
        shift *= x + i
    y = x + 6.0
    inverse = 1.0 / (y * y)
    series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse / 1260.0)) / y
    result: Array = (y - 0.5) * np.log(y) - y + 0.5 * math.log(2.0 * math.pi) + series
    result -= np.log(shift)
    return result


def digamma(x: Array) -> Array:
    """The derivative of log Gamma for x > 0 (Abramowitz and Stegun, 6.3.18, from x + 6 on)."""
    x = x.astype(np.float64)
    shift = np.zeros_like(x)
    for i in range(6):
        shift += 1.0 / (x + i)
    y = x + 6.0
    inverse = 1.0 / (y * y)
    series = inverse * (1.0 / 12.0 - inverse * (1.0 / 120.0 - inverse / 252.0))
    result: Array = np.log(y) - 0.5 / y - series
    result -= shift
    return result


def t_quantile(level: float, freedom: Array) -> Array:
    """The quantile of Student's t distribution with `freedom` >= 2 degrees of freedom.

    Source: Hill, "Algorithm 396: Student's t-quantiles", 1970. The probability below the result is
    off by less than 3e-4 at 2 degrees of freedom, 1e-5 from 2.5 on.
    """
    if level == 0.5:
        return np.zeros_like(freedom, dtype=np.float64)
    n = freedom.astype(np.float64)
    p = 2.0 * min(level, 1.0 - level)  # of both tails
    a = 1.0 / (n - 0.5)
    b = 48.0 / (a * a)
    c = ((20700.0 * a / b - 98.0) * a - 16.0) * a + 96.36
    d = ((94.5 / (b + c) - 3.0) / b + 1.0) * np.sqrt(a * math.pi / 2.0) * n
    tail = (d * p) ** (2.0 / n)
    # Near the middle: an expansion about the normal deviate.
    x = NormalDist().inv_cdf(0.5 * p)
    near = np.where(n < 5.0, c + 0.3 * (n - 4.5) * (x + 0.6), c)
    near = (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b + near
    square = x * x
    series = (((0.4 * square + 6.3) * square + 36.0) * square + 94.5) / near - square - 3.0
    y = (series / b + 1.0) * x
    middle = np.expm1(a * y * y)
    # In the tails: an expansion about infinity.
    far = (n + 6.0) / (n * tail) - 0.089 * d - 0.822
    far = (1.0 / (far * (n + 2.0) * 3.0) + 0.5 / (n + 4.0)) * tail - 1.0
    far = far * (n + 1.0) / (n + 2.0) + 1.0 / tail
    t: Array = np.sqrt(n * np.where(tail > 0.05 + a, middle, far))
    return t if level > 0.5 else -t


def incomplete_beta(a: Array, b: Array, x: Array) -> Array:
    """The regularised incomplete beta function I_x(a, b) for a, b > 0 and 0 <= x <= 1.

    Lentz's evaluation of the continued fraction, on the side of the mean where it converges fast
    (Abramowitz and Stegun, 26.5.8; Press et al., "Numerical Recipes", 6.4). Error below 1e-9.
    """
    a, b, x = (np.array(each, np.float64) for each in np.broadcast_arrays(a, b, x))
    other = x > (a + 1.0) / (a + b + 2.0)
    a, b, x = np.where(other, b, a), np.where(other, a, b), np.where(other, 1.0 - x, x)
    inside = (x > 0.0) & (x < 1.0)
    safe = np.where(inside, x, 0.5)
    factor = a * np.log(safe) + b * np.log1p(-safe) - np.log(a)
    factor += log_gamma(a + b) - log_gamma(a) - log_gamma(b)
    part = np.exp(factor) * _fraction(a, b, safe)
    part = np.where(inside, part, x)
    result: Array = np.where(other, 1.0 - part, part)
    return result


def _fraction(a: Array, b: Array, x: Array) -> Array:
    """The continued fraction of I_x(a, b); rows that have converged are left alone."""
    tiny, shape = 1e-300, a.shape
    a, b, x = a.reshape(-1), b.reshape(-1), x.reshape(-1)
    result = np.empty_like(x)
    rows = np.arange(x.size)
    c, d = np.ones_like(x), 1.0 / _away(1.0 - (a + b) * x / (a + 1.0), tiny)
    h = d.copy()
    m = 0
    while rows.size:
        m += 1
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d = 1.0 / _away(1.0 + term * d, tiny)
            c = _away(1.0 + term / c, tiny)
            change = c * d
            h = h * change
        going = np.abs(change - 1.0) > 1e-12
        if m >= 10_000:  # the root of the largest parameter would do
            going[...] = False
        result[rows[~going]] = h[~going]
        rows = rows[going]
        a, b, x, c, d, h = (each[going] for each in (a, b, x, c, d, h))
    return result.reshape(shape)


def _away(values: Array, least: float) -> Array:
    """Values that may be divided by."""
    return np.where(np.abs(values) < least, least, values)
