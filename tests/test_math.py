"""exp, sigmoid, tanh and log1p keep the accuracy that simd/math.hpp states, on every ISA."""

from __future__ import annotations

import numpy as np
import pytest

from tolerances import eps
from unrolled import _core

LIMITS = {np.float32: (-87.3, 88.0), np.float64: (-708.0, 709.0)}
ULPS = {"exp": 2.0, "sigmoid": 3.0, "tanh": 3.0, "log1p": 3.0}

# float64 needs a wider type as its truth. Where long double is no wider, the truth is itself wrong
# by an ULP.
TRUTH = np.longdouble
SLACK = 0.0 if np.finfo(TRUTH).nmant > 52 else 1.0


def compiled(name: str, x: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    _core.apply_math(name, x, y)
    return y


def truth(name: str, x: np.ndarray) -> np.ndarray:
    x = x.astype(TRUTH)
    if name == "exp":
        return np.exp(x)
    if name == "tanh":
        return np.tanh(x)
    if name == "log1p":
        return np.log1p(x)
    return TRUTH(1.0) / (TRUTH(1.0) + np.exp(-x))


def ulps(name: str, x: np.ndarray) -> np.ndarray:
    """Errors in units of the last place of the true value, rounded to the dtype."""
    expected = truth(name, x)
    spacing = np.spacing(np.abs(expected).astype(x.dtype)).astype(TRUTH)
    return np.abs(compiled(name, x).astype(TRUTH) - expected) / spacing


@pytest.mark.parametrize("name", ULPS)
def test_error_in_ulp(name: str, isa: str, dtype: type) -> None:
    low, high = LIMITS[dtype]
    rng = np.random.default_rng(4)
    tiny = float(np.finfo(dtype).tiny)
    magnitudes = np.exp(rng.uniform(np.log(tiny), 0.0, 40_000))  # every exponent below 1
    sweep = np.concatenate(
        [
            np.linspace(low, high, 100_001),
            np.linspace(-1.0, 1.0, 50_001),
            np.linspace(-20.0, 20.0, 50_001),
            magnitudes,
            -magnitudes,
            np.arange(-40, 41) * np.log(2.0),
            (np.arange(-40, 41) + 0.5) * np.log(2.0),
            [low, high, 0.0],
        ]
    ).astype(dtype)
    if name == "log1p":
        low, high = 0.0, 2.0
        sweep = np.concatenate([sweep, np.linspace(low, high, 100_001, dtype=dtype)])
    sweep = sweep[(sweep >= low) & (sweep <= high)]
    error = ulps(name, sweep)
    worst = int(error.argmax())
    assert error[worst] <= ULPS[name] + SLACK, f"{name}({sweep[worst]!r}): {error[worst]:.3f} ULP"


def test_every_tail_length(isa: str, dtype: type) -> None:
    """The masked end of an array computes the same as its full vectors."""
    x = np.linspace(-3.0, 3.0, 67).astype(dtype)
    for name in ULPS:
        whole = compiled(name, x)
        for length in range(len(x)):
            np.testing.assert_array_equal(compiled(name, x[:length]), whole[:length])


def test_ends(isa: str, dtype: type) -> None:
    inf, nan = np.inf, np.nan
    x = np.array([-inf, -1e30, -0.0, 0.0, 1e30, inf, nan], dtype)
    np.testing.assert_array_equal(
        compiled("tanh", x), np.array([-1.0, -1.0, -0.0, 0.0, 1.0, 1.0, nan], dtype)
    )
    assert np.signbit(compiled("tanh", x)[2])
    sigmoid = compiled("sigmoid", x)
    np.testing.assert_array_equal(sigmoid[2:], np.array([0.5, 0.5, 1.0, 1.0, nan], dtype))
    assert (sigmoid[:2] >= 0).all()
    assert (sigmoid[:2] < 1e-37).all()
    exp = compiled("exp", x)
    np.testing.assert_array_equal(exp[2:4], np.ones(2, dtype))
    assert exp[0] < 1e-37
    assert exp[5] > 1e38
    assert np.isnan(exp[6])


def test_bounded_and_monotonic(isa: str, dtype: type) -> None:
    """States stay inside [-1, 1] and gates inside [0, 1], with no step back beyond rounding."""
    x = np.linspace(-30.0, 30.0, 300_001).astype(dtype)
    for name, low in (("tanh", -1.0), ("sigmoid", 0.0)):
        y = compiled(name, x)
        assert y.min() >= low
        assert y.max() <= 1.0
        assert np.diff(y).min() >= -4 * eps(dtype)
