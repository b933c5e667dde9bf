"""Problems for the scan as calls of `interop.jax`, and the same recurrence in plain JAX."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import pytest

from problems import Problem
from tolerances import assert_same_bits
from unrolled import functional

jax = pytest.importorskip("jax", reason='jax is not installed: pip install "unrolled[jax]"')

from unrolled.bench._jax import _equations  # noqa: E402 - needs jax
from unrolled.interop import jax as fast  # noqa: E402 - needs jax

NAMES = tuple(f"{name}_l0" for name in functional.PARAMETERS)
#: Those with a function of their own; all others go through `recurrent`.
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
    function, extra = CELLS.get(problem.cell, (partial(fast.recurrent, problem.cell), {}))
    alone = len(functional.cell_info(problem.cell).states) == 1
    state = None
    if states is not None:
        state = tuple(s[None] for s in states)
        state = state[0] if alone else state
    y, final = function(params, x, state, **extra, **{**problem.options, **changes})
    return y, tuple(s[0] for s in ((final,) if alone else final))


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


def _custom_lstm(x: Any, u: Any, before: tuple, units: Any) -> tuple:
    i, f, g, o = jax.numpy.split(x + u, 4, axis=1)
    c = jax.nn.sigmoid(f) * before[1] + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
    return jax.nn.sigmoid(o) * jax.numpy.tanh(c), c


def _custom_min_gru(x: Any, u: Any, before: tuple, units: Any) -> tuple:
    z, n = jax.numpy.split(x, 2, axis=1)
    z = jax.nn.sigmoid(z)
    return ((1 - z) * before[0] + z * n,)


def _oddity(x: Any, u: Any, before: tuple, units: Any) -> tuple:
    jnp, sigmoid, softplus, relu = jax.numpy, jax.nn.sigmoid, jax.nn.softplus, jax.nn.relu
    (xa, xb), (ua, ub), (w, v) = (jnp.split(a, 2, axis=-1) for a in (x, u, units))
    h, m, k = before
    rate = 1 / (1 + softplus(xa + ua))
    m = jnp.maximum(0.9 * m, jnp.tanh(xb) * ub)
    k = jnp.minimum(k, w) + v * jnp.abs(xa)
    h = rate * h + (1 - rate) * jnp.tanh(xb + k) * sigmoid(ua) + relu(xa - ub) * m / (2 + m**2)
    return jnp.tanh(h), m, jnp.tanh(k)


#: The equations of cells in `custom_cells`, of the two products, the states and the units.
EQUATIONS = {
    "custom_lstm": _custom_lstm,
    "custom_min_gru": _custom_min_gru,
    "oddity": _oddity,
}


def _built_in(cell: str) -> Any:
    equations = _equations(jax, cell)
    return lambda x, u, before, units: equations(x, u, before)


def plain(problem: Problem, params: Any, x: Any, states: Any) -> tuple[Any, tuple]:
    """`call` as a `lax.scan` over the equations, for JAX's own differentiation."""
    jnp = jax.numpy
    equations = EQUATIONS.get(problem.cell) or _built_in(problem.cell)
    w_ih, w_hh, b_ih, b_hh, units = (params.get(name) for name in NAMES[:5])
    steps, batch, _ = x.shape
    lengths = problem.options.get("lengths", np.full(batch, steps))
    resets = problem.options.get("resets", np.zeros((steps, batch), bool))

    def step(before: tuple, now: tuple) -> tuple[tuple, Any]:
        x_t, reset, live = now
        before = tuple(jnp.where(reset[:, None], 0, s) for s in before)
        of_x = x_t @ w_ih.T + b_ih
        of_h = None if w_hh is None else before[0] @ w_hh.T + b_hh
        after = equations(of_x, of_h, before, units)
        kept = tuple(
            jnp.where(live[:, None], new, old) for new, old in zip(after, before, strict=True)
        )
        return kept, jnp.where(live[:, None], after[0], 0)

    live = jnp.arange(steps)[:, None] < jnp.asarray(lengths)
    final, y = jax.lax.scan(step, tuple(states), (x, jnp.asarray(resets), live))
    return y, final


def calls(function: Any, *args: Any) -> list[str]:
    """Our custom calls in the compiled program, those inside of loops in brackets."""
    text = jax.jit(function).lower(*args).compile().as_text()
    found = []
    for computation in re.split(r"\n\n", text):
        inside = "ENTRY" not in computation
        for name in re.findall(r'custom_call_target="unrolled_(\w+)"', computation):
            found.append(f"[{name}]" if inside else name)
    return sorted(found)


def check_jit(problem: Problem) -> None:
    """A compiled scan with its gradient has the bits of one that is not, in three calls."""

    def run(params: Any, x: Any, states: Any) -> Any:
        (y, final), pullback = jax.vjp(lambda *a: call(problem, *a), params, x, states)
        return y, final, pullback((problem.dy, problem.dstates))

    args = tree(problem), problem.x, problem.states
    assert_same_bits(jax.tree.leaves(jax.jit(run)(*args)), jax.tree.leaves(run(*args)))
    assert calls(run, *args) == ["backward", "forward", "pack"]
