"""Layers on JAX's arrays under its transformations: the same bits, in as few calls as can be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from problems import Problem, make_problem
from tolerances import assert_close, assert_same_bits

jax = pytest.importorskip("jax", reason='jax is not installed: pip install "unrolled[jax]"')

from jax_problems import CELLS, call, calls, check_jit, fast, tree  # noqa: E402 - needs jax

jnp: Any = jax.numpy
N = 3  # calls that are mapped


@pytest.fixture(params=["lstm", "gru"])  # two states and one
def problem(request: pytest.FixtureRequest) -> Problem:
    return make_problem(request.param, (5, 4, 3, 6), np.float32)


def stacked(problem: Problem) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """N times x and the states, which differ."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((N, *problem.x.shape)).astype(np.float32)
    states = tuple(rng.standard_normal((N, *s.shape)).astype(np.float32) for s in problem.states)
    return x, states


def test_jit_changes_no_bit(problem: Problem) -> None:
    check_jit(problem)


def test_only_what_is_asked_for_is_computed(problem: Problem) -> None:
    def loss(params: Any, x: Any) -> Any:
        return jnp.sum(call(problem, params, x, None)[0] ** 2)

    params = tree(problem)
    assert calls(loss, params, problem.x) == ["forward", "pack"]
    both = jax.jit(jax.grad(loss, (0, 1)))(params, problem.x)
    alone = jax.jit(jax.grad(loss))(params, problem.x)
    assert_same_bits(jax.tree.leaves(alone), jax.tree.leaves(both[0]))
    text = jax.jit(jax.grad(loss)).lower(params, problem.x).as_text()
    assert "needs_dx = false" in text


def test_vmap_is_one_scan(problem: Problem) -> None:
    x, states = stacked(problem)
    params = tree(problem)

    def run(x: Any, states: Any) -> Any:
        return call(problem, params, x, states)

    mapped = jax.vmap(run)
    y, final = mapped(x, states)
    for i in range(N):
        one = run(x[i], tuple(s[i] for s in states))
        assert_same_bits((y[i], tuple(s[i] for s in final)), one)
    assert calls(mapped, x, states) == ["forward", "pack"]


def test_vmap_of_any_argument_and_axis(problem: Problem) -> None:
    x, states = stacked(problem)
    params, rng = tree(problem), np.random.default_rng(2)
    lengths = rng.integers(0, 6, (N, 4))
    resets = rng.random((N, 5, 4)) < 0.3

    def run(x: Any, states: Any, lengths: Any, resets: Any) -> Any:
        return call(problem, params, x, states, lengths=lengths, resets=resets)[0]

    second = tuple(np.moveaxis(s, 0, 1) for s in states)
    axes = [
        ((0, 0, 0, 0), (x, states, lengths, resets)),
        ((2, None, None, None), (np.moveaxis(x, 0, 2), problem.states, lengths[0], resets[0])),
        ((None, 1, None, None), (x[0], second, lengths[0], resets[0])),
        ((None, None, 1, None), (x[0], problem.states, lengths.T, resets[0])),
        ((None, None, None, 2), (x[0], problem.states, lengths[0], np.moveaxis(resets, 0, 2))),
    ]  # fmt: skip
    for axis, args in axes:
        expected = []
        for i in range(N):
            own = (
                jax.tree.map(lambda a, k=k: a if k is None else np.take(a, i, k), arg)  # noqa: B023
                for arg, k in zip(args, axis, strict=True)
            )
            expected.append(run(*own))
        y = jax.vmap(run, axis, out_axes=1)(*map(jax.tree.map, [jnp.asarray] * 4, args))
        assert_same_bits(y, jnp.stack(expected, 1), str(axis))


def test_vmap_over_nothing(problem: Problem) -> None:
    x, _ = stacked(problem)
    y = jax.vmap(lambda x: call(problem, tree(problem), x, None)[0])(x[:0])
    assert y.shape == (0, *problem.dy.shape)


def test_vmap_in_vmap(problem: Problem) -> None:
    x, _ = stacked(problem)
    x = np.stack([x, 2 * x])
    params = tree(problem)
    twice = jax.vmap(jax.vmap(lambda x: call(problem, params, x, None)[0]))
    assert_same_bits(twice(x)[1, 2], call(problem, params, x[1, 2], None)[0])
    assert calls(twice, x) == ["forward", "pack"]


def test_vmap_of_sequences_without_a_batch(problem: Problem) -> None:
    function, extra = CELLS[problem.cell]
    params = tree(problem)
    y, final = jax.vmap(lambda x: function(params, x, **extra), 1, (1, 1))(problem.x)
    batched, last = function(params, problem.x, **extra)
    assert_same_bits(y, batched)
    assert_same_bits(jax.tree.leaves(final), jax.tree.leaves(last))


def test_vmap_of_weights(problem: Problem) -> None:
    """One call after the other, and so are their gradients."""
    x, _ = stacked(problem)
    many = {key: np.stack([w * (1 + i) for i in range(N)]) for key, w in tree(problem).items()}

    def loss(params: Any, x: Any) -> Any:
        return jnp.sum(call(problem, params, x, None)[0] * problem.dy)

    grads = jax.vmap(jax.grad(loss))(many, x)
    for i in range(N):
        own = {key: w[i] for key, w in many.items()}
        one = jax.grad(loss)(own, x[i])
        assert_same_bits([g[i] for g in jax.tree.leaves(grads)], jax.tree.leaves(one))


def test_gradients_of_a_mapped_model_are_those_of_a_batch(problem: Problem) -> None:
    x, _ = stacked(problem)
    params = tree(problem)
    dy = np.random.default_rng(3).standard_normal((N, *problem.dy.shape)).astype(np.float32)

    def loss(params: Any, x: Any) -> Any:
        run = jax.vmap(lambda x: call(problem, params, x, None)[0])
        return jnp.sum(run(x) * dy)

    def rows(a: np.ndarray) -> np.ndarray:
        return np.moveaxis(a, 0, 1).reshape(a.shape[1], -1, a.shape[3])

    def batched(params: Any, x: Any) -> Any:
        return jnp.sum(call(problem, params, x, None)[0] * rows(dy))

    grads, dx = jax.grad(loss, (0, 1))(params, x)
    expected, drows = jax.grad(batched, (0, 1))(params, rows(x))
    assert_same_bits(jax.tree.leaves(grads), jax.tree.leaves(expected))
    assert_same_bits(rows(np.asarray(dx)), drows)
    assert calls(jax.grad(loss), params, x) == ["backward", "forward", "pack"]


def test_gradients_of_each_mapped_call(problem: Problem) -> None:
    x, _ = stacked(problem)
    params = tree(problem)

    def loss(params: Any, x: Any) -> Any:
        return jnp.sum(call(problem, params, x, None)[0] * problem.dy)

    grads = jax.vmap(jax.grad(loss), (None, 0))(params, x)
    for i in range(N):
        one = jax.grad(loss)(params, x[i])
        assert_same_bits([g[i] for g in jax.tree.leaves(grads)], jax.tree.leaves(one))


def test_jacobian(problem: Problem) -> None:
    """Many pullbacks of one forward pass."""

    def means(x: Any) -> Any:
        return jnp.mean(call(problem, tree(problem), x, None)[0], (1, 2))

    jacobian = jax.jacrev(means)(problem.x)
    for t in range(5):
        one = jax.grad(lambda x, t=t: means(x)[t])(problem.x)
        assert_same_bits(jacobian[t], one)


def test_scan_over_windows(problem: Problem) -> None:
    """States carried over windows give the bits of one long scan; weights are packed once."""
    params = tree(problem)
    x = np.random.default_rng(4).standard_normal((20, 4, 3)).astype(np.float32)

    def windows(params: Any, x: Any, states: Any) -> Any:
        def window(states: Any, x: Any) -> Any:
            y, states = call(problem, params, x, states)
            return states, y

        final, y = jax.lax.scan(window, states, x.reshape(5, 4, 4, 3))
        return y.reshape(20, 4, 6), final

    states = tuple(map(jnp.asarray, problem.states))
    assert_same_bits(windows(params, x, states), call(problem, params, x, states))
    assert calls(windows, params, x, states) == ["[forward]", "pack"]

    def gradients(run: Any) -> Any:
        def loss(*args: Any) -> Any:
            y, final = run(*args)
            return jnp.sum(y**2) + sum(jnp.sum(s**2) for s in final)

        return jax.grad(loss, (0, 1, 2))

    whole = gradients(lambda *a: call(problem, *a))(params, x, states)
    parts = gradients(windows)(params, x, states)
    assert_same_bits(parts[1:], whole[1:])
    for ours, theirs in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        # The sums over windows are added in another order.
        assert_close(ours, theirs, K=problem.gradient_roundings * 4, kind="peer", dtype=np.float32)
    assert calls(gradients(windows), params, x, states) == ["[backward]", "[forward]", "pack"]


def test_checkpoint_and_repeated_pullbacks(problem: Problem) -> None:
    """Nothing is kept beside the program's arrays: pullbacks may run late, twice, and again."""
    params = tree(problem)

    def run(params: Any, x: Any) -> Any:
        return call(problem, params, x, None)[0]

    y, pullback = jax.vjp(run, params, problem.x)
    other, other_pullback = jax.vjp(run, params, 2 * problem.x)
    first = pullback(problem.dy)
    other_pullback(problem.dy)
    again = pullback(problem.dy)
    assert_same_bits(jax.tree.leaves(again), jax.tree.leaves(first))
    late = jax.vjp(jax.checkpoint(run), params, problem.x)[1](problem.dy)
    assert_same_bits(jax.tree.leaves(late), jax.tree.leaves(first))
    assert not np.array_equal(y, other)


def test_programs_of_many_threads(problem: Problem) -> None:
    """Whoever finds the team of threads busy computes alone."""
    params = tree(problem)
    x, _ = stacked(problem)

    def loss(params: Any, x: Any) -> Any:
        return jnp.sum(call(problem, params, x, None)[0] ** 2)

    run = jax.jit(jax.grad(loss, (0, 1)))
    expected = [jax.tree.leaves(run(params, one)) for one in x]
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(lambda k: jax.tree.leaves(run(params, x[k % N])), range(40)))
    for k, leaves in enumerate(many):
        assert_same_bits(leaves, expected[k % N])


def test_cond_in_vmap(problem: Problem) -> None:
    """Both branches run where the condition is mapped; residuals of each reach its pullback."""
    x, _ = stacked(problem)
    params = tree(problem)

    def loss(params: Any, x: Any, choice: Any) -> Any:
        y = jax.lax.cond(
            choice,
            lambda: call(problem, params, x, None)[0],
            lambda: call(problem, params, -x, None)[0] * 2,
        )
        return jnp.sum(y * problem.dy)

    choices = np.array([True, False, True])
    mapped = jax.vmap(jax.grad(loss, 1), (None, 0, 0))(params, x, choices)
    for i in range(N):
        assert_same_bits(mapped[i], jax.grad(loss, 1)(params, x[i], choices[i]))


def test_one_derivative() -> None:
    problem = make_problem("lstm", (2, 2, 3, 4), np.float32)

    def loss(x: Any) -> Any:
        return jnp.sum(fast.lstm(tree(problem), x)[0] ** 2)

    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(loss, (problem.x,), (problem.x,))
    with pytest.raises(Exception, match="cannot be differentiated"):
        jax.grad(lambda x: jnp.sum(jax.grad(loss)(x)))(problem.x)
