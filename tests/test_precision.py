"""Reduced precision computes what the specification says, with the promises of full precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems import DIMS, Dims, Problem, make_problem
from stacks import as_tuple
from tolerances import assert_close, assert_same_bits
from unrolled import functional, reference
from unrolled.layers import GRU, LSTM, AdaptiveSoftmaxHead, Recurrent, SoftmaxHead

REDUCED = ["bf16", "int8"]
# A part of the sizes; K of 1 .. 3 leaves a word of a packed column partly empty.
SIZES = [*[d for d in DIMS if d.T <= 7][::2], Dims(2, 3, 2, 3), Dims(3, 2, 1, 1)]


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize(
    "other", [c.name for c in functional.cells() if "bf16" not in c.precisions]
)
def test_other_cells_say_that_they_have_full_precision_alone(
    isa: str, other: str, precision: str
) -> None:
    problem = reduced(precision, other, Dims(2, 3, 4, 5), np.float32)
    with pytest.raises(ValueError, match=rf"\[{other}\] expected precision full"):
        problem.pack(backward=False)
    with pytest.raises(ValueError, match=rf"\[{other}\] expected precision full"):
        functional.scan_memory(other, 4, 5, 2, 3, precision=problem.precision)


def reduced(precision: str, *args: Any, **kwargs: Any) -> Problem:
    return make_problem(*args, **kwargs).but(precision=precision)


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_one_step(narrow_cell: str, isa: str, precision: str, size: Dims) -> None:
    """From the same states the roundings are the same, so that only sums differ in float32."""
    problem = reduced(precision, narrow_cell, size._replace(T=min(size.T, 1)), np.float32)
    y, states = problem.scan()
    truth, final = problem.reference_scan()
    K = problem.forward_roundings
    assert_close(y, truth, K=K, kind="forward")
    for got, expected in zip(states, final, strict=True):
        assert_close(got, expected, K=K, kind="forward")


def steps(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """y, and what the specification makes of every step from the state before it."""
    y, _ = problem.scan()
    states, expected = problem.states, np.empty(y.shape)
    for t in range(len(y)):
        one = problem.but(x=problem.x[t : t + 1], states=states)
        expected[t] = one.reference_scan()[0][0]
        _, states = one.scan()
    return y, expected


@pytest.mark.parametrize("precision", REDUCED)
def test_many_steps(narrow_cell: str, isa: str, precision: str) -> None:
    problem = reduced(precision, narrow_cell, Dims(20, 5, 9, 21), np.float32)
    y, expected = steps(problem)
    assert_close(y, expected, K=problem.forward_roundings, kind="forward")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bf16_gradients(narrow_cell: str, isa: str, size: Dims) -> None:
    """A float32 error may turn a rounding of a gate's gradient, by one bfloat16 ULP of 2^-8."""
    problem = reduced("bf16", narrow_cell, size._replace(T=min(size.T, 1)), np.float32, ragged=True)
    got, truth = problem.vjp(), problem.reference()
    pairs = [("dx", got["dx"], truth["dx"])]
    pairs += [("dstates", a, b) for a, b in zip(got["dstates"], truth["dstates"], strict=True)]
    pairs += [("grads", a, b) for a, b in zip(got["grads"], truth["grads"], strict=True)]
    for what, actual, expected in pairs:
        if actual.size == 0:
            continue
        scale = max(1.0, float(np.abs(expected).max()))
        error = np.abs(actual - expected)
        assert error.max() <= 2.0**-8 * scale, what
        # ... which is rare, though one turn moves a whole row of dx or a whole column of states.
        tight = problem.gradient_roundings * np.finfo(np.float32).eps * scale
        assert np.mean(error <= tight) >= 0.5, what


def test_bf16_gradients_point_where_those_of_full_precision_point(
    narrow_cell: str, isa: str
) -> None:
    full = make_problem(narrow_cell, Dims(30, 8, 20, 30), np.float32)
    exact, rounded = full.vjp(), full.but(precision="bf16").vjp()
    for a, b in zip(exact["grads"], rounded["grads"], strict=True):
        cosine = float(np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))
        assert cosine > 1 - 2.0**-8


@pytest.mark.parametrize("precision", REDUCED)
def test_int8_and_bf16_stay_near_full_precision(narrow_cell: str, isa: str, precision: str) -> None:
    """One step: each factor is off by at most half a quantum of its row."""
    problem = make_problem(narrow_cell, Dims(1, 4, 33, 40), np.float32)
    full, _ = problem.reference_scan()
    y, _ = problem.but(precision=precision).scan()
    w_ih, w_hh = problem.weights[:2]
    quantum = {"bf16": 2.0**-8, "int8": 1.0 / 127}[precision]
    bound = 0.0
    for a, w in ((problem.x[0], w_ih), (problem.states[0], w_hh)):
        bound += a.shape[1] * np.abs(a).max() * np.abs(w).max() * quantum * (1 + quantum)
    assert np.abs(y - full).max() <= 2 * bound  # gates have a slope of at most 1, states pass once
    assert np.abs(y - full).max() > 0


@pytest.mark.parametrize("precision", REDUCED)
def test_batch_equals_rows(narrow_cell: str, isa: str, precision: str) -> None:
    problem = reduced(
        precision,
        narrow_cell,
        Dims(12, 23, 17, 33),
        np.float32,
        ragged=True,
        resets=True,
        reverse=True,
    )
    y, states = problem.scan()
    for b, length in enumerate(problem.options["lengths"]):
        alone, final = problem.row(b).scan()
        assert_same_bits(y[:length, b], alone[:, 0], f"y of row {b}")
        assert_same_bits(tuple(s[b : b + 1] for s in states), final, f"states of row {b}")


@pytest.mark.parametrize("precision", REDUCED)
def test_same_bits_for_any_number_of_threads(
    narrow_cell: str, precision: str, threads: None
) -> None:
    problem = reduced(precision, narrow_cell, Dims(40, 20, 65, 130), np.float32, ragged=True)
    run = problem.vjp if precision == "bf16" else problem.scan
    functional.set_num_threads(1)
    one = run()
    functional.set_num_threads(3)
    three = run()
    if precision == "bf16":
        one, three = tuple(one.values()), tuple(three.values())
    assert_same_bits(three, one)


@pytest.mark.parametrize("recompute", ["gates", 1])
def test_bf16_recomputes_the_same_bits(narrow_cell: str, isa: str, recompute: Any) -> None:
    problem = reduced("bf16", narrow_cell, Dims(60, 20, 9, 17), np.float32, ragged=True)
    assert_same_bits(problem.recomputed(recompute), problem.recomputed("none"))


@pytest.mark.parametrize("precision", REDUCED)
def test_stream_and_lookup_equal_the_sequence(
    narrow_cell: str, isa: str, precision: str, rng: np.random.Generator
) -> None:
    layer = Recurrent(narrow_cell, 6, 19, 2, rng=rng)
    layer.precision = precision
    table = rng.standard_normal((11, 6), np.float32)
    tokens = rng.integers(0, 11, (9, 3))
    y, final = layer(table[tokens])
    stream = layer.stream(3)
    assert_same_bits(np.stack([stream(table[t]) for t in tokens]), y)
    assert_same_bits(as_tuple(stream.state), as_tuple(final))
    assert_same_bits(layer(functional.Lookup(tokens, table))[0], y)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_int8_keeps_what_is_not_finite_to_its_row(narrow_cell: str, isa: str, bad: float) -> None:
    problem = reduced("int8", narrow_cell, Dims(3, 4, 9, 10), np.float32)
    expected, _ = problem.scan()
    x = problem.x.copy()
    x[1, 2, 4] = bad
    y, _ = problem.but(x=x).scan()
    assert_same_bits(y[:, [0, 1, 3]], expected[:, [0, 1, 3]])
    assert_same_bits(y[0], expected[0])
    if narrow_cell != "rnn_relu":  # max(NaN, 0) is 0 there in full precision, too
        assert np.isnan(y[1:, 2]).all()


@pytest.mark.parametrize("scale", [0.0, 1e-38, 1e-20, 1e20])
def test_int8_of_any_magnitude(isa: str, scale: float) -> None:
    problem = reduced("int8", "rnn_tanh", Dims(1, 2, 8, 9), np.float32, biases=(False, False))
    x = (problem.x * np.float32(scale)).astype(np.float32)
    changed = problem.but(x=x, states=None)
    assert_close(changed.scan()[0], changed.reference_scan()[0], K=32, kind="forward")


def test_round_bf16_is_that_of_the_bits() -> None:
    halves = np.array([1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8, 3.4e38, np.inf, 0.0])
    expected = [1.0, 1.0, 1 + 2.0**-6, -1.0, np.inf, np.inf, 0.0]
    assert_same_bits(reference.round_bf16(halves), np.array(expected))


def test_layer_trains_in_one_and_streams_in_another(rng: np.random.Generator) -> None:
    layer = LSTM(5, 9, rng=rng)
    x = rng.standard_normal((4, 2, 5), np.float32)
    full, _ = layer(x)
    for precision in REDUCED:
        layer.precision = precision
        near, _ = layer(x)
        assert 0 < np.abs(near - full).max() < 0.05
    with pytest.raises(ValueError, match="precision int8, which is for inference"):
        layer.vjp(x)
    assert layer.stream().batch == 1
    layer.precision = "full"
    assert_same_bits(layer(x)[0], full)


def test_int8_is_a_quarter(rng: np.random.Generator) -> None:
    weights = GRU(256, 256, rng=rng).parameters.values()
    sizes = {p: functional.pack("gru", *weights, precision=p, backward=False).nbytes
             for p in ("full", "bf16", "int8")}  # fmt: skip
    assert sizes["bf16"] < 0.51 * sizes["full"]
    assert sizes["int8"] < 0.27 * sizes["full"]


def test_bad_choices_are_refused(rng: np.random.Generator) -> None:
    layer = GRU(2, 3, rng=rng)
    with pytest.raises(ValueError, match=r"\[GRU\] expected precision to be one of full, bf"):
        layer.precision = "fp8"  # type: ignore[assignment]
    double = GRU(2, 3, dtype=np.float64, rng=rng)
    double.precision = "bf16"
    with pytest.raises(ValueError, match="expected full for arrays of float64, got bf16"):
        double(np.zeros((1, 1, 2)))
    with pytest.raises(ValueError, match="expected full, bf16 or int8, got 'fp8'"):
        functional.pack("gru", *layer.parameters.values(), precision="fp8")  # type: ignore[arg-type]


# (N, H, V): odd sizes, one of each, more rows than a block and columns than a pass of the product.
HEADS = [(1, 1, 1), (5, 3, 2), (7, 33, 17), (300, 16, 101), (40, 70, 2100), (9, 1030, 40)]


def head_problem(sizes: tuple[int, int, int], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    N, H, V = sizes
    x, weight, bias = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((N, H), (V, H), (V,))
    )
    return x, weight / np.float32(H**0.5), bias, rng.integers(-1, V, N)


@pytest.mark.parametrize("sizes", HEADS, ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_bf16_losses_of_a_head(
    isa: str, sizes: tuple[int, int, int], smoothing: float, rng: np.random.Generator
) -> None:
    """As those of a layer: a float32 error may turn a rounding of a logit's gradient."""
    problem = head_problem(sizes, rng)
    N, H, V = sizes
    options: dict[str, Any] = {"smoothing": smoothing, "precision": "bf16"}
    truth = reference.linear_cross_entropy_vjp(*problem, 0.5, **options)
    got = functional.linear_cross_entropy_vjp(*problem, 0.5, **options)
    roundings = 2 * (H + 1) + (2 if smoothing else 1) * V
    assert_close(got[0], truth[0], K=roundings, kind="head", what="losses")
    if not smoothing:
        losses = functional.linear_cross_entropy(*problem, precision="bf16")
        assert_close(losses, truth[0], K=roundings, kind="head", what="losses")
    assert_close(got[3], truth[3], K=roundings + V + N, kind="head", what="dbias")
    for what, actual, expected in zip(("dx", "dweight"), got[1:3], truth[1:3], strict=True):
        scale = max(1.0, float(np.abs(expected).max()))
        error = np.abs(actual - expected)
        assert error.max() <= 2.0**-8 * scale, what
        tight = (roundings + V + N) * np.finfo(np.float32).eps * scale
        assert np.mean(error <= tight) >= 0.5, what


def test_bf16_losses_have_the_same_bits_for_any_team_and_alone(
    isa: str, threads: None, rng: np.random.Generator
) -> None:
    x, weight, bias, targets = head_problem((530, 37, 131), rng)
    results = []
    for count in (1, 3):
        functional.set_num_threads(count)
        results.append(
            functional.linear_cross_entropy_vjp(x, weight, bias, targets, precision="bf16")
        )
    assert_same_bits(results[1], results[0])
    for n in (0, 15, 16, 529):
        row = slice(n, n + 1)
        alone = functional.linear_cross_entropy_vjp(
            x[row], weight, bias, targets[row], precision="bf16"
        )
        assert_same_bits(alone[:2], tuple(a[row] for a in results[0][:2]))


def test_heads_follow_the_precision_of_their_model(isa: str, rng: np.random.Generator) -> None:
    x, _, _, targets = head_problem((20, 12, 30), rng)
    heads = [SoftmaxHead(12, 30, rng=rng), AdaptiveSoftmaxHead(12, 30, [10], rng=rng)]
    for head in heads:
        full, inference = head.loss_vjp(x, targets)[0], head.losses(x, targets)
        with head.in_precision("bf16"):
            loss, pullback = head.loss_vjp(x, targets)
            assert loss != full
            assert abs(loss - full) < 2.0**-8 * full
            assert not np.array_equal(head.losses(x, targets), inference)
            dx = pullback()
        assert head.loss_vjp(x, targets)[0] == full
        exact = head.loss_vjp(x, targets)[1]()
        assert 0 < np.abs(dx - exact).max() < 2.0**-6 * np.abs(exact).max()
        with head.in_precision("int8"):
            assert_same_bits(head.losses(x, targets), inference)


def test_losses_say_which_precisions_there_are(rng: np.random.Generator) -> None:
    x, weight, bias, targets = head_problem((3, 4, 5), rng)
    with pytest.raises(ValueError, match=r"expected precision full or bf16, got int8"):
        functional.linear_cross_entropy(x, weight, bias, targets, precision="int8")
    with pytest.raises(ValueError, match=r"expected full for arrays of float64, got bf16"):
        functional.linear_cross_entropy(
            *(a.astype(np.float64) for a in (x, weight, bias)), targets, precision="bf16"
        )
