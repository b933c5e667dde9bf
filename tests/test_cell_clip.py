"""The state c of LSTM-like cells is clipped before anything reads it, as TensorFlow's cell_clip."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems import Dims, Problem, make_problem
from test_recurrent import check_stack_slopes
from tolerances import assert_close, assert_same_bits
from unrolled import functional
from unrolled.layers import LSTM, Recurrent

T, B, I, H = 9, 5, 4, 19  # noqa: E741
LIMIT = 0.4
CLIPPING = [info.name for info in functional.cells() if info.clips]
OTHERS = [info.name for info in functional.cells() if not info.clips]
clipping = pytest.mark.parametrize("clipping", CLIPPING)
MODES: list[dict[str, bool]] = [{}, {"ragged": True, "resets": True, "reverse": True}]


def clipped(problem: Problem, limit: float | None = LIMIT) -> Problem:
    return problem.but(options={**problem.options, "cell_clip": limit})


def check(problem: Problem) -> None:
    got, truth = problem.vjp(), problem.reference()
    assert_close(got["y"], truth["y"], K=problem.forward_roundings, kind="forward")
    for key in ("states", "dstates", "grads"):
        for a, b in zip(got[key], truth[key], strict=True):
            assert_close(a, b, K=problem.gradient_roundings, kind="gradient", what=key)
    assert_close(got["dx"], truth["dx"], K=problem.gradient_roundings, kind="gradient")


def test_which_cells_clip() -> None:
    assert set(CLIPPING) == {
        "lstm",
        "lstm_functions",
        "lstm_peephole",
        "lstm_coupled",
        "lstm_projected",
        "lstm_norm",
    }


@clipping
@pytest.mark.parametrize("mode", MODES, ids=["plain", "all"])
def test_kernels_do_what_the_specification_says(
    clipping: str, isa: str, dtype: Any, mode: dict[str, bool]
) -> None:
    check(clipped(make_problem(clipping, Dims(T, B, I, H), dtype, **mode)))


@clipping
def test_the_limit_holds(clipping: str, isa: str, dtype: Any) -> None:
    """And it is met, by some units and not by all."""
    problem = make_problem(clipping, Dims(T, B, I, H), dtype)
    c = [np.empty((T, B, H), dtype)]
    packed = problem.pack(backward=False)
    functional.scan(packed, problem.x, problem.states, steps_out=c, cell_clip=LIMIT)
    met = np.abs(c[0]) == dtype(LIMIT)
    assert (np.abs(c[0]) <= dtype(LIMIT)).all()
    assert 0.05 < met.mean() < 0.95


@clipping
def test_a_limit_beyond_changes_no_bit(clipping: str, isa: str, dtype: Any) -> None:
    problem = make_problem(clipping, Dims(T, B, I, H), dtype, ragged=True)
    expected = tuple(problem.vjp().values())
    assert_same_bits(tuple(clipped(problem, 1e6).vjp().values()), expected)


@clipping
@pytest.mark.parametrize("recompute", ["gates", 3])
def test_recomputing_clips_the_same(clipping: str, isa: str, recompute: Any) -> None:
    problem = clipped(make_problem(clipping, Dims(40, 9, I, H), np.float32, ragged=True))
    again = problem.but(options={**problem.options, "recompute": recompute})
    assert_same_bits(tuple(again.vjp().values()), tuple(problem.vjp().values()))


@clipping
def test_same_bits_for_any_number_of_threads(clipping: str, threads: None) -> None:
    for size in (Dims(5, 1, 40, 130), Dims(4, 70, 33, 150)):
        problem = clipped(make_problem(clipping, size, np.float32, ragged=True))
        functional.set_num_threads(1)
        expected = tuple(problem.vjp().values())
        functional.set_num_threads(3)
        assert_same_bits(tuple(problem.vjp().values()), expected)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_reduced_precision(isa: str, precision: Any) -> None:
    problem = clipped(make_problem("lstm", Dims(1, B, I, H), np.float32)).but(precision=precision)
    (y, states), (truth, final) = problem.scan(), problem.reference_scan()
    assert_close(y, truth, K=problem.forward_roundings, kind="forward")
    assert_close(states[1], final[1], K=problem.forward_roundings, kind="forward")
    assert np.abs(states[1]).max() == np.float32(LIMIT)
    if precision == "bf16":  # a float32 error may turn a rounding of a gate's gradient
        got, expected = problem.vjp()["dstates"][1], problem.reference()["dstates"][1]
        assert np.abs(got - expected).max() <= 2.0**-8 * max(1.0, np.abs(expected).max())


@clipping
def test_a_nan_stays(clipping: str, isa: str) -> None:
    problem = clipped(make_problem(clipping, Dims(T, B, I, H), np.float32))
    expected = problem.vjp()
    problem.x[2, 1, 0] = np.nan
    got = problem.vjp()
    assert np.isnan(got["y"][3:, 1]).all()
    assert_same_bits(got["y"][:, ::2], expected["y"][:, ::2])
    assert_same_bits(got["dx"][:, ::2], expected["dx"][:, ::2])


def test_layers_and_streams(isa: str, rng: np.random.Generator) -> None:
    for layer in (
        LSTM(I, H, 2, cell_clip=LIMIT, rng=rng),
        LSTM(I, H, 2, cell_clip=LIMIT, layer_norm=True, rng=rng),
        LSTM(I, H, 2, cell_clip=LIMIT, proj_size=7, rng=rng),
        Recurrent("lstm_peephole", I, H, 2, cell_clip=LIMIT, zoneout=0.1, rng=rng),
    ):
        assert f"cell_clip={LIMIT}" in repr(layer)
        x = 3 * rng.standard_normal((T, B, I)).astype(np.float32)
        y, state = layer(x)
        assert np.abs(np.asarray(state[1])).max() <= np.float32(LIMIT)
        stream = layer.stream(B)
        assert_same_bits(np.stack([stream(x_t) for x_t in x]), y)
        assert_same_bits(stream.state, state)
        assert_same_bits(stream.fork()(x[0]), y[0])


def test_gradients_are_slopes(rng: np.random.Generator) -> None:
    check_stack_slopes(LSTM(3, 7, 2, cell_clip=0.2, dtype=np.float64, rng=rng), rng)


def test_step_by_step(rng: np.random.Generator) -> None:
    layer = LSTM(I, H, cell_clip=LIMIT, dtype=np.float64, rng=rng)
    x = 3 * rng.standard_normal((T, B, I))
    y, _ = layer(x)
    steps, state = layer.steps_vjp(), (np.zeros((1, B, H)), np.zeros((1, B, H)))
    for x_t, y_t in zip(x, y, strict=True):
        got, state = steps(x_t, state, np.ones(B, np.int64))
        assert_same_bits(got, y_t)


@pytest.mark.parametrize("other", OTHERS)
def test_other_cells_refuse(other: str) -> None:
    with pytest.raises(ValueError, match="no c to clip"):
        Recurrent(other, I, H, cell_clip=1.0)
    problem = make_problem(other, Dims(2, 1, 2, 3), np.float32)
    with pytest.raises(ValueError, match=rf"\[{other}\] expected no cell_clip"):
        clipped(problem).scan()
    zeros = [np.zeros_like(s) for s in problem.states]
    with pytest.raises(ValueError, match=rf"\[{other}\] expected no cell_clip"):
        functional.Stream([problem.pack(backward=False)], [zeros], cell_clip=1.0)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_errors(limit: float) -> None:
    with pytest.raises(ValueError, match=r"\[LSTM\] expected cell_clip > 0"):
        LSTM(I, H, cell_clip=limit)
    with pytest.raises(ValueError, match=r"\[lstm\] expected cell_clip > 0"):
        clipped(make_problem("lstm", Dims(2, 1, 2, 3), np.float32), limit).scan()
