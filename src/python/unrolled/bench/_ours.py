"""Our own contender."""

from __future__ import annotations

import numpy as np

from .. import functional
from ._contender import Contender
from ._problem import OUTPUTS, Array, Outputs, Problem


class Ours(Contender):
    """`unrolled.functional`, as the layers call it.

    Forward, the weights are packed once, as in a stream or in a session of ONNX Runtime. With
    gradients they are packed in every call, since every step of training changes them, and the
    gradients are set to zero in every call.
    """

    name = "unrolled"

    def __init__(self, problem: Problem, threads: int) -> None:
        functional.set_num_threads(threads)
        self._problem = problem
        self._packed = functional.pack(problem.cell, *problem.weights, backward=False)
        weight_ih, weight_hh, bias_ih, bias_hh = (np.empty_like(w) for w in problem.weights)
        self._grads = (weight_ih, weight_hh, bias_ih, bias_hh)

    def run(self) -> tuple[Array, ...]:
        problem = self._problem
        if not problem.training:
            return (functional.scan(self._packed, problem.x)[0],)
        weights = functional.pack(problem.cell, *problem.weights)
        y, _, saved = functional.scan_vjp(weights, problem.x)
        for grad in self._grads:
            grad.fill(0)
        dx, _ = functional.scan_backward(saved, problem.dy, grads=self._grads)
        assert dx is not None
        return (y, dx, *self._grads)

    def outputs(self) -> Outputs:
        return dict(zip(OUTPUTS[self._problem.mode], self.run(), strict=True))
