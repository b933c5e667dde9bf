"""The specification is right: its gradients are the slopes of its values, and its rules hold.

Everything else is compared with `unrolled.reference`, so this file compares it with central
differences, with values that can be worked out by hand, and with its own written rules. That it
agrees with other libraries is in test_peers.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from problems import valid_state
from tolerances import STEP, assert_close, assert_slope
from unrolled import functional, reference

T, B, I, H = 4, 3, 2, 3  # noqa: E741

OPTIONS = {
    "plain": {},
    "reverse": {"reverse": True},
    "ragged": {"lengths": [2, 0, 4]},
    "resets": {"resets": np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]], bool)},
    "all": {
        "reverse": True,
        "lengths": [3, 4, 1],
        "resets": np.array([[0, 1, 0], [1, 0, 1], [0, 0, 1], [0, 1, 0]], bool),
    },
}


@pytest.fixture(params=reference.CELLS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def draw(name: str, rng: np.random.Generator) -> tuple[np.ndarray, tuple, list[Any]]:
    """x, states, weights with biases."""
    spec = reference.CELLS[name]
    rows = len(spec.gates) * H
    x = rng.standard_normal((T, B, I))
    states = tuple(valid_state(s, rng.standard_normal((B, H))) for s in spec.states)
    shapes = [(rows, I), (rows, H), (rows,), (rows,), (len(spec.units) * H,)]
    weights = [rng.standard_normal(shape) * 0.6 for shape in shapes]
    if not spec.recurrent:
        weights[1] = weights[3] = None
    if not spec.units:
        weights[4] = None
    return x, states, weights


def check_every_slope(
    f: Callable[[], float], array: np.ndarray, gradient: np.ndarray, what: str
) -> None:
    """Compare each element of the gradient with a central difference of f in that element."""
    assert array.shape == gradient.shape, what
    for index in np.ndindex(array.shape):
        centre = array[index]
        array[index] = centre + STEP
        above = f()
        array[index] = centre - STEP
        below = f()
        array[index] = centre
        assert_slope(gradient[index], (above - below) / (2 * STEP), 1.0, f"{what}{index}")


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_gradients_are_slopes(name: str, options: dict, rng: np.random.Generator) -> None:
    x, states, weights = draw(name, rng)
    dy = rng.standard_normal((T, B, H))
    dstates = tuple(rng.standard_normal((B, H)) for _ in states)

    def value() -> float:
        y, final = reference.scan(name, x, states, *weights, **options)
        return float(
            sum((s * d).sum() for s, d in zip(final, dstates, strict=True)) + (y * dy).sum()
        )

    _, pullback = reference.scan_vjp(name, x, states, *weights, **options)
    dx, dinitial, dweights = pullback(dy, dstates)
    check_every_slope(value, x, dx, "dx")
    for state, gradient, letter in zip(states, dinitial, reference.CELLS[name].states, strict=True):
        check_every_slope(value, state, gradient, f"d{letter}0")
    for weight, gradient, which in zip(weights, dweights, functional.PARAMETERS, strict=True):
        if weight is None:
            assert gradient is None
        else:
            check_every_slope(value, weight, gradient, f"d{which}")


def test_zoneout_has_its_slopes(name: str, rng: np.random.Generator) -> None:
    _, states, _ = draw(name, rng)
    updates = [rng.random((T, B, H)) for _ in states]
    test_gradients_are_slopes(name, {"updates": updates, "lengths": [3, 0, 4]}, rng)


def test_absent_arguments_are_zeros(name: str, rng: np.random.Generator) -> None:
    x, states, (w_ih, w_hh, b_ih, _, units) = draw(name, rng)
    zeros = tuple(np.zeros_like(s) for s in states)
    explicit = reference.scan(name, x, zeros, w_ih, w_hh, b_ih, np.zeros(len(w_ih)), units)[0]
    absent = reference.scan(name, x, None, w_ih, w_hh, b_ih, None, units)[0]
    np.testing.assert_array_equal(absent, explicit)
    _, pullback = reference.scan_vjp(name, x, None, w_ih, w_hh, None, b_ih, units)
    _, _, grads = pullback(None)
    assert grads[2] is None
    assert not grads[3].any()


def test_lengths_cut_the_sequence(name: str, rng: np.random.Generator) -> None:
    x, states, weights = draw(name, rng)
    lengths = [2, 0, 4]
    for reverse in (False, True):
        y, final = reference.scan(name, x, states, *weights, lengths=lengths, reverse=reverse)
        for b, length in enumerate(lengths):
            row = tuple(s[b : b + 1] for s in states)
            alone = reference.scan(name, x[:length, b : b + 1], row, *weights, reverse=reverse)
            assert_close(y[:length, b], alone[0][:, 0], K=T * (I + H), kind="forward")
            assert not y[length:, b].any()
            for got, expected in zip(final, alone[1], strict=True):
                assert_close(got[b : b + 1], expected, K=T * (I + H), kind="forward")


def test_reverse_is_a_flip(name: str, rng: np.random.Generator) -> None:
    x, states, weights = draw(name, rng)
    y, final = reference.scan(name, x, states, *weights, reverse=True)
    flipped, same = reference.scan(name, x[::-1], states, *weights)
    np.testing.assert_array_equal(y, flipped[::-1])
    np.testing.assert_array_equal(final, same)


def test_reset_starts_a_new_sequence(name: str, rng: np.random.Generator) -> None:
    x, states, weights = draw(name, rng)
    resets = np.zeros((T, B), bool)
    resets[2] = True
    y, final = reference.scan(name, x, states, *weights, resets=resets)
    first, _ = reference.scan(name, x[:2], states, *weights)
    second, last = reference.scan(name, x[2:], None, *weights)
    np.testing.assert_array_equal(y, np.concatenate([first, second]))
    np.testing.assert_array_equal(final, last)


def test_values_by_hand() -> None:
    """With all weights zero every sigmoid is 1/2 and every tanh 0."""
    h0, c0, x = np.array([[0.8]]), np.array([[0.6]]), np.ones((1, 1, 1))

    def run(name: str, states: tuple) -> list[float]:
        rows = len(reference.CELLS[name].gates)
        _, final = reference.scan(name, x, states, np.zeros((rows, 1)), np.zeros((rows, 1)))
        return [float(s[0, 0]) for s in final]

    assert run("lstm", (h0, c0)) == pytest.approx([0.5 * np.tanh(0.3), 0.3])
    assert run("gru", (h0,)) == pytest.approx([0.4])
    assert run("rnn_tanh", (h0,)) == [0.0]
    one = np.ones((1, 1))
    assert reference.scan("rnn_tanh", x, (h0,), one, one, [0.5], [0.25])[1][0] == np.tanh(2.55)
    assert reference.scan("rnn_relu", x, (h0,), one, one, [0.5], [0.25])[1][0] == pytest.approx(
        2.55
    )
    assert reference.scan("rnn_relu", x, (h0,), -one, one)[1][0] == 0.0


def test_sigmoid_never_overflows() -> None:
    x = np.array([-np.inf, -1e308, -745.0, 0.0, 745.0, 1e308, np.inf])
    expected = [0.0, 0.0, np.exp(-745.0), 0.5, 1.0, 1.0, 1.0]
    np.testing.assert_allclose(reference.sigmoid(x), expected, rtol=1e-15)
    assert np.isnan(reference.sigmoid(np.array([np.nan])))


@pytest.mark.parametrize("with_bias", [True, False])
def test_cross_entropy_gradients_are_slopes(with_bias: bool, rng: np.random.Generator) -> None:
    x, weight = rng.standard_normal((5, 3)), rng.standard_normal((4, 3))
    bias = rng.standard_normal(4) if with_bias else None
    targets, scale = np.array([0, 3, -1, 2, 3]), 0.7

    def value() -> float:
        return scale * float(reference.linear_cross_entropy_vjp(x, weight, bias, targets)[0].sum())

    losses, dx, dweight, dbias = reference.linear_cross_entropy_vjp(x, weight, bias, targets, scale)
    assert losses[2] == 0.0
    check_every_slope(value, x, dx, "dx")
    check_every_slope(value, weight, dweight, "dweight")
    if bias is None:
        assert dbias is None
    else:
        check_every_slope(value, bias, dbias, "dbias")


def test_cross_entropy_of_equal_logits_is_log_v() -> None:
    losses = reference.linear_cross_entropy_vjp(np.zeros((1, 2)), np.ones((7, 2)), None, [3])[0]
    assert losses[0] == pytest.approx(np.log(7.0))


def test_sampling_probabilities() -> None:
    logits = np.log([0.1, 0.4, 0.2, 0.3])
    of = reference.sampling_probabilities
    np.testing.assert_allclose(of(logits), [0.1, 0.4, 0.2, 0.3])
    np.testing.assert_array_equal(of(logits, temperature=0.0), [0, 1, 0, 0])
    np.testing.assert_allclose(of(logits, top_k=2), [0, 4 / 7, 0, 3 / 7])
    np.testing.assert_allclose(of(logits, top_p=0.6), [0, 4 / 7, 0, 3 / 7])
    np.testing.assert_allclose(of(logits, top_p=0.75), [0, 4 / 9, 2 / 9, 3 / 9])
    np.testing.assert_allclose(of(logits, top_p=0.01), [0, 1, 0, 0])
    squared = np.array([0.1, 0.4, 0.2, 0.3]) ** 2
    np.testing.assert_allclose(of(logits, temperature=0.5), squared / squared.sum())
