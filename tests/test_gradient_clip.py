"""The gradient of h that a step hands to the one before is clipped, by value or by norm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems import Dims, Problem, make_problem
from stacks import as_tuple
from tolerances import assert_close, assert_same_bits
from unrolled import functional, reference
from unrolled.layers import GRU, LSTM, Recurrent

# Below what reaches the steps of these problems, so that some elements and rows are clipped.
CLIPS: list[functional.GradientClip] = [0.2, ("norm", 0.5)]
SIZES = [Dims(1, 1, 1, 1), Dims(7, 5, 4, 19), Dims(23, 33, 5, 6), Dims(5, 3, 3, 70)]
clips = pytest.mark.parametrize("clip", CLIPS, ids=str)


def check(problem: Problem, clip: functional.GradientClip) -> None:
    """Clipping is nonexpansive, so that what an element may be off stays as it is."""
    got, truth = problem.vjp(clip_gradient=clip), problem.reference(clip_gradient=clip)
    for key in ("dstates", "grads"):
        for a, b in zip(got[key], truth[key], strict=True):
            assert_close(a, b, K=problem.gradient_roundings, kind="gradient", what=key)
    assert_close(got["dx"], truth["dx"], K=problem.gradient_roundings, kind="gradient")


@clips
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_kernels_do_what_the_specification_says(
    cell: str, isa: str, dtype: Any, size: Dims, clip: functional.GradientClip
) -> None:
    check(make_problem(cell, size, dtype), clip)
    check(make_problem(cell, size, dtype, ragged=True, resets=True, reverse=True), clip)


def test_limits_hold(cell: str, isa: str) -> None:
    """And they change something: without them gradients are beyond."""
    problem = make_problem(cell, Dims(7, 5, 4, 19), np.float32)
    plain = problem.vjp()["dstates"][0]
    by_value, by_norm = (problem.vjp(clip_gradient=clip)["dstates"][0] for clip in CLIPS)
    assert np.abs(plain).max() > 0.2
    assert np.abs(by_value).max() == np.float32(0.2)
    assert np.linalg.norm(plain, axis=1).max() > 0.5
    norms = np.linalg.norm(by_norm.astype(np.float64), axis=1)
    assert_close(np.minimum(norms, 0.5), norms, K=19, kind="gradient", dtype=np.float32)


@clips
def test_bf16(narrow_cell: str, isa: str, clip: functional.GradientClip) -> None:
    """From the same states: a float32 error may turn a rounding, by one bfloat16 ULP of 2^-8."""
    problem = make_problem(narrow_cell, Dims(1, 6, 4, 19), np.float32).but(precision="bf16")
    got, truth = problem.vjp(clip_gradient=clip), problem.reference(clip_gradient=clip)
    for a, b in zip(got["dstates"], truth["dstates"], strict=True):
        assert np.abs(a - b).max() <= 2.0**-8 * max(1.0, np.abs(b).max())
    assert np.abs(got["dstates"][0]).max() > 0


@clips
@pytest.mark.parametrize("recompute", ["gates", 3])
def test_recomputing_clips_the_same(
    cell: str, isa: str, recompute: Any, clip: functional.GradientClip
) -> None:
    problem = make_problem(cell, Dims(40, 9, 4, 19), np.float32, ragged=True, resets=True)
    again = problem.but(options={**problem.options, "recompute": recompute})
    expected = problem.vjp(clip_gradient=clip)
    assert_same_bits(tuple(again.vjp(clip_gradient=clip).values()), tuple(expected.values()))


@clips
@pytest.mark.parametrize("size", [Dims(5, 1, 40, 130), Dims(4, 70, 33, 150)], ids=str)
def test_same_bits_for_any_number_of_threads(
    cell: str, isa: str, dtype: type, size: Dims, clip: functional.GradientClip, threads: None
) -> None:
    """One row, whose units the threads share, and rows enough for each to have its own."""
    problem = make_problem(cell, size, dtype, ragged=True, resets=True)
    functional.set_num_threads(1)
    expected = tuple(problem.vjp(clip_gradient=clip).values())
    for count in (2, 3):
        functional.set_num_threads(count)
        assert_same_bits(tuple(problem.vjp(clip_gradient=clip).values()), expected)


@clips
def test_a_row_has_the_same_bits_in_any_batch(
    cell: str, isa: str, dtype: type, clip: functional.GradientClip
) -> None:
    problem = make_problem(cell, Dims(9, 6, 4, 37), dtype, ragged=True, resets=True)
    whole = problem.vjp(clip_gradient=clip)
    for b in range(6):
        alone = problem.row(b).vjp(clip_gradient=clip)
        assert_same_bits(alone["dx"][:, 0], whole["dx"][: len(alone["dx"]), b])
        for a, d in zip(alone["dstates"], whole["dstates"], strict=True):
            assert_same_bits(a[0], d[b])


@clips
def test_pieces_of_a_sequence_have_the_gradients_of_the_whole(
    cell: str, isa: str, clip: functional.GradientClip
) -> None:
    whole = make_problem(cell, Dims(8, 3, 4, 19), np.float64)
    first = whole.but(x=whole.x[:5], dy=whole.dy[:5])
    second = whole.but(x=whole.x[5:], dy=whole.dy[5:], states=first.scan()[1])
    late = second.vjp(clip_gradient=clip)
    early = first.but(dstates=late["dstates"]).vjp(clip_gradient=clip)
    expected = whole.vjp(clip_gradient=clip)
    K = whole.gradient_roundings
    assert_close(np.concatenate([early["dx"], late["dx"]]), expected["dx"], K=K, kind="gradient")
    for a, b in zip(early["dstates"], expected["dstates"], strict=True):
        assert_close(a, b, K=K, kind="gradient")


def identity(factor: float, steps: int, dtype: Any = np.float64) -> Problem:
    """h' = relu(x + factor * h) of two units and one row, with dh = (3, 4) at the end."""
    problem = make_problem("rnn_relu", Dims(steps, 1, 2, 2), dtype, biases=(False, False))
    return problem.but(
        x=np.ones((steps, 1, 2), dtype),
        states=(np.ones((1, 2), dtype),),
        weights=(np.eye(2, dtype=dtype), factor * np.eye(2, dtype=dtype), None, None, None, None),
        dy=np.zeros((steps, 1, 2), dtype),
        dstates=(np.array([[3, 4]], dtype),),
    )


def test_what_is_clipped(isa: str) -> None:
    """dh = (3, 4) is doubled at each of three steps; a given gradient is not clipped."""
    problem = identity(2.0, 3)
    cases: list[tuple[functional.GradientClip, Any]] = [
        (None, [[24, 32], [12, 16], [6, 8], [3, 4]]),
        (7.0, [[7, 7], [7, 7], [6, 7], [3, 4]]),
        (("norm", 8.0), [[4.8, 6.4], [4.8, 6.4], [4.8, 6.4], [3, 4]]),
        (("norm", 10.0), [[6, 8], [6, 8], [6, 8], [3, 4]]),
    ]
    for clip, expected in cases:
        for got in (problem.vjp(clip_gradient=clip), problem.reference(clip_gradient=clip)):
            dh = np.concatenate([got["dstates"][0], got["dx"][:, 0]])
            assert_close(dh, expected, K=4, kind="gradient")


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_norms_beyond_the_squares_of_float32(isa: str, size: float) -> None:
    dstates = (np.array([[3 * size, 4 * size]], np.float32),)
    problem = identity(1.0, 1, np.float32).but(dstates=dstates)
    (dh,) = problem.vjp(clip_gradient=("norm", size))["dstates"]
    assert_close(dh / size, [[0.6, 0.8]], K=4, kind="gradient")


@clips
def test_a_nan_stays_in_its_row(cell: str, isa: str, clip: functional.GradientClip) -> None:
    problem = make_problem(cell, Dims(4, 3, 4, 19), np.float32)
    expected = problem.vjp(clip_gradient=clip)
    problem.dy[3, 1] = np.nan
    got = problem.vjp(clip_gradient=clip)
    assert np.isnan(got["dx"][:, 1]).any()
    if clip != 0.2:
        assert np.isnan(got["dstates"][0][1]).all()
    assert_same_bits(got["dx"][:, ::2], expected["dx"][:, ::2])


@clips
def test_layers(isa: str, clip: functional.GradientClip, rng: np.random.Generator) -> None:
    """Each layer and direction clips its own; step by step as all at once."""
    layer = LSTM(4, 19, 2, bidirectional=True, dtype=np.float64, rng=rng)
    layer.clip_gradient = clip
    x, dy = rng.standard_normal((7, 3, 4)), rng.standard_normal((7, 3, 38))
    _, pullback = layer.vjp(x)
    got = pullback(dy)[0]
    truth: Any = x
    pulls = []
    for k in range(2):
        halves = []
        for suffix in ("", "_reverse"):
            weights = [layer.parameters[f"{n}_l{k}{suffix}"] for n in functional.PARAMETERS[:4]]
            halves.append(reference.scan_vjp("lstm", truth, None, *weights, reverse=bool(suffix)))
        truth = np.concatenate([half[0][0] for half in halves], axis=2)
        pulls.append([half[1] for half in halves])
    expected: Any = dy
    for forward, backward in reversed(pulls):
        halves_of = np.split(expected, 2, axis=2)
        expected = sum(
            pull(part, None, clip)[0]
            for pull, part in zip((forward, backward), halves_of, strict=True)
        )
    assert_close(got, expected, K=2 * 7 * (38 + 5 * 19 + 3), kind="gradient")


@clips
def test_step_by_step(isa: str, clip: functional.GradientClip, rng: np.random.Generator) -> None:
    layer = GRU(4, 19, 2, dtype=np.float64, rng=rng)
    layer.clip_gradient = clip
    x, dy = rng.standard_normal((6, 3, 4)), rng.standard_normal((6, 3, 19))
    _, pullback = layer.vjp(x)
    expected, dstate = pullback(dy)
    steps, state, live = layer.steps_vjp(), np.zeros((2, 3, 19)), np.ones(3, np.int64)
    for x_t in x:
        _, state = steps(x_t, state, live)
    dh: Any = np.zeros((2, 3, 19))
    for t in range(5, -1, -1):
        dx, dh = steps.pull(dy[t], dh)
        assert_close(dx, expected[t], K=12 * (19 + 4 * 19 + 3), kind="gradient")
    assert_close(as_tuple(dh)[0], dstate, K=12 * (19 + 4 * 19 + 3), kind="gradient")


@pytest.mark.parametrize(
    "clip", [0.0, -1.0, float("nan"), "norm", ("norm",), ("norm", 0.0), ("value", 1.0), (1.0, 2.0)]
)
def test_errors(clip: Any) -> None:
    with pytest.raises(ValueError, match=r"\[Recurrent\] expected clip_gradient"):
        Recurrent("gru", 2, 3).clip_gradient = clip
    problem = make_problem("gru", Dims(2, 1, 2, 3), np.float32)
    with pytest.raises(ValueError, match=r"\[gru\] expected clip_gradient"):
        problem.vjp(clip_gradient=clip)
