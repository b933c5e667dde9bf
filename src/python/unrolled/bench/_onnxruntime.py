"""ONNX Runtime as a contender: a session that holds one node of ONNX's LSTM, GRU or RNN."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from .. import functional
from ..interop._onnx_operators import OPERATORS
from ._contender import Contender
from ._layer_problem import LayerProblem
from ._problem import STEP, Array, Outputs


class OnnxRuntime(Contender[LayerProblem]):
    """The weights are constants of the model, so that the session packs them once."""

    name = "onnxruntime"

    def __init__(self, problem: LayerProblem, threads: int) -> None:
        if problem.training:
            raise NotImplementedError("onnxruntime runs models, it does not train them")
        self._session = _session(problem, threads)
        self._feed = {"x": problem.x}

    def run(self) -> Any:
        return self._session.run(None, self._feed)

    def outputs(self) -> Outputs:
        return {"y": self.run()[0][:, 0]}


class OnnxRuntimeStep(Contender[LayerProblem]):
    """`session.run` on one step: the states go in and come out as arrays."""

    name = "onnxruntime"

    def __init__(self, problem: LayerProblem, threads: int) -> None:
        self._session = _session(problem, threads)
        self._inputs = [x_t[None] for x_t in problem.x]
        self._names = [f"{name}_0" for name in functional.cell_info(problem.cell).states]
        zeros = np.zeros((1, problem.shape.batch, problem.shape.hidden), np.float32)
        self._zeros = [zeros for _ in self._names]
        self._states = self._zeros

    def run(self) -> Any:
        session, names, states = self._session, self._names, self._states
        for x_t in self._inputs:
            states = session.run(None, dict(zip(names, states), x=x_t))  # noqa: B905
        self._states = states
        return states[0]

    def outputs(self) -> Outputs:
        outputs, states = [], self._zeros
        for x_t in self._inputs:
            states = self._session.run(None, dict(zip(self._names, states, strict=True), x=x_t))
            outputs.append(states[0][0])
        return {"y": np.stack(outputs)}


class OnnxRuntimeBound(Contender[LayerProblem]):
    """`run_with_iobinding`: every array is bound once, and the states stay where they are.

    There are two sets of states, each the input of one binding and the output of the other.
    """

    name = "onnxruntime bound"

    def __init__(self, problem: LayerProblem, threads: int) -> None:
        self._session = _session(problem, threads)
        self._inputs = [x_t[None] for x_t in problem.x]
        self._x = np.empty_like(self._inputs[0])
        names = functional.cell_info(problem.cell).states
        shape = (1, problem.shape.batch, problem.shape.hidden)
        self._states = [[np.zeros(shape, np.float32) for _ in names] for _ in range(2)]
        self._bindings = []
        for before, after in (self._states, reversed(self._states)):
            binding = self._session.io_binding()
            _bind(binding.bind_input, "x", self._x)
            for name, source, target in zip(names, before, after, strict=True):
                _bind(binding.bind_input, f"{name}_0", source)
                _bind(binding.bind_output, f"{name}_1", target)
            self._bindings.append(binding)
        self._turn = 0

    def run(self) -> None:
        for x_t in self._inputs:
            self._step(x_t)

    def outputs(self) -> Outputs:
        for state in self._states[self._turn]:
            state.fill(0)
        return {"y": np.stack([self._step(x_t)[0].copy() for x_t in self._inputs])}

    def _step(self, x_t: Array) -> Array:
        self._x[...] = x_t
        self._session.run_with_iobinding(self._bindings[self._turn])
        self._turn = 1 - self._turn
        return self._states[self._turn][0]


def _bind(bind: Any, name: str, array: Array) -> None:
    bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)


def _session(problem: LayerProblem, threads: int) -> Any:
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(
        onnx_model(problem), options, providers=["CPUExecutionProvider"]
    )


def onnx_model(problem: LayerProblem) -> bytes:
    """One node of the cell's operator on fixed sizes, with its weights as constants.

    Shapes: x (T, B, I) to y (T, 1, B, H). In the mode STEP x is (1, B, I), and the states h_0 (and
    c_0), (1, B, H) each, become h_1 (and c_1); h_1 is the output.
    """
    if problem.cell not in OPERATORS:
        raise NotImplementedError(f"onnx has no {problem.cell}")
    onnx: Any = importlib.import_module("onnx")
    numpy_helper: Any = importlib.import_module("onnx.numpy_helper")
    operator = OPERATORS[problem.cell]
    reorder = operator.to_onnx
    shape, helper = problem.shape, onnx.helper

    def value(name: str, *sizes: int) -> Any:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)

    bias = np.concatenate([reorder(problem.bias_ih), reorder(problem.bias_hh)])
    constants = {"w": reorder(problem.weight_ih), "r": reorder(problem.weight_hh), "b": bias}
    steps, state = shape.steps, (1, shape.batch, shape.hidden)
    inputs, outputs = ["x", "w", "r", "b"], ["y"]
    fed, fetched = [], [value("y", steps, *state)]
    if problem.mode == STEP:
        names = functional.cell_info(problem.cell).states
        inputs += ["", *(f"{name}_0" for name in names)]  # "": the lengths
        outputs = ["", *(f"{name}_1" for name in names)]
        steps = 1
        fed = [value(f"{name}_0", *state) for name in names]
        fetched = [value(f"{name}_1", *state) for name in names]
    node = helper.make_node(
        operator.op_type, inputs, outputs, hidden_size=shape.hidden, **operator.attributes()
    )
    graph = helper.make_graph(
        [node],
        problem.cell,
        [value("x", steps, shape.batch, shape.inputs), *fed],
        fetched,
        [numpy_helper.from_array(array[None], name) for name, array in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())
