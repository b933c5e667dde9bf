"""Problems for the scan as calls of `interop.jax`, and the same recurrence in plain JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems import Problem
from unrolled import functional

jax = pytest.importorskip("jax", reason='jax is not installed: pip install "unrolled[jax]"')

from unrolled.bench._jax import _equations  # noqa: E402 - needs jax
from unrolled.interop import jax as fast  # noqa: E402 - needs jax

NAMES = tuple(f"{name}_l0" for name in functional.PARAMETERS)
CELLS: dict[str, tuple[Any, dict[str, str]]] = {
    "lstm": (fast.lstm, {}),
    "gru": (fast.gru, {}),
    "rnn_tanh": (fast.rnn, {}),
    "rnn_relu": (fast.rnn, {"nonlinearity": "relu"}),
}


def tree(problem: Problem) -> dict[str, Any]:
    """The parameters of a problem by torch's names."""
    return {n: w for n, w in zip(NAMES, problem.weights, strict=True) if w is not None}


def call(problem: Problem, params: Any, x: Any, states: Any, **changes: Any) -> tuple[Any, tuple]:
    """y and the states (B, H) of one layer, of arguments in their place."""
    function, extra = CELLS[problem.cell]
    state = None
    if states is not None:
        state = tuple(s[None] for s in states)
        state = state if problem.cell == "lstm" else state[0]
    y, final = function(params, x, state, **extra, **{**problem.options, **changes})
    return y, tuple(s[0] for s in (final if problem.cell == "lstm" else (final,)))


def vjp(problem: Problem) -> dict[str, Any]:
    """What `Problem.vjp` gives, through JAX."""

    def run(params: Any, x: Any, states: Any) -> Any:
        return call(problem, params, x, states)

    params = tree(problem)
    (y, states), pullback = jax.vjp(run, params, problem.x, problem.states)
    grads, dx, dstates = pullback((problem.dy, problem.dstates))
    return {
        "y": y,
        "states": states,
        "dx": dx,
        "dstates": dstates,
        "grads": tuple(grads[name] for name in params),
    }


def plain(problem: Problem, params: Any, x: Any, states: Any) -> tuple[Any, tuple]:
    """`call` as a `lax.scan` over the equations, for JAX's own differentiation."""
    jnp, equations = jax.numpy, _equations(jax, problem.cell)
    w_ih, w_hh, b_ih, b_hh = (params[name] for name in NAMES[:4])
    steps, batch, _ = x.shape
    lengths = problem.options.get("lengths", np.full(batch, steps))
    resets = problem.options.get("resets", np.zeros((steps, batch), bool))

    def step(before: tuple, now: tuple) -> tuple[tuple, Any]:
        x_t, reset, live = now
        before = tuple(jnp.where(reset[:, None], 0, s) for s in before)
        after = equations(x_t @ w_ih.T + b_ih, before[0] @ w_hh.T + b_hh, before)
        kept = tuple(
            jnp.where(live[:, None], new, old) for new, old in zip(after, before, strict=True)
        )
        return kept, jnp.where(live[:, None], after[0], 0)

    live = jnp.arange(steps)[:, None] < jnp.asarray(lengths)
    final, y = jax.lax.scan(step, tuple(states), (x, jnp.asarray(resets), live))
    return y, final
