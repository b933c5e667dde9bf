"""The contenders that we are measured against, each at its best.

A peer is imported only when it is measured; nothing here is needed to use the library.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ._contender import Contender, UnavailableError
from ._problem import OUTPUTS, Outputs, Problem


class Torch(Contender):
    """torch.nn.LSTM, GRU or RNN: inference_mode, or the forward call and autograd.grad."""

    name = "torch"

    def __init__(self, problem: Problem, threads: int) -> None:
        torch: Any = importlib.import_module("torch")
        torch.set_num_threads(threads)
        self._torch, self._problem = torch, problem
        self._layer = _torch_layer(torch, problem)
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        self._layer.load_state_dict(
            {
                name: torch.from_numpy(array)
                for name, array in zip(names, problem.weights, strict=True)
            }
        )
        self._x = torch.from_numpy(problem.x.copy()).requires_grad_(problem.training)
        self._dy = torch.from_numpy(problem.dy)
        self._wanted = [self._x, *(getattr(self._layer, name) for name in names)]

    def run(self) -> Any:
        if not self._problem.training:
            with self._torch.inference_mode():
                return (self._layer(self._x)[0],)
        y, _ = self._layer(self._x)
        return (y, *self._torch.autograd.grad(y, self._wanted, self._dy))

    def outputs(self) -> Outputs:
        arrays = [array.detach().numpy() for array in self.run()]
        return dict(zip(OUTPUTS[self._problem.mode], arrays, strict=True))


class OnnxRuntime(Contender):
    """A session that holds one node of ONNX's LSTM, GRU or RNN, with its weights as constants."""

    name = "onnxruntime"

    def __init__(self, problem: Problem, threads: int) -> None:
        if problem.training:
            raise NotImplementedError("onnxruntime runs models, it does not train them")
        runtime: Any = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(
            onnx_model(problem), options, providers=["CPUExecutionProvider"]
        )
        self._feed = {"x": problem.x}

    def run(self) -> Any:
        return self._session.run(None, self._feed)

    def outputs(self) -> Outputs:
        return {"y": self.run()[0][:, 0]}


class Jax(Contender):
    """jit of the input product over all steps and `lax.scan` over the rest; `vjp` inside the jit.

    Torch's layout of the weights and a scan that is not unrolled were the fastest of those tried.
    """

    name = "jax"

    _threads: ClassVar[int | None] = None  # XLA fixes the size of its pool at its first use

    def __init__(self, problem: Problem, threads: int) -> None:
        if Jax._threads is None:
            # XLA reads the size of its pool here; it has no option for it.
            before = os.environ.get("NPROC")
            os.environ["NPROC"] = str(threads)
            try:
                jax: Any = importlib.import_module("jax")
                jax.devices("cpu")
            finally:
                if before is None:
                    del os.environ["NPROC"]
                else:
                    os.environ["NPROC"] = before
            Jax._threads = threads
        if Jax._threads != threads:
            raise UnavailableError(f"jax already has {Jax._threads} threads in this process")
        jax = importlib.import_module("jax")
        self._jax, self._problem = jax, problem
        device = jax.devices("cpu")[0]
        arrays = (problem.x, *problem.weights)
        self._inputs = tuple(jax.device_put(array, device) for array in arrays)
        self._dy = jax.device_put(problem.dy, device)
        forward = _jax_forward(jax, problem.cell)

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


PEERS: tuple[type[Contender], ...] = (Torch, OnnxRuntime, Jax)


def _torch_layer(torch: Any, problem: Problem) -> Any:
    sizes = (problem.shape.inputs, problem.shape.hidden)
    if problem.cell == "lstm":
        return torch.nn.LSTM(*sizes)
    if problem.cell == "gru":
        return torch.nn.GRU(*sizes)
    if problem.cell in ("rnn_tanh", "rnn_relu"):
        return torch.nn.RNN(*sizes, nonlinearity=problem.cell[4:])
    raise NotImplementedError(f"torch has no {problem.cell}")


# ONNX lays gates in another order and keeps both biases in one row.
_ONNX: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    "rnn_tanh": ("RNN", (0,), {"activations": ["Tanh"]}),
    "rnn_relu": ("RNN", (0,), {"activations": ["Relu"]}),
}


def onnx_model(problem: Problem) -> bytes:
    """One node of the cell's operator on fixed sizes; input x (T, B, I), output y (T, 1, B, H)."""
    if problem.cell not in _ONNX:
        raise NotImplementedError(f"onnx has no {problem.cell}")
    onnx: Any = importlib.import_module("onnx")
    numpy_helper: Any = importlib.import_module("onnx.numpy_helper")
    operator, order, attributes = _ONNX[problem.cell]
    shape, float32 = problem.shape, onnx.TensorProto.FLOAT

    def reorder(array: np.ndarray) -> np.ndarray:
        blocks = np.split(array, len(order))
        return np.concatenate([blocks[gate] for gate in order])

    bias = np.concatenate([reorder(problem.bias_ih), reorder(problem.bias_hh)])
    constants = {"w": reorder(problem.weight_ih), "r": reorder(problem.weight_hh), "b": bias}
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node(
                operator, ["x", "w", "r", "b"], ["y"], hidden_size=shape.hidden, **attributes
            )
        ],
        problem.cell,
        [value("x", float32, [shape.steps, shape.batch, shape.inputs])],
        [value("y", float32, [shape.steps, 1, shape.batch, shape.hidden])],
        [numpy_helper.from_array(array[None], name) for name, array in constants.items()],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    return bytes(
        onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    )


def _jax_forward(jax: Any, cell: str) -> Callable[..., Any]:
    """The cell's equations, as a function of (x, weight_ih, weight_hh, bias_ih, bias_hh)."""
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
    step = equations[cell]

    def forward(x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        zeros = np_.zeros((x.shape[1], weight_hh.shape[1]), x.dtype)

        def advance(state: Any, a: Any) -> Any:
            state = step(a, state[0] @ weight_hh.T + bias_hh, state)
            return state, state[0]

        start = (zeros, zeros) if cell == "lstm" else (zeros,)
        return jax.lax.scan(advance, start, x @ weight_ih.T + bias_ih)[1]

    return forward
