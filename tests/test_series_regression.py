"""The regression beside every forecast: ridge on the last values, its strength and its intercept
chosen by windows held out."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.tasks.series.baselines import Ridge, linear

N, D, C, H = 400, 2, 5, 3


def windows(rng: np.random.Generator, drift: float, size: float = 1.0) -> tuple[np.ndarray, ...]:
    """History (N, D, C), last (N, D), targets and observed (H, N, D) of y = last + A x + drift."""
    history = size * rng.standard_normal((N, D, C))
    history[..., -1] = 0.0
    last = rng.standard_normal((N, D))
    matrix = np.linspace(-1.0, 1.0, C * H).reshape(C, H)
    targets = np.einsum("ndc,ch->hnd", history, matrix) + last + drift
    targets += 0.1 * rng.standard_normal(targets.shape)
    return history, last, targets, np.ones_like(targets)


def solved(learned: tuple[np.ndarray, ...], held_out: tuple[np.ndarray, ...], shared: bool = False):
    fit = Ridge(D, C, H)
    fit.add(*learned)
    return fit.solve([held_out], shared=shared)


@pytest.mark.parametrize("shared", [False, True])
def test_what_series_drift_by_is_the_intercept(shared: bool) -> None:
    rng = np.random.default_rng(0)
    found = solved(windows(rng, 3.0), windows(rng, 3.0), shared)
    assert found.shape == (D, C + 1, H)
    # A mean of 400 numbers of deviation 0.1 is off by 0.005, five of which are 0.025.
    np.testing.assert_allclose(found[:, -1], 3.0, atol=0.025)
    history, last, targets, _ = windows(rng, 3.0)
    away = linear(last, history, found) - targets
    assert np.sqrt((away * away).mean()) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("shared", [False, True])
def test_a_drift_that_ends_is_left_out(shared: bool) -> None:
    rng = np.random.default_rng(1)
    found = solved(windows(rng, 3.0), windows(rng, 0.0), shared)
    np.testing.assert_array_equal(found[:, -1], 0.0)


def test_it_is_the_ridge_of_scikit_learn() -> None:
    linear_model = pytest.importorskip(
        "sklearn.linear_model", reason="scikit-learn comes with the extra [recipes]"
    )
    rng = np.random.default_rng(2)
    # Noise as large as the numbers, so that some strength is called for.
    learned, held_out = (windows(rng, 1.0, size) for size in (0.1, 0.1))
    found = solved(learned, held_out)
    for d in range(D):
        x, y = learned[0][:, d], (learned[2][..., d] - learned[1][:, d]).T
        strengths = 10.0 ** np.arange(-4.0, 2.0, 0.5) * (np.square(x).sum() / C)
        fits = [linear_model.Ridge(alpha=strength).fit(x, y) for strength in strengths]
        errors = [
            np.square(
                fit.predict(held_out[0][:, d]) - (held_out[2][..., d] - held_out[1][:, d]).T
            ).sum()
            for fit in fits
        ]
        best = fits[int(np.argmin(errors))]
        # Normal equations of 400 rows in float64.
        np.testing.assert_allclose(found[d, :-1], best.coef_.T, atol=1e-9)
        np.testing.assert_allclose(found[d, -1], best.intercept_, atol=1e-9)


def test_without_a_whole_window_nothing_is_said() -> None:
    history, last, targets, observed = windows(np.random.default_rng(3), 1.0)
    observed[1] = 0.0  # something is missing in each
    nothing = history, last, targets, observed
    for shared in (False, True):
        np.testing.assert_array_equal(solved(nothing, nothing, shared), 0.0)


def test_targets_alike_are_drawn_together() -> None:
    """Two targets with the same matrix: what is shared is nearer to it than what is not."""
    rng = np.random.default_rng(4)

    def few() -> tuple[np.ndarray, ...]:
        history, last, targets, observed = windows(rng, 0.0)
        observed[:, 12:] = 0.0
        return history, last, targets + rng.standard_normal(targets.shape), observed

    truth = np.linspace(-1.0, 1.0, C * H).reshape(C, H)[:-1]
    away = np.zeros(2)
    for _ in range(20):
        learned, held_out = few(), windows(rng, 0.0)
        for shared in (0, 1):
            matrices = solved(learned, held_out, bool(shared))
            away[shared] += np.square(matrices[:, : C - 1] - truth).sum()
    assert away[1] < away[0]
