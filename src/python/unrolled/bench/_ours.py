"""Our own contenders on one layer."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from .. import functional
from ..layers import Recurrent
from ._contender import Contender
from ._layer_problem import OUTPUTS, LayerProblem
from ._problem import OURS, Array, Outputs


class Ours(Contender[LayerProblem]):
    """`unrolled.functional`, as the layers call it.

    Forward, the weights are packed once, as in a stream or in a session of ONNX Runtime. With
    gradients they are packed in every call, since every step of training changes them, and the
    gradients are set to zero in every call.
    """

    name = OURS
    precision: ClassVar[functional.Precision] = "full"

    def __init__(self, problem: LayerProblem, threads: int) -> None:
        functional.set_num_threads(threads)
        self._problem, self._lengths = problem, problem.lengths
        self._packed = functional.pack(
            problem.cell, *problem.weights, precision=self.precision, backward=False
        )
        weight_ih, weight_hh, bias_ih, bias_hh = (np.empty_like(w) for w in problem.weights)
        self._grads = (weight_ih, weight_hh, bias_ih, bias_hh)

    def run(self) -> tuple[Array, ...]:
        problem = self._problem
        if not problem.training:
            return (functional.scan(self._packed, problem.x, lengths=self._lengths)[0],)
        weights = functional.pack(problem.cell, *problem.weights, precision=self.precision)
        y, _, saved = functional.scan_vjp(weights, problem.x, lengths=self._lengths)
        for grad in self._grads:
            grad.fill(0)
        dx, _ = functional.scan_backward(saved, problem.dy, grads=self._grads)
        assert dx is not None
        return (y, dx, *self._grads)

    def outputs(self) -> Outputs:
        y, *gradients = self.run()
        values = (self._problem.without_padding(y), *gradients)
        return dict(zip(OUTPUTS[self._problem.mode], values, strict=True))


class OursPadded(Ours):
    """The same without lengths: every row runs to the end, through its padding."""

    name = f"{OURS} padded"

    def __init__(self, problem: LayerProblem, threads: int) -> None:
        super().__init__(problem, threads)
        self._lengths = None


class OursBf16(Ours):
    """Products in bfloat16."""

    name = f"{OURS} bf16"
    precision = "bf16"


class OursInt8(Ours):
    """Products in int8, forward alone."""

    name = f"{OURS} int8"
    precision = "int8"

    def __init__(self, problem: LayerProblem, threads: int) -> None:
        if problem.training:
            raise NotImplementedError("int8 is for inference")
        super().__init__(problem, threads)


class OursStep(Contender[LayerProblem]):
    """A stream of the layer, with an array for its output."""

    name = OURS

    def __init__(self, problem: LayerProblem, threads: int) -> None:
        functional.set_num_threads(threads)
        shape = problem.shape
        layer = Recurrent[object](problem.cell, shape.inputs, shape.hidden, init="zeros")
        layer.load_parameters(problem.parameters)
        self._stream = layer.stream(shape.batch)
        self._inputs = list(problem.x)
        self._out = np.empty((shape.batch, shape.hidden), np.float32)

    def run(self) -> None:
        stream, out = self._stream, self._out
        for x_t in self._inputs:
            stream(x_t, out=out)

    def outputs(self) -> Outputs:
        self._stream.reset()
        return {"y": np.stack([self._stream(x_t) for x_t in self._inputs])}
