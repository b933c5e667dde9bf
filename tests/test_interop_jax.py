"""Layers on JAX's arrays give the bits of our own, and the gradients that JAX derives itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import unrolled
from problems import Dims, make_problem
from processes import run_python
from tolerances import assert_close, assert_same_bits
from unrolled import functional

jax = pytest.importorskip("jax", reason='jax is not installed: pip install "unrolled[jax]"')

from jax_problems import CELLS, call, fast, plain, tree, vjp  # noqa: E402 - needs jax

jnp: Any = jax.numpy

# Each is compiled by XLA anew; the kernels' own tests visit more.
SIZES = [Dims(1, 1, 1, 1), Dims(23, 33, 5, 17)]


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """With 64-bit types; those without are in tests of their own."""
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dims", SIZES, ids=str)
@pytest.mark.parametrize("options", ["plain", "ragged and resets", "no state, no biases"])
def test_bits_are_those_of_the_kernels(
    name: str, dims: Dims, options: str, dtype: type[np.floating]
) -> None:
    """Both passes; and so they are those of `functional`, whose tests say how exact they are."""
    bare = options.startswith("no")
    problem = make_problem(
        name,
        dims,
        dtype,
        ragged=options.startswith("ragged"),
        resets=options.startswith("ragged"),
        biases=(not bare, not bare),
    )
    ours = problem.but(states=None).vjp() if bare else problem.vjp()
    theirs = vjp(problem.but(states=tuple(map(np.zeros_like, problem.states))) if bare else problem)
    for part in ours:
        assert_same_bits(theirs[part], ours[part], f"{name} {part}")


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("options", [{}, {"ragged": True}, {"resets": True}], ids=str)
def test_gradients_are_those_that_jax_derives(
    name: str, options: dict[str, bool], dtype: type[np.floating]
) -> None:
    problem = make_problem(name, (6, 5, 4, 7), dtype, **options)
    double = [jax.tree.map(lambda a: np.asarray(a, np.float64), part) for part in (
        tree(problem), problem.x, problem.states, (problem.dy, problem.dstates))]  # fmt: skip
    params, x, states, dresults = double
    (y, final), pullback = jax.vjp(lambda *a: plain(problem, *a), params, x, states)
    grads, dx, dstates = pullback((jnp.asarray(dresults[0]), tuple(map(jnp.asarray, dresults[1]))))
    ours = vjp(problem)
    forward, gradient = problem.forward_roundings, problem.gradient_roundings
    pairs: list[tuple[str, Any, Any, int, str]] = [
        ("y", ours["y"], y, forward, "forward"),
        ("dx", ours["dx"], dx, gradient, "gradient"),
    ]
    for k, (state, dstate) in enumerate(zip(final, dstates, strict=True)):
        pairs += [
            (f"state {k}", ours["states"][k], state, forward, "forward"),
            (f"dstate {k}", ours["dstates"][k], dstate, gradient, "gradient"),
        ]
    for key, actual in zip(tree(problem), ours["grads"], strict=True):
        pairs.append((f"d{key}", actual, grads[key], gradient, "gradient"))
    for what, actual, expected, count, kind in pairs:
        # Both round, the plain scan in float64.
        kind = "peer" if dtype is np.float64 else kind
        assert_close(actual, expected, K=count, kind=kind, dtype=dtype, what=what)


def test_no_steps_and_no_rows() -> None:
    for dims in (Dims(0, 3, 5, 4), Dims(3, 0, 5, 4)):
        problem = make_problem("lstm", dims, np.float32)
        ours, theirs = problem.vjp(), vjp(problem)
        for part in ours:
            assert_same_bits(theirs[part], ours[part], f"{dims} {part}")


LAYERS = {"lstm": unrolled.LSTM, "gru": unrolled.GRU, "rnn_tanh": unrolled.RNN}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("both", [False, True], ids=["one direction", "both directions"])
@pytest.mark.parametrize("biased", [True, False], ids=["biases", "no biases"])
def test_stacks_are_those_of_our_layers(
    name: str, both: bool, biased: bool, dtype: type[np.floating], rng: np.random.Generator
) -> None:
    """Layers and directions, resets and lengths, and gradients of everything, bit for bit."""
    steps, batch, inputs, hidden, depth = 6, 4, 3, 5, 2
    layer = LAYERS[name](
        inputs, hidden, depth, bias=biased, bidirectional=both, dtype=dtype, rng=rng
    )
    scans = depth * (1 + both)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    count = 2 if name == "lstm" else 1
    state: Any = tuple(normal(scans, batch, hidden) for _ in range(count))
    dstate: Any = tuple(normal(scans, batch, hidden) for _ in range(count))
    if count == 1:
        state, dstate = state[0], dstate[0]
    x, dy = normal(steps, batch, inputs), normal(steps, batch, (1 + both) * hidden)
    options = {
        "lengths": np.array([6, 0, 3, 5]),
        "resets": rng.random((steps, batch)) < 0.3,
    }
    (y, final), pullback = layer.vjp(x, state, **options)
    dx, dinitial = pullback(dy, dstate)

    params = {name: array.copy() for name, array in layer.parameters.items()}
    function = CELLS[name][0]
    (ours_y, ours_final), pull = jax.vjp(lambda *a: function(*a, **options), params, x, state)
    grads, ours_dx, ours_dinitial = pull((dy, dstate))
    assert_same_bits(ours_y, y, "y")
    assert_same_bits(ours_final, final, "state")
    assert_same_bits(ours_dinitial, dinitial, "dstate")
    assert {*grads} == {*layer.parameters}
    for key, grad in grads.items():
        assert_same_bits(grad, layer.grads[key], f"d{key}")
    if not both:  # of two directions JAX sums what we add up in place
        assert_same_bits(ours_dx, dx, "dx")
    else:
        K = steps * (2 * hidden + 5 * hidden + batch)
        assert_close(ours_dx, dx, K=K, kind="peer", what="dx")


@pytest.mark.parametrize("name", CELLS)
def test_reverse_is_the_second_direction(name: str) -> None:
    problem = make_problem(name, (6, 4, 3, 5), np.float32, ragged=True, resets=True)
    y, states = call(problem, tree(problem), problem.x, problem.states, reverse=True)
    both = {f"{key}{end}": w for key, w in tree(problem).items() for end in ("", "_reverse")}
    function, extra = CELLS[name]
    initial = tuple(np.stack([s, s]) for s in problem.states)
    ys, final = function(
        both, problem.x, initial if len(initial) > 1 else initial[0], **extra, **problem.options
    )
    assert_same_bits(y, ys[:, :, 5:])
    assert_same_bits(states, tuple(s[1] for s in (final if len(initial) > 1 else (final,))))


@pytest.mark.parametrize("name", CELLS)
def test_sequences_without_a_batch(name: str) -> None:
    problem = make_problem(name, (6, 1, 3, 5), np.float32, resets=True)
    function, extra = CELLS[name]
    y, _ = call(problem, tree(problem), problem.x, None)
    alone, final = function(
        tree(problem), problem.x[:, 0], resets=problem.options["resets"][:, 0], **extra
    )
    assert_same_bits(alone, y[:, 0])
    assert jax.tree.map(np.shape, final) == (((1, 5), (1, 5)) if name == "lstm" else (1, 5))
    short, _ = function(tree(problem), problem.x[:, 0], lengths=4, **extra)
    assert_same_bits(short[:4], function(tree(problem), problem.x[:4, 0], **extra)[0])
    assert not np.any(short[4:])


def test_every_instruction_set(isa: str) -> None:
    problem = make_problem("lstm", (7, 3, 5, 17), np.float32)
    ours, theirs = problem.vjp(), vjp(problem)
    for part in ours:
        assert_same_bits(theirs[part], ours[part], part)


@pytest.mark.skipif(len(functional.available_isas()) < 2, reason="needs two instruction sets")
def test_a_program_is_for_one_instruction_set() -> None:
    problem = make_problem("gru", (3, 2, 4, 5), np.float32)
    program = jax.jit(lambda p, x: fast.gru(p, x)[0]).lower(tree(problem), problem.x).compile()
    before = functional.isa()
    functional._force_isa(next(isa for isa in functional.available_isas() if isa != before))
    try:
        with pytest.raises(Exception, match=r"\[gru\] expected a program compiled for isa"):
            jax.block_until_ready(program(tree(problem), problem.x))
    finally:
        functional._force_isa(before)


def test_any_number_of_threads(threads: None) -> None:
    problem = make_problem("lstm", (20, 64, 64, 64), np.float32)
    run = jax.jit(lambda p, x, s: jax.vjp(lambda *a: call(problem, *a)[0], p, x, s)[1](problem.dy))
    results = []
    for count in (1, 2, 3):
        functional.set_num_threads(count)
        results.append(run(tree(problem), problem.x, problem.states))
    for other in results[1:]:
        assert_same_bits(jax.tree.leaves(other), jax.tree.leaves(results[0]))


def test_tiny_numbers_are_not_taken_for_zero() -> None:
    """XLA's threads do, which must not reach the kernels."""
    problem = make_problem(
        "rnn_relu", (2, 2, 1, 3), np.float32, states=False, biases=(False, False)
    )
    weight = np.abs(problem.weights[0])
    problem = problem.but(x=np.full_like(problem.x, 1e-40), weights=(weight, *problem.weights[1:]))
    y = jax.jit(lambda p, x: call(problem, p, x, None)[0])(tree(problem), problem.x)
    assert_same_bits(y, problem.scan()[0])
    assert np.any(np.asarray(y))


def test_without_64_bits(rng: np.random.Generator) -> None:
    problem = make_problem("lstm", (5, 4, 3, 6), np.float32, ragged=True, resets=True)
    with jax.enable_x64(False):
        ours, theirs = problem.vjp(), vjp(problem)
        for part in ours:
            assert_same_bits(theirs[part], ours[part], part)
        with pytest.raises(TypeError, match=r"float64 needs.*jax_enable_x64"):
            fast.lstm(tree(problem), problem.x.astype(np.float64))


def test_a_missing_package_is_named() -> None:
    result = run_python(
        """
        import sys
        sys.modules["jax"] = None
        import unrolled.interop.jax
        """
    )
    assert result.returncode != 0
    assert re.search(r'ImportError.*pip install "unrolled\[jax\]"', result.stderr)
