"""Distributions of forecasts: losses, gradients, quantiles and draws are those of the textbook."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from unrolled.models._distributions import DISTRIBUTIONS, Quantiles
from unrolled.models._special import digamma, incomplete_beta, log_gamma, t_quantile

COUNTS = "negative-binomial"
REAL = sorted(set(DISTRIBUTIONS) - {COUNTS})
NAMES = sorted(DISTRIBUTIONS)
UNCERTAIN = [name for name in NAMES if name != "point"]


def drawn(name: str, *shape: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    of = DISTRIBUTIONS[name]
    outputs = rng.standard_normal((*shape, of.outputs))
    observed = (rng.random(shape) < 0.7).astype(np.float64)
    if name == COUNTS:
        units = rng.uniform(1.0, 20.0, shape)
        params = of.place(outputs, rng.uniform(0.2, 3.0, shape), units)
        return params, rng.poisson(2.0 * units) / units, observed
    return outputs, 2.0 * rng.standard_normal(shape), observed


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_the_loss(name: str) -> None:
    params, targets, observed = drawn(name, 4, 3)
    of = DISTRIBUTIONS[name]
    _, pullback = of.loss_vjp(params, targets, observed)
    found, step = pullback(2.0), 1e-6
    for index in np.ndindex(params.shape):
        if index[-1] == of.outputs:  # the unit of counts, which nobody learns
            assert found[index] == 0.0
            continue
        ends = []
        for sign in (1.0, -1.0):
            moved = params.copy()
            moved[index] += sign * step
            ends.append(of.loss_vjp(moved, targets, observed)[0])
        # Central differences: the third derivative, of size one, times step^2, and rounding / step.
        assert found[index] == pytest.approx((ends[0] - ends[1]) / step, abs=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_not_observed_counts_for_nothing(name: str) -> None:
    params, targets, observed = drawn(name, 5, 2)
    of = DISTRIBUTIONS[name]
    loss, pullback = of.loss_vjp(params, targets, observed)
    other = np.where(observed > 0.0, targets, 1e6)
    loss_of_other, _ = of.loss_vjp(params, other, observed)
    assert loss_of_other == loss
    assert not pullback(1.0)[observed == 0.0].any()
    nothing, pull = of.loss_vjp(params, targets, np.zeros_like(observed))
    assert nothing == 0.0
    assert not pull(1.0).any()


def test_losses_are_negative_logarithms_of_densities() -> None:
    targets = np.linspace(-3.0, 3.0, 13)
    ones = np.ones(1)
    for y in targets:
        params = np.array([[0.4, 0.8]])
        scale = math.log1p(math.exp(0.8)) + 1e-3
        loss, _ = DISTRIBUTIONS["gaussian"].loss_vjp(params, np.array([y]), ones)
        assert loss == pytest.approx(-math.log(NormalDist(0.4, scale).pdf(y)), rel=1e-12)
    # Student's: the density over a wide grid sums to one. What is beyond it, with at least 2.1
    # degrees of freedom, is below (width / scale)^-2.
    grid = np.linspace(-2_000.0, 2_000.0, 800_001)
    params = np.tile([0.3, -0.5, 0.0], (len(grid), 1))
    density = [
        np.exp(-_losses("student-t", params[i : i + 100_000], grid[i : i + 100_000]))
        for i in range(0, len(grid), 100_000)
    ]
    total = np.concatenate(density).sum() * (grid[1] - grid[0])
    assert total == pytest.approx(1.0, abs=1e-5)


def _losses(name: str, params: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Loss by loss, from the gradient of the mean with respect to nothing but one at a time."""
    of = DISTRIBUTIONS[name]
    ones = np.ones(1)
    if len(targets) > 2_000:  # all at once where each has the same parameters: by differences
        scale = math.log1p(math.exp(params[0, 1])) + 1e-3
        freedom = 2.0 + 1e-3 + math.log1p(math.exp(params[0, 2]))
        r = (targets - params[0, 0]) / scale
        reference, _ = of.loss_vjp(params[:1], targets[:1], ones)
        losses = 0.5 * (freedom + 1.0) * np.log1p(r * r / freedom)
        return losses - losses[0] + reference
    return np.array(
        [of.loss_vjp(params[i : i + 1], targets[i : i + 1], ones)[0] for i in range(len(targets))]
    )


def test_special_functions() -> None:
    x = np.concatenate([np.linspace(0.05, 5.0, 200), np.linspace(5.0, 200.0, 100)])
    expected = np.array([math.lgamma(each) for each in x])
    np.testing.assert_allclose(log_gamma(x), expected, rtol=1e-9, atol=1e-9)
    step = 1e-5
    slope = np.array([(math.lgamma(a + step) - math.lgamma(a - step)) / (2 * step) for a in x])
    # The third derivative of log gamma is at most 2 / x^3: 16,000 at the left end.
    np.testing.assert_allclose(digamma(x), slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("freedom", "error"),
    [(2.001, 3e-4), (2.5, 1e-5), (3.0, 1e-5), (4.9, 1e-5), (5.1, 1e-5), (30.0, 1e-5), (1e3, 1e-5)],
)
def test_quantiles_of_students_t(freedom: float, error: float) -> None:
    for level in (0.001, 0.025, 0.05, 0.2, 0.25, 0.5, 0.75, 0.9, 0.975, 0.999):
        t = float(t_quantile(level, np.array([freedom]))[0])
        assert _below(t, freedom) == pytest.approx(level, abs=error), (level, t)


def _below(t: float, freedom: float) -> float:
    """The share of Student's distribution below t: Simpson's rule from 0 on."""
    x = np.linspace(0.0, abs(t), 20_001)
    constant = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    constant -= 0.5 * math.log(math.pi * freedom)
    y = np.exp(constant - (freedom + 1) / 2 * np.log1p(x * x / freedom))
    area = (x[1] - x[0]) / 3 * (y[0] + y[-1] + 4 * y[1::2].sum() + 2 * y[2:-1:2].sum())
    return 0.5 + math.copysign(area, t)


@pytest.mark.parametrize("name", UNCERTAIN)
def test_draws_have_the_quantiles(name: str) -> None:
    rng = np.random.default_rng(8)
    params, _, _ = drawn(name, 1)
    of = DISTRIBUTIONS[name]
    draws = of.sample(np.repeat(params, 40_000, axis=0), rng)
    levels = (0.1, 0.25, 0.5, 0.75, 0.9)
    if name == COUNTS:  # of a large mean, so that a single count is no share to speak of
        params = of.place(np.array([[0.2, 0.5]]), np.ones(1), np.full(1, 1e4))
        draws = of.sample(np.repeat(params, 40_000, axis=0), rng)
    for level, quantile in zip(levels, of.quantiles(params, levels)[0], strict=True):
        # Draws below a quantile are binomial: five deviations are 5 sqrt(0.25 / 40,000). The draws
        # of the head of quantiles leave out the tails beyond its levels, 2.5% on either side.
        slack = 0.0125 + (0.025 if name == "quantile" else 0.0)
        assert (draws <= quantile).mean() == pytest.approx(level, abs=slack)


def test_quantiles_come_in_order() -> None:
    params = np.random.default_rng(0).standard_normal((50, Quantiles.outputs))
    found = Quantiles().quantiles(params, (0.05, 0.2, 0.5, 0.8, 0.95))
    assert (np.diff(found, axis=-1) >= 0.0).all()
    with pytest.raises(ValueError, match=r"0\.025 to 0\.975"):
        Quantiles().quantiles(params, (0.001,))


@pytest.mark.parametrize("name", UNCERTAIN)
def test_the_start_has_errors_of_a_size(name: str) -> None:
    of = DISTRIBUTIONS[name]
    location = 1.0 if name == COUNTS else 0.0  # counts: the error is that at a mean of one unit
    params = of.place(np.array([of.start(0.3)]), np.array([location]), np.full(1, 1e5))
    # The location of counts is rounded up by the square of 0.05.
    assert of.mean(params)[0] == pytest.approx(location, abs=3e-3 if name == COUNTS else 1e-12)
    draws = of.sample(np.repeat(params, 200_000, axis=0), np.random.default_rng(2))
    # Quantiles end at 2.5%; Student's draws have a kurtosis of 6 at 6 degrees of freedom, so that
    # five deviations of the deviation are 5 * 0.3 * sqrt(5 / 800,000).
    assert draws.std() == pytest.approx(0.3, rel=0.12 if name == "quantile" else 0.015)


def test_a_point_has_no_interval() -> None:
    with pytest.raises(ValueError, match="no intervals"):
        DISTRIBUTIONS["point"].quantiles(np.zeros((1, 1)), (0.5,))


def test_counts_have_the_textbooks_probabilities() -> None:
    """P(Y = y) = C(y + r - 1, y) (1 - p)^r p^y, all of which sum to one; quantiles add them up."""
    of = DISTRIBUTIONS[COUNTS]
    unit, count = 4.0, np.arange(400)
    params = np.tile([math.log(0.9), 0.3, math.log(unit)], (len(count), 1))
    mean = 0.9 * unit
    spread = math.log1p(math.exp(0.3)) + 1e-4
    r, p = 1.0 / spread, spread * mean / (1.0 + spread * mean)
    expected = [
        math.lgamma(y + r)
        - math.lgamma(y + 1)
        - math.lgamma(r)
        + r * math.log1p(-p)
        + y * math.log(p)
        for y in count.tolist()
    ]
    found = [-of.loss_vjp(params[y : y + 1], count[y : y + 1] / unit, np.ones(1))[0] for y in count]
    # The logarithms of the gamma function are good to 1e-9 of themselves, at most 2,000 here.
    np.testing.assert_allclose(found, expected, atol=4e-6)
    total = np.cumsum(np.exp(expected))
    assert total[-1] == pytest.approx(1.0, abs=1e-9)
    levels = (0.01, 0.1, 0.3, 0.5, 0.77, 0.9, 0.99)
    quantiles = of.quantiles(params[:1], levels)[0] * unit
    np.testing.assert_array_equal(quantiles, np.searchsorted(total, levels))
    assert of.mean(params)[0] * unit == pytest.approx(mean)


@pytest.mark.parametrize(("mean", "spread"), [(1e-3, 1.0), (50.0, -6.0), (1e6, 2.0), (2e5, -8.0)])
def test_counts_of_any_size(mean: float, spread: float) -> None:
    of = DISTRIBUTIONS[COUNTS]
    params = np.tile([math.log(mean), spread, 0.0], (20_000, 1))
    draws = of.sample(params, np.random.default_rng(3))
    for level, quantile in zip((0.1, 0.9), of.quantiles(params[:1], (0.1, 0.9))[0], strict=True):
        # At least the level is at or below the quantile, less is below it; five deviations.
        slack = 5.0 * math.sqrt(0.09 / 20_000)
        assert (draws <= quantile).mean() >= level - slack
        assert (draws < quantile).mean() <= level + slack


def test_where_an_output_says_nothing_counts_are_as_the_location_says() -> None:
    of = DISTRIBUTIONS[COUNTS]
    location = np.array([-2.0, 0.0, 0.5, 3.0])
    means = of.mean(of.place(np.zeros((4, 2)), location, np.ones(4)))
    np.testing.assert_allclose(means, (location + np.hypot(location, 0.1)) / 2.0, rtol=1e-12)
    step = 1e-6
    ends = [of.place(np.zeros((4, 2)), location + s, np.ones(4))[:, 0] for s in (step, -step)]
    _, slope = of.place_pull(np.tile([1.0, 0.0, 0.0], (4, 1)), location)
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-6)


def test_the_incomplete_beta_function() -> None:
    """Against sums of binomial probabilities: I_x(a, b) = P(X >= a) of a + b - 1 throws."""
    for a, b in ((1, 1), (2, 5), (7, 3), (30, 40), (1, 60)):
        throws = a + b - 1
        for x in (0.0, 0.01, 0.3, 0.5, 0.9, 1.0):
            total = sum(
                math.comb(throws, k) * x**k * (1 - x) ** (throws - k) for k in range(a, throws + 1)
            )
            found = incomplete_beta(np.array(float(a)), np.array(float(b)), np.array(x))
            assert float(found) == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("name", UNCERTAIN)
def test_shrinking_moves_the_mean_and_keeps_the_spread(name: str) -> None:
    of = DISTRIBUTIONS[name]
    outputs = np.random.default_rng(4).standard_normal((6, of.outputs))
    location, units = np.full(6, 1.5), np.full(6, 1e6)
    means = []
    for keep in (1.0, 0.5, 0.0):
        own = outputs.copy()
        of.shrink(own, np.full(6, keep))
        means.append(of.mean(of.place(own, location, units)))
    # The location of counts is rounded up by the square of 0.05, and is multiplied with.
    np.testing.assert_allclose(means[2], 1.5, atol=2e-3 if name == COUNTS else 1e-12)
    half = np.sqrt(means[0] * means[2]) if name == COUNTS else 0.5 * (means[0] + means[2])
    np.testing.assert_allclose(means[1], half, rtol=1e-9)
