"""What is recomputed in BPTT changes no bit of any result, and memory is known before the run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems import Dims, Problem, make_problem
from stacks import as_tuple
from tolerances import assert_same_bits
from unrolled import functional
from unrolled.layers import GRU, LSTM, Recurrent

OPTIONS = [
    {},
    {"ragged": True, "resets": True},
    {"ragged": True, "reverse": True, "states": False},
    {"reverse": True, "resets": True},
]
# Chunks have at least 256 tokens: all in one, a chunk a step, several chunks in a window.
SIZES = [Dims(0, 3, 5, 4), Dims(1, 1, 1, 1), Dims(600, 1, 3, 7), Dims(60, 20, 9, 17)]
SIZES += [Dims(3, 300, 5, 33)]
CHOICES = ["gates", 1, 30, 10**6]


def run(problem: Problem, recompute: Any) -> tuple[dict[str, Any], int]:
    y, states, saved = functional.scan_vjp(
        problem.pack(), problem.x, problem.states, recompute=recompute, **problem.options
    )
    results = {"y": y, "states": states}
    for name in ("first", "again"):  # a pullback may be called any number of times
        grads = problem.zero_grads()
        dx, dstates = functional.scan_backward(saved, problem.dy, problem.dstates, grads=grads)
        results[name] = (dx, dstates, grads)
    return results, saved.nbytes


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "+".join(o) or "plain")
def test_same_bits(cell: str, isa: str, dtype: type, size: Dims, options: dict[str, bool]) -> None:
    problem = make_problem(cell, size, dtype, **options)
    stored, _ = run(problem, "none")
    assert_same_bits(stored["first"], stored["again"])
    for recompute in CHOICES:
        recomputed, _ = run(problem, recompute)
        for name, expected in stored.items():
            assert_same_bits(recomputed[name], expected, f"{name} with recompute={recompute!r}")


def test_same_bits_with_several_threads(cell: str, threads: None) -> None:
    problem = make_problem(cell, Dims(60, 20, 65, 130), np.float32, ragged=True)
    functional.set_num_threads(1)
    stored, _ = run(problem, "none")
    functional.set_num_threads(3)
    for recompute in CHOICES:
        assert_same_bits(run(problem, recompute)[0]["first"], stored["first"], f"{recompute!r}")


def test_same_bits_of_a_lookup(cell: str, isa: str, rng: np.random.Generator) -> None:
    problem = make_problem(cell, Dims(70, 9, 6, 19), np.float32, ragged=True)
    table = rng.standard_normal((11, 6), np.float32)
    lookup = functional.Lookup(rng.integers(0, 11, (70, 9)), table)
    results = []
    for recompute in ("none", *CHOICES):
        _, _, saved = functional.scan_vjp(
            problem.pack(), lookup, problem.states, recompute=recompute, **problem.options
        )
        grads = problem.zero_grads()
        results.append(
            (*functional.scan_backward(saved, problem.dy, problem.dstates, grads=grads), grads)
        )
    for result in results[1:]:
        assert_same_bits(result, results[0])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("ragged", [False, True])
def test_saved_bytes_are_known_beforehand(
    cell: str, isa: str, dtype: type, size: Dims, ragged: bool
) -> None:
    problem = make_problem(cell, size, dtype, ragged=ragged)
    for recompute in ("none", *CHOICES):
        memory = functional.scan_memory(
            cell,
            size.I,
            size.H,
            size.T,
            size.B,
            output_size=problem.dy.shape[2],
            lengths=problem.options.get("lengths"),
            recompute=recompute,
            dtype=dtype,
        )
        assert memory.saved == run(problem, recompute)[1]
        assert memory.weights == problem.pack().nbytes
        assert memory.peak == memory.weights + memory.saved + max(memory.forward, memory.backward)


def test_memory_of_a_token_is_as_documented(isa: str) -> None:
    steps, hidden = 4096, 112  # whole vectors and cache lines: nothing is rounded up
    for cell, states, values in (("lstm", 2, 4), ("gru", 1, 4), ("rnn_tanh", 1, 1)):
        for recompute, expected in (("none", states + values), ("gates", states)):
            one, two = (
                functional.scan_memory(cell, 8, hidden, t, 1, recompute=recompute).saved
                for t in (steps, 2 * steps)
            )
            assert two - one == 4 * hidden * expected * steps, (cell, recompute)


def test_layer_uses_and_tells_it(rng: np.random.Generator) -> None:
    layer = LSTM(5, 9, 3, bidirectional=True, dropout=0.1, rng=rng)
    x = rng.standard_normal((300, 4, 5), np.float32)
    dy = rng.standard_normal((300, 4, 18), np.float32)
    results, held = {}, {}
    for recompute in ("none", "gates", 64):
        layer.recompute = recompute
        assert layer.recompute == recompute
        layer.zero_grads()
        (y, state), pullback = layer.vjp(x, rng=np.random.default_rng(0))
        results[recompute] = (
            y,
            as_tuple(state),
            *as_tuple(pullback(dy)[1]),
            layer.flat.grads.copy(),
        )
        held[recompute] = layer.memory(300, 4).held
    assert_same_bits(results["gates"], results["none"])
    assert_same_bits(results[64], results["none"])
    assert held[64] < held["gates"] < held["none"]


def test_a_hundred_thousand_steps_train_in_bounded_memory(rng: np.random.Generator) -> None:
    steps = 100_000
    layer = GRU(2, 8, rng=rng)
    everything = layer.memory(steps, 1).saved
    layer.recompute = 1000
    memory = layer.memory(steps, 1)
    assert memory.saved + memory.scratch < everything / 10
    x = rng.standard_normal((steps, 1, 2), np.float32)
    (y, _), pullback = layer.vjp(x)
    pullback(y)
    bounded = layer.flat.grads.copy()
    layer.recompute = "none"
    layer.zero_grads()
    (y, _), pullback = layer.vjp(x)
    pullback(y)
    assert_same_bits(bounded, layer.flat.grads)


def test_bad_choices_are_refused(rng: np.random.Generator) -> None:
    layer = Recurrent("gru", 2, 3, rng=rng)
    for bad in (0, -1, True, "all", 2.0, None):
        with pytest.raises(ValueError, match=r'\[Recurrent\] expected recompute to be "none"'):
            layer.recompute = bad
    with pytest.raises(ValueError, match=r"\[memory\] expected steps >= 0, got -1"):
        layer.memory(-1, 1)
    with pytest.raises(ValueError, match=r"lengths of shape \(B,\)"):
        layer.memory(3, 2, np.array([1]))
