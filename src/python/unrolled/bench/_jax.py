"""JAX as a contender: the cells' equations under jit."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .. import functional
from ._contender import Contender, UnavailableError
from ._layer_problem import OUTPUTS, LayerProblem
from ._problem import Outputs


class Jax(Contender[LayerProblem]):
    """jit of the input product over all steps and `lax.scan` over the rest; `vjp` inside the jit.

    Forward, the weights are transposed beforehand, which is up to ten times faster at batch 1. With
    gradients torch's layout was the faster one. A scan that is not unrolled was the fastest.
    """

    name = "jax"

    def __init__(self, problem: LayerProblem, threads: int) -> None:
        jax = load_jax(threads)
        self._jax, self._problem = jax, problem
        training = problem.training
        weights = [w if training else np.ascontiguousarray(w.T) for w in problem.weights]
        device = jax.devices("cpu")[0]
        self._inputs = tuple(jax.device_put(array, device) for array in (problem.x, *weights))
        self._dy = jax.device_put(problem.dy, device)
        forward = _scan(jax, problem.cell, transposed=not training)

        def train(inputs: Any, dy: Any) -> Any:
            y, pullback = jax.vjp(forward, *inputs)
            return (y, *pullback(dy))

        self._forward, self._train = jax.jit(forward), jax.jit(train)

    def run(self) -> Any:
        if self._problem.training:
            return self._jax.block_until_ready(self._train(self._inputs, self._dy))
        return (self._jax.block_until_ready(self._forward(*self._inputs)),)

    def outputs(self) -> Outputs:
        arrays = [np.asarray(array) for array in self.run()]
        return dict(zip(OUTPUTS[self._problem.mode], arrays, strict=True))


class JaxStep(Contender[LayerProblem]):
    """jit of one step; the weights are constants of it, which is the fastest way to pass them."""

    name = "jax"

    def __init__(self, problem: LayerProblem, threads: int) -> None:
        jax = load_jax(threads)
        self._inputs = list(problem.x)
        weight_ih, weight_hh, bias_ih, bias_hh = (jax.numpy.asarray(w) for w in problem.weights)
        equations = _equations(jax, problem.cell)

        def advance(x_t: Any, state: Any) -> Any:
            a = x_t @ weight_ih.T + bias_ih
            return equations(a, state[0] @ weight_hh.T + bias_hh, state)

        self._advance = jax.jit(advance)
        zeros = jax.numpy.zeros((problem.shape.batch, problem.shape.hidden), np.float32)
        self._zeros = (zeros,) * len(functional.cell_info(problem.cell).states)
        self._state = self._zeros

    def run(self) -> Any:
        advance, state = self._advance, self._state
        for x_t in self._inputs:
            state = advance(x_t, state)
            state[0].block_until_ready()
        self._state = state
        return state[0]

    def outputs(self) -> Outputs:
        outputs, state = [], self._zeros
        for x_t in self._inputs:
            state = self._advance(x_t, state)
            outputs.append(np.asarray(state[0]))
        return {"y": np.stack(outputs)}


class _Pool:
    """XLA fixes the size of its pool of threads at its first use."""

    threads: ClassVar[int | None] = None


def load_jax(threads: int) -> Any:
    """The module, whose pool has so many threads.

    Raises:
        UnavailableError: the pool has another size already.
    """
    if _Pool.threads is None:
        # XLA reads the size of its pool here; it has no option for it.
        before = os.environ.get("NPROC")
        os.environ["NPROC"] = str(threads)
        try:
            importlib.import_module("jax").devices("cpu")
        finally:
            if before is None:
                del os.environ["NPROC"]
            else:
                os.environ["NPROC"] = before
        _Pool.threads = threads
    if _Pool.threads != threads:
        raise UnavailableError(f"jax already has {_Pool.threads} threads in this process")
    return importlib.import_module("jax")


def _equations(jax: Any, cell: str) -> Callable[[Any, Any, Any], Any]:
    """(input product, recurrent product, state) -> state, whose first part is the output."""
    np_, sigmoid = jax.numpy, jax.nn.sigmoid

    def lstm(a: Any, r: Any, state: Any) -> Any:
        i, f, g, o = np_.split(a + r, 4, axis=1)
        c = sigmoid(f) * state[1] + sigmoid(i) * np_.tanh(g)
        return sigmoid(o) * np_.tanh(c), c

    def gru(a: Any, r: Any, state: Any) -> Any:
        a_r, a_z, a_n = np_.split(a, 3, axis=1)
        r_r, r_z, r_n = np_.split(r, 3, axis=1)
        z = sigmoid(a_z + r_z)
        n = np_.tanh(a_n + sigmoid(a_r + r_r) * r_n)
        return ((1 - z) * n + z * state[0],)

    def rnn_tanh(a: Any, r: Any, _: Any) -> Any:
        return (np_.tanh(a + r),)

    def rnn_relu(a: Any, r: Any, _: Any) -> Any:
        return (jax.nn.relu(a + r),)

    equations = {"lstm": lstm, "gru": gru, "rnn_tanh": rnn_tanh, "rnn_relu": rnn_relu}
    if cell not in equations:
        raise NotImplementedError(f"no jax equations for {cell}")
    return equations[cell]


def _scan(jax: Any, cell: str, *, transposed: bool) -> Callable[..., Any]:
    """The layer as a function of (x, weight_ih, weight_hh, bias_ih, bias_hh)."""
    np_, equations = jax.numpy, _equations(jax, cell)
    states = len(functional.cell_info(cell).states)

    def forward(x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        if not transposed:
            weight_ih, weight_hh = weight_ih.T, weight_hh.T

        def advance(state: Any, a: Any) -> Any:
            state = equations(a, state[0] @ weight_hh + bias_hh, state)
            return state, state[0]

        zeros = np_.zeros((x.shape[1], weight_hh.shape[0]), x.dtype)
        return jax.lax.scan(advance, (zeros,) * states, x @ weight_ih + bias_ih)[1]

    return forward
