"""Problems of problems.py on a CUDA device, and their results against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from problems import Problem, make_problem, present
from tolerances import assert_close
from unrolled import cuda, functional


class Run:
    """A problem's arrays on a device, and its scan there."""

    functions: Any = cuda

    def __init__(self, device: Any, problem: Problem, **options: Any) -> None:
        self.device, self.problem = device, problem
        self.weights = self.functions.pack(
            problem.cell, *self.put_some(problem.weights), gates=problem.gates, **options
        )
        self.x, self.dy = self.put(problem.x), self.put(problem.dy)
        self.states = None if problem.states is None else self.put_some(problem.states)
        self.dstates = self.put_some(problem.dstates)
        self.grads = self.put_some(problem.zero_grads())

    @property
    def options(self) -> dict[str, Any]:
        """Those of the problem."""
        options = dict(self.problem.options)
        if "recurrent_factors" in options:
            options["recurrent_factors"] = self.put(options["recurrent_factors"])
        return options

    def put(self, array: np.ndarray) -> Any:
        return self.device.put(array.astype(np.float32))

    def put_some(self, arrays: Any) -> tuple[Any, ...]:
        return tuple(None if array is None else self.put(array) for array in arrays)

    def get_some(self, arrays: Any) -> tuple[Any, ...]:
        return tuple(None if array is None else self.device.get(array) for array in arrays)

    def scan(self, **options: Any) -> tuple[np.ndarray, tuple[Any, ...]]:
        y, states = cuda.scan(self.weights, self.x, self.states, **self.options, **options)
        return self.device.get(y), self.get_some(states)

    def vjp(self, **pulled: Any) -> dict[str, Any]:
        """The results of Problem.vjp."""
        y, states, saved = cuda.scan_vjp(self.weights, self.x, self.states, **self.options)
        dx, dstates = cuda.scan_backward(saved, self.dy, self.dstates, grads=self.grads, **pulled)
        return {
            "y": self.device.get(y),
            "states": self.get_some(states),
            "dx": self.device.get(dx),
            "dstates": self.get_some(dstates),
            "grads": present(self.get_some(self.grads)),
        }


class HostRun(Run):
    """The same on the host, in float64."""

    functions = functional

    def __init__(self, problem: Problem) -> None:
        super().__init__(None, problem)

    def put(self, array: np.ndarray) -> Any:
        return array.astype(np.float64)

    def get_some(self, arrays: Any) -> tuple[Any, ...]:
        return tuple(arrays)


def check(problem: Problem, results: dict[str, Any], **pulled: Any) -> None:
    for key, expected in problem.reference(**pulled).items():
        kind = "forward" if key in ("y", "states") else "gradient"
        roundings = problem.forward_roundings if kind == "forward" else problem.gradient_roundings
        actual = results[key]
        pairs = (
            zip(actual, expected, strict=True)
            if isinstance(actual, tuple)
            else [(actual, expected)]
        )
        for i, (a, e) in enumerate(pairs):
            assert (a is None) == (e is None), key
            if e is not None:
                assert_close(a, e, K=roundings, kind=kind, what=f"{key} {i}")


def make(cell: str, *dims: int, **options: Any) -> Problem:
    return make_problem(cell, (dims[0], dims[1], dims[2], dims[3]), np.float32, **options)
