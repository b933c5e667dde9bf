"""Variational dropout of h: one mask a row, on the way into the recurrent product alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems import Dims, Problem, make_problem
from stacks import as_tuple
from test_recurrent import check_stack_slopes
from tolerances import assert_close, assert_same_bits
from unrolled import functional, reference
from unrolled.layers import GRU, LSTM, RNN, Recurrent

T, B, I, H = 9, 6, 4, 19  # noqa: E741
MODES: list[dict[str, bool]] = [{}, {"ragged": True, "resets": True, "reverse": True}]
modes = pytest.mark.parametrize("mode", MODES, ids=["plain", "all"])


def masked(problem: Problem) -> Problem:
    """The problem with factors of dropout: 0, or one over what is kept."""
    shape = problem.dstates[0].shape
    kept = np.random.default_rng(3).random(shape) < 0.7
    factors = (kept / 0.7).astype(problem.x.dtype)
    return problem.but(options={**problem.options, "recurrent_factors": factors})


@modes
@pytest.mark.parametrize("size", [Dims(T, B, I, H), Dims(1, 1, 1, 1), Dims(5, 33, 3, 40)], ids=str)
def test_kernels_do_what_the_specification_says(
    matrix_cell: str, isa: str, dtype: Any, size: Dims, mode: dict[str, bool]
) -> None:
    problem = masked(make_problem(matrix_cell, size, dtype, **mode))
    got, truth = problem.vjp(), problem.reference()
    K, L = problem.forward_roundings, problem.gradient_roundings
    assert_close(got["y"], truth["y"], K=K, kind="forward")
    assert_close(problem.scan()[0], truth["y"], K=K, kind="forward")
    for key in ("states", "dstates", "grads"):
        for a, b in zip(got[key], truth[key], strict=True):
            assert_close(a, b, K=L, kind="gradient", what=key)
    assert_close(got["dx"], truth["dx"], K=L, kind="gradient")


def test_factors_of_one_change_no_bit(matrix_cell: str, isa: str, dtype: Any) -> None:
    problem = make_problem(matrix_cell, Dims(T, B, I, H), dtype, ragged=True, resets=True)
    ones = np.ones_like(problem.dstates[0])
    same = problem.but(options={**problem.options, "recurrent_factors": ones})
    got, expected = same.vjp(), problem.vjp()
    for key in ("y", "states"):
        assert_same_bits(got[key], expected[key])
    # Gradients through the product are added to the others as one sum.
    for a, b in zip(got["grads"], expected["grads"], strict=True):
        assert_close(a, b, K=2 * problem.gradient_roundings, kind="gradient")


def test_what_is_masked(isa: str) -> None:
    """A unit whose h is dropped tells the others nothing, and itself only outside the product."""
    problem = make_problem("gru", Dims(3, 1, 2, 4), np.float64)
    factors = np.array([[0.0, 1, 1, 1]])
    h = np.array([[9.0, 0.1, 0.2, 0.3]])
    other = h.copy()
    other[0, 0] = -5.0
    one = problem.but(x=problem.x[:1], options={"recurrent_factors": factors})
    (y, _), (z, _) = one.but(states=(h,)).scan(), one.but(states=(other,)).scan()
    assert_same_bits(y[0, 0, 1:], z[0, 0, 1:])
    assert y[0, 0, 0] != z[0, 0, 0]  # the update gate lets the state itself through


@modes
@pytest.mark.parametrize("recompute", ["gates", 3])
def test_recomputing_drops_the_same(
    matrix_cell: str, isa: str, recompute: Any, mode: dict[str, bool]
) -> None:
    for size in (Dims(40, 9, I, H), Dims(70, 20, 3, 33)):
        problem = masked(make_problem(matrix_cell, size, np.float32, **mode))
        again = problem.but(options={**problem.options, "recompute": recompute})
        assert_same_bits(tuple(again.vjp().values()), tuple(problem.vjp().values()))


@pytest.mark.parametrize("size", [Dims(5, 1, 40, 130), Dims(4, 70, 33, 150)], ids=str)
def test_same_bits_for_any_number_of_threads(
    matrix_cell: str, isa: str, size: Dims, threads: None
) -> None:
    problem = masked(make_problem(matrix_cell, size, np.float32, ragged=True, resets=True))
    functional.set_num_threads(1)
    expected = (*problem.scan(), *problem.vjp().values())
    for count in (2, 3):
        functional.set_num_threads(count)
        assert_same_bits((*problem.scan(), *problem.vjp().values()), expected)


def test_a_row_has_the_same_bits_in_any_batch(matrix_cell: str, isa: str, dtype: Any) -> None:
    problem = masked(make_problem(matrix_cell, Dims(T, B, I, 37), dtype, ragged=True, resets=True))
    whole, factors = problem.vjp(), problem.options["recurrent_factors"]
    for b in range(B):
        alone = problem.row(b)
        options = {**alone.options, "recurrent_factors": factors[b : b + 1]}
        got = alone.but(options=options).vjp()
        assert_same_bits(got["dx"][:, 0], whole["dx"][: len(got["dx"]), b])
        for key in ("states", "dstates"):
            for a, d in zip(got[key], whole[key], strict=True):
                assert_same_bits(a[0], d[b])


def test_reduced_precision(narrow_cell: str, isa: str) -> None:
    """From the same states, where roundings are the same in both."""
    problem = masked(make_problem(narrow_cell, Dims(1, B, I, H), np.float32))
    for precision in ("bf16", "int8"):
        one = problem.but(precision=precision)
        assert_close(
            one.scan()[0], one.reference_scan()[0], K=one.forward_roundings, kind="forward"
        )
    got, truth = problem.but(precision="bf16").vjp(), problem.but(precision="bf16").reference()
    for key in ("dstates", "grads"):
        for a, b in zip(got[key], truth[key], strict=True):
            assert np.abs(a - b).max() <= B * 2.0**-8 * max(1.0, np.abs(b).max()), key


def test_with_zoneout_clips_and_lookups(isa: str, rng: np.random.Generator) -> None:
    """All that may be asked for at once, of cells of one and of two products."""
    for cell in ("lstm", "lstm_projected", "lstm_norm"):
        problem = masked(make_problem(cell, Dims(T, B, I, H), np.float64, ragged=True))
        updates = [rng.random((T, *d.shape)) for d in problem.dstates]
        options = {**problem.options, "updates": updates, "cell_clip": 0.5}
        problem = problem.but(options=options)
        got = problem.vjp(clip_gradient=("norm", 0.5))
        truth = problem.reference(clip_gradient=("norm", 0.5))
        for key in ("dstates", "grads"):
            for a, b in zip(got[key], truth[key], strict=True):
                assert_close(a, b, K=problem.gradient_roundings, kind="gradient", what=key)


def test_a_layer_draws_once_for_all_steps(rng: np.random.Generator) -> None:
    """The layer is the specification with factors of 0 and 1 / (1 - p), one draw a row and scan."""
    layer = LSTM(I, H, 2, bidirectional=True, recurrent_dropout=0.4, dtype=np.float64, rng=rng)
    x = rng.standard_normal((T, B, I))
    drawn: list[np.ndarray] = []
    run = functional.scan_vjp

    def spy(*args: Any, **options: Any) -> Any:
        drawn.append(options["recurrent_factors"])
        return run(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functional, "scan_vjp", spy)
        (y, _), _ = layer.vjp(x, rng=np.random.default_rng(1))
    assert len(drawn) == 4
    truth: Any = x
    for k in range(2):
        halves = []
        for direction, suffix in enumerate(("", "_reverse")):
            weights = [layer.parameters[f"{n}_l{k}{suffix}"] for n in functional.PARAMETERS[:4]]
            factors = drawn[2 * k + direction]
            assert factors.shape == (B, H)
            assert set(np.unique(factors)) == {0.0, 1 / 0.6}
            halves.append(
                reference.scan(
                    "lstm",
                    truth,
                    None,
                    *weights,
                    reverse=bool(suffix),
                    recurrent_factors=factors,
                )[0]
            )
        truth = np.concatenate(halves, axis=2)
    assert_close(y, truth, K=2 * T * (I + 2 * H + H + 4), kind="forward")
    every = np.concatenate(drawn)
    assert len({row.tobytes() for row in every}) == len(every)
    assert abs((every == 0).mean() - 0.4) < 4 * np.sqrt(0.24 / every.size)


def test_inference_drops_nothing(rng: np.random.Generator) -> None:
    layer = GRU(I, H, recurrent_dropout=0.4, rng=rng)
    plain = GRU(I, H, init="zeros")
    plain.load_parameters(layer.parameters)
    x = rng.standard_normal((T, B, I)).astype(np.float32)
    y, _ = layer(x)
    assert_same_bits(y, plain(x)[0])
    stream = layer.stream(B)
    assert_same_bits(np.stack([stream(x_t) for x_t in x]), y)
    (dropped, _), _ = layer.vjp(x, rng=np.random.default_rng(1))
    assert_same_bits(dropped[0], y[0])  # from a state of zeros
    assert not np.array_equal(dropped[1], y[1])


def test_the_same_for_any_number_of_threads_and_the_same_seed(
    threads: None, rng: np.random.Generator
) -> None:
    layer = GRU(33, 150, 2, recurrent_dropout=0.3, rng=rng)
    x = rng.standard_normal((4, 70, 33)).astype(np.float32)
    results = []
    for count in (1, 2, 3):
        functional.set_num_threads(count)
        (y, _), pullback = layer.vjp(x, rng=np.random.default_rng(5))
        results.append((y, pullback(np.ones_like(y))[0]))
    for result in results[1:]:
        assert_same_bits(result, results[0])


def test_gradients_are_slopes(rng: np.random.Generator) -> None:
    check_stack_slopes(LSTM(3, 7, 2, recurrent_dropout=0.3, dtype=np.float64, rng=rng), rng)
    check_stack_slopes(
        GRU(3, 7, 2, recurrent_dropout=0.3, reset_after=False, dtype=np.float64, rng=rng), rng
    )


@pytest.mark.parametrize("recompute", ["none", "gates", 300])
@pytest.mark.parametrize("clip", [None, ("norm", 1.0)])
def test_memory_is_known_beforehand(
    matrix_cell: str, recompute: Any, clip: Any, rng: np.random.Generator
) -> None:
    layer = Recurrent(
        matrix_cell, I, H, zoneout=0.1, recurrent_dropout=0.3, weight_dropout=0.2, rng=rng
    )
    layer.recompute, layer.clip_gradient = recompute, clip
    problem = masked(make_problem(matrix_cell, Dims(700, B, I, H), np.float32))
    options = {**problem.options, "recompute": recompute}
    *_, saved = functional.scan_vjp(problem.pack(), problem.x, problem.states, **options)
    sizes: dict[str, Any] = {"recompute": recompute, "clip_gradient": clip}
    width = problem.dstates[0].shape[1]
    told = functional.scan_memory(
        matrix_cell, I, H, 700, B, output_size=width, recurrent_factors=True, **sizes
    )
    assert told.saved == saved.nbytes
    plain = functional.scan_memory(
        matrix_cell, I, H, 700, B, output_size=width, recompute=recompute
    )
    assert told.backward > plain.backward
    assert layer.memory(700, B).peak > told.peak


def test_step_by_step(rng: np.random.Generator) -> None:
    """One mask for all steps: without a mask of its own each step is the one of a scan."""
    layer = GRU(I, H, recurrent_dropout=0.4, dtype=np.float64, rng=rng)
    x = rng.standard_normal((T, B, I))
    steps = layer.steps_vjp(rng=np.random.default_rng(7))
    (y, _), pullback = layer.vjp(x, rng=np.random.default_rng(7))
    state: Any = np.zeros((1, B, H))
    got = []
    for x_t in x:
        h, state = steps(x_t, state, np.ones(B, np.int64))
        got.append(h)
    assert_close(np.stack(got), y, K=T * (I + H + 3), kind="forward")
    dy = rng.standard_normal(y.shape)
    expected, dstate = pullback(dy)
    dh: Any = np.zeros((1, B, H))
    for t in reversed(range(T)):
        dx, dh = steps.pull(dy[t], dh)
        assert_close(dx, expected[t], K=T * (I + 4 * H + B), kind="gradient")
    assert_close(as_tuple(dh)[0], as_tuple(dstate)[0], K=T * (I + 4 * H + B), kind="gradient")


def test_errors(rng: np.random.Generator) -> None:
    for p in (-0.1, 1.0):
        with pytest.raises(ValueError, match="recurrent_dropout < 1"):
            RNN(I, H, recurrent_dropout=p)
    for cell in ("indrnn", "min_gru"):
        with pytest.raises(ValueError, match="expected recurrent_dropout=0"):
            Recurrent(cell, I, H, recurrent_dropout=0.1)
        problem = masked(make_problem(cell, Dims(2, 3, I, H), np.float32))
        with pytest.raises(ValueError, match="no recurrent product"):
            problem.scan()
    x = np.zeros((T, B, I), np.float32)
    with pytest.raises(ValueError, match=r"recurrent_dropout=0\.1 needs rng"):
        GRU(I, H, recurrent_dropout=0.1).vjp(x)
    weights = make_problem("gru", Dims(T, B, I, H), np.float32).pack()
    with pytest.raises(ValueError, match="recurrent_factors"):
        functional.scan(weights, x, recurrent_factors=np.ones((B, H + 1), np.float32))
    with pytest.raises(TypeError, match="recurrent_factors"):
        functional.scan(weights, x, recurrent_factors=np.ones((B, H)))
