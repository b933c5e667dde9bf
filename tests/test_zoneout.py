"""Zoneout: in training units keep their states at random, elsewhere states move by the mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems import Dims, make_problem
from stacks import as_tuple
from test_recurrent import check_stack_slopes
from tolerances import assert_close, assert_same_bits
from unrolled import functional, reference
from unrolled.layers import GRU, LSTM, Recurrent

T, B, I, H = 7, 5, 4, 19  # noqa: E741


def test_kernels_do_what_the_specification_says(
    cell: str, isa: str, dtype: Any, rng: np.random.Generator
) -> None:
    problem = make_problem(cell, Dims(T, B, I, H), dtype, ragged=True, resets=True, reverse=True)
    updates = [rng.random((T, *d.shape)).astype(dtype) for d in problem.dstates]
    problem = problem.but(options={**problem.options, "updates": updates})
    got, truth = problem.vjp(), problem.reference()
    K, L = problem.forward_roundings, problem.gradient_roundings
    assert_close(got["y"], truth["y"], K=K, kind="forward")
    for key in ("states", "dstates", "grads"):
        for a, b in zip(got[key], truth[key], strict=True):
            assert_close(a, b, K=L, kind="gradient", what=key)
    assert_close(got["dx"], truth["dx"], K=L, kind="gradient")


@pytest.mark.parametrize("recompute", ["gates", 3])
def test_recomputing_zones_out_the_same(cell: str, isa: str, recompute: Any) -> None:
    problem = make_problem(cell, Dims(40, 9, I, H), np.float32, ragged=True)
    updates = [
        (np.random.default_rng(1).random((40, *d.shape)) < 0.7).astype(np.float32)
        for d in problem.dstates
    ]
    options = {**problem.options, "updates": updates}
    expected = problem.but(options=options).vjp()
    assert_same_bits(
        tuple(problem.but(options={**options, "recompute": recompute}).vjp().values()),
        tuple(expected.values()),
    )


def test_a_unit_keeps_its_state_or_takes_the_new_one(rng: np.random.Generator) -> None:
    layer = GRU(I, H, zoneout=0.4, rng=rng)
    plain = GRU(I, H, init="zeros")
    plain.load_parameters(layer.parameters)
    x = rng.standard_normal((60, B, I)).astype(np.float32)
    (y, _), _ = layer.vjp(x, rng=np.random.default_rng(2))
    before = np.concatenate([np.zeros((1, B, H), np.float32), y[:-1]])
    moved = np.stack([plain(x[t : t + 1], before[None, t])[0][0] for t in range(60)])
    kept = y == before
    np.testing.assert_array_equal(y[~kept], moved[~kept])
    assert abs(kept.mean() - 0.4) < 4 * np.sqrt(0.24 / kept.size)


def test_inference_takes_the_mean_and_a_stream_the_same(rng: np.random.Generator) -> None:
    layer = LSTM(I, H, 2, zoneout=(0.25, 0.5), rng=rng)
    x = rng.standard_normal((T, B, I)).astype(np.float32)
    y, final = layer(x)
    shares = [np.full((T, B, H), share) for share in (0.75, 0.5)]
    truth: Any = x
    for k in range(2):
        weights = [layer.parameters[f"{name}_l{k}"] for name in functional.PARAMETERS[:4]]
        truth, _ = reference.scan("lstm", truth, None, *weights, updates=shares)
    assert_close(y, truth, K=2 * T * (I + H + 4), kind="forward")
    stream = layer.stream(B)
    assert_same_bits(np.stack([stream(x_t) for x_t in x]), y)
    assert_same_bits(stream.state, final)
    assert_same_bits(stream.fork()(x[0]), y[0])


def test_gradients_are_slopes(rng: np.random.Generator) -> None:
    check_stack_slopes(LSTM(3, 7, 2, zoneout=(0.3, 0.1), dtype=np.float64, rng=rng), rng)
    check_stack_slopes(GRU(3, 7, 2, zoneout=0.3, dtype=np.float64, rng=rng), rng)


def test_states_after_every_step(cell: str, isa: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, H, 2, bidirectional=True, batch_first=True, rng=rng)
    x, lengths = rng.standard_normal((B, T, I)).astype(np.float32), np.array([7, 0, 3, 1, 7])
    y, final = layer(x, lengths=lengths)
    states = as_tuple(layer.states(x, lengths=lengths))
    for every, last in zip(states, as_tuple(final), strict=True):
        assert every.shape == (4, B, T, H)
        for b in (0, 2, 3):
            assert_same_bits(every[::2, b, lengths[b] - 1], last[::2, b])
            assert_same_bits(every[1::2, b, 0], last[1::2, b])
            assert not every[:, b, lengths[b] :].any()
    assert_same_bits(np.concatenate(states[0][2:], axis=2), y)


def test_gradients_of_states_after_every_step(isa: str, rng: np.random.Generator) -> None:
    """A loss on c of every step is one on the final c of every prefix."""
    problem = make_problem("lstm", Dims(T, B, I, H), np.float64)
    dc = rng.standard_normal((T, B, H))
    c = np.empty((T, B, H))
    *_, saved = functional.scan_vjp(problem.pack(), problem.x, problem.states, steps_out=[c])
    grads = problem.zero_grads()
    functional.scan_backward(saved, None, None, grads=grads, dsteps=[dc])
    sums = [np.zeros_like(w) for w in problem.weights if w is not None]
    for t in range(T):
        prefix = problem.but(
            x=problem.x[: t + 1],
            dy=np.zeros((t + 1, B, H)),
            dstates=(np.zeros((B, H)), dc[t]),
        )
        got = prefix.vjp()
        assert_same_bits(got["states"][1], c[t])
        for total, gradient in zip(sums, got["grads"], strict=True):
            total += gradient
    for a, b in zip(sums, grads, strict=False):
        assert_close(b, a, K=T * problem.gradient_roundings, kind="gradient")


def test_errors(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="one for each state"):
        LSTM(I, H, zoneout=(0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match="zoneout < 1"):
        GRU(I, H, zoneout=1.0)
    x = np.zeros((T, B, I), np.float32)
    with pytest.raises(ValueError, match="needs rng"):
        GRU(I, H, zoneout=0.1).vjp(x)
    weights = make_problem("lstm", Dims(T, B, I, H), np.float32).pack()
    with pytest.raises(ValueError, match="2 arrays update"):
        functional.scan(weights, x, updates=[np.ones((T, B, H), np.float32)])
    with pytest.raises(ValueError, match="steps of c"):
        functional.scan(weights, x, steps_out=[np.ones((T, B, H + 1), np.float32)])
