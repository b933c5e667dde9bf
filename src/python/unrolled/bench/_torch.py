"""torch as a contender, each way at its best."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ._contender import Contender
from ._layer_problem import OUTPUTS, LayerProblem
from ._problem import Outputs


class Torch(Contender[LayerProblem]):
    """torch.nn.LSTM, GRU or RNN: inference_mode, or the forward call and autograd.grad."""

    name = "torch"

    def __init__(self, problem: LayerProblem, threads: int) -> None:
        self._torch, self._problem = load_torch(threads), problem
        self._layer = _layer(self._torch, problem)
        self._x = self._torch.from_numpy(self._arranged(problem.x.copy()))
        self._x.requires_grad_(problem.training)
        self._dy = self._torch.from_numpy(self._arranged(problem.dy))
        self._wanted = [self._x, *(getattr(self._layer, name) for name in problem.parameters)]

    def run(self) -> Any:
        if not self._problem.training:
            with self._torch.inference_mode():
                return (self._forward(),)
        y = self._forward()
        return (y, *self._torch.autograd.grad(y, self._wanted, self._dy))

    def outputs(self) -> Outputs:
        arrays = [array.detach().numpy() for array in self.run()]
        arrays[0] = self._problem.without_padding(arrays[0])
        return dict(zip(OUTPUTS[self._problem.mode], arrays, strict=True))

    def _forward(self) -> Any:
        return self._layer(self._x)[0]

    def _arranged(self, array: np.ndarray) -> np.ndarray:
        """The rows of an array (T, B, .) in the order in which this contender takes them."""
        return array


class TorchPadded(Torch):
    """Every row runs to the end, through its padding."""

    name = "torch padded"


class TorchPacked(Torch):
    """A packed sequence of rows in any order; torch sorts them, and the results back."""

    name = "torch packed"
    _sorted = False

    def __init__(self, problem: LayerProblem, threads: int) -> None:
        assert problem.lengths is not None
        order = np.argsort(-problem.lengths, kind="stable")
        self._order = order if self._sorted else np.arange(len(order))
        super().__init__(problem, threads)
        self._lengths = self._torch.from_numpy(problem.lengths[self._order])

    def _forward(self) -> Any:
        utilities = self._torch.nn.utils.rnn
        packed = utilities.pack_padded_sequence(self._x, self._lengths, enforce_sorted=self._sorted)
        y, _ = self._layer(packed)
        return utilities.pad_packed_sequence(y, total_length=self._problem.shape.steps)[0]

    def _arranged(self, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array[:, self._order])


class TorchSorted(TorchPacked):
    """A packed sequence of rows that were sorted by length before; the sorting is not timed."""

    name = "torch sorted"
    _sorted = True

    def outputs(self) -> Outputs:
        back = np.argsort(self._order)
        arrays = [array.detach().numpy() for array in self.run()]
        arrays[:2] = [array[:, back] for array in arrays[:2]]  # y and dx
        return dict(zip(OUTPUTS[self._problem.mode], arrays, strict=True))


class TorchBf16(Torch):
    """The layer, x and dy converted to bfloat16; results are compared as float32."""

    name = "torch bf16"

    def __init__(self, problem: LayerProblem, threads: int) -> None:
        super().__init__(problem, threads)
        bf16 = self._torch.bfloat16
        self._layer = self._layer.to(bf16)
        self._x = self._x.detach().to(bf16).requires_grad_(problem.training)
        self._dy = self._dy.to(bf16)
        self._wanted = [self._x, *(getattr(self._layer, name) for name in problem.parameters)]

    def outputs(self) -> Outputs:
        arrays = [array.detach().float().numpy() for array in self.run()]
        return dict(zip(OUTPUTS[self._problem.mode], arrays, strict=True))


class TorchStep(Contender[LayerProblem]):
    """The layer on sequences of one step, its state carried on, in inference_mode."""

    name = "torch"

    def __init__(self, problem: LayerProblem, threads: int) -> None:
        self._torch = load_torch(threads)
        self._layer = _layer(self._torch, problem)
        self._inputs = [self._torch.from_numpy(x_t[None]) for x_t in problem.x]
        self._state: Any = None

    def run(self) -> Any:
        layer, state, last = self._layer, self._state, None
        with self._torch.inference_mode():
            for x_t in self._inputs:
                last, state = layer(x_t, state)
        self._state = state
        return last

    def outputs(self) -> Outputs:
        outputs, state = [], None
        with self._torch.inference_mode():
            for x_t in self._inputs:
                y, state = self._layer(x_t, state)
                outputs.append(y[0].numpy())
        return {"y": np.stack(outputs)}


def load_torch(threads: int) -> Any:
    """The module, told to use so many threads."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(threads)
    return torch


def _layer(torch: Any, problem: LayerProblem) -> Any:
    sizes = (problem.shape.inputs, problem.shape.hidden)
    if problem.cell == "lstm":
        layer = torch.nn.LSTM(*sizes)
    elif problem.cell == "gru":
        layer = torch.nn.GRU(*sizes)
    elif problem.cell in ("rnn_tanh", "rnn_relu"):
        layer = torch.nn.RNN(*sizes, nonlinearity=problem.cell[4:])
    else:
        raise NotImplementedError(f"torch has no {problem.cell}")
    layer.load_state_dict(
        {name: torch.from_numpy(array) for name, array in problem.parameters.items()}
    )
    return layer
