"""Runs a node of ONNX's operators LSTM, GRU and RNN on arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import functional
from ..layers._types import Array
from ._onnx_node import Equations, read_options
from ._onnx_operators import OPERATORS, STATES

#: The inputs of the operators, in their order; GRU and RNN end at initial_h.
_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")


class NodeRunner:
    """A node as a function of its inputs.

    Args:
        node: an `onnx.NodeProto` whose operator is LSTM, GRU or RNN.
        opset: the version of ONNX's operators that the model uses.
        constant: W, R, B and P are the same in every call, so that they are packed once.

    Raises:
        ValueError: an attribute is unknown or has no possible value; the text names the node.
    """

    def __init__(self, node: Any, opset: int, *, constant: bool = False) -> None:
        self._options = read_options(node, opset)
        self._constant = constant
        self._kept: dict[Any, list[_Scan]] = {}  # by the dtype of X

    def __call__(self, *inputs: Array | None) -> tuple[Array, ...]:
        """Returns Y, Y_h and, of an LSTM, Y_c of X, W, R, B, sequence_lens, initial_h, ...

        Float16 and bfloat16 are computed in float32 and rounded at the end. A row of length 0 keeps
        its initial state.

        Raises:
            ValueError: an input is missing or its shape does not fit.
            TypeError: its dtype does not fit.
        """
        given = (*inputs, *[None] * (len(_INPUTS) - len(inputs)))
        where, states = self._options.where, STATES[self._options.op_type]
        x, w, r = given[:3]
        if x is None or w is None or r is None or len(given) > len(_INPUTS):
            raise ValueError(f"{where} expected the inputs X, W and R, and no more than 8")
        if len(states) == 1 and any(each is not None for each in given[6:]):
            raise ValueError(f"{where} expected no inputs after initial_h, which is the last one")
        kind = x.dtype
        wide = _computed_in(where, kind)
        scans = self._kept.get(kind)
        if scans is None:
            scans = self._scans(wide, kind, w, r, *(given[place] for place in (3, 7)))
        inputs_size, hidden = scans[0].sizes
        x = self._steps_first(_checked(where, "X", x, kind, 3).astype(wide, copy=False))
        steps, batch, got = x.shape
        if got != inputs_size:
            raise ValueError(f"{where} expected X with I = {inputs_size} numbers a step, got {got}")
        shape = (len(scans), batch, hidden)
        first = [
            self._first_state(f"initial_{name}", array, kind, wide, shape)
            for name, array in zip(states, given[5:7], strict=False)
        ]
        lengths = None if given[4] is None else _lengths(where, given[4], steps, batch)
        y = functional.empty((steps, len(scans), batch, hidden), wide)
        final = [
            scan.run(x, [each[d] for each in first], lengths, y[:, d])
            for d, scan in enumerate(scans)
        ]
        last = [np.stack(arrays) for arrays in zip(*final, strict=True)]
        if self._options.batch_first:
            y, last = y.transpose(2, 0, 1, 3), [each.swapaxes(0, 1) for each in last]
        return tuple(each.astype(kind, copy=False) for each in (y, *last))

    def _scans(
        self, wide: Any, kind: Any, w: Array, r: Array, b: Array | None, p: Array | None
    ) -> "list[_Scan]":
        """Each direction with its weights."""
        arrays: tuple[Any, ...] = (w, r, b, p)
        where = self._options.where
        for name, array in zip(("W", "R", "B", "P"), arrays, strict=True):
            if array is not None:
                _checked(where, name, array, kind, array.ndim)
        sizes = self._options.hidden(*arrays)
        directions = zip(self._options.equations, self._options.reverse, strict=True)
        scans = [
            _Scan(equations, each, reverse, sizes)
            for (equations, reverse), each in zip(
                directions, _by_direction(arrays, wide), strict=True
            )
        ]
        if self._constant:
            self._kept[kind] = scans
        return scans

    def _steps_first(self, x: Array) -> Array:
        return x.swapaxes(0, 1) if self._options.batch_first else x

    def _first_state(
        self, name: str, state: Array | None, kind: Any, wide: Any, shape: tuple[int, ...]
    ) -> Array:
        if state is None:
            return np.zeros(shape, wide)
        where = self._options.where
        state = self._steps_first(_checked(where, name, state, kind, 3)).astype(wide, copy=False)
        if state.shape != shape:
            raise ValueError(f"{where} expected {name} (D, B, H) = {shape}, got {state.shape}")
        return state


class _Scan:
    """One direction of a node with its weights: W, R, B and P, of which the last may be None."""

    def __init__(
        self,
        equations: Equations,
        parameters: Sequence[Any],
        reverse: bool,
        sizes: tuple[int, int],
    ) -> None:
        self.sizes = sizes
        self._reverse = reverse
        own: dict[str, Any] = OPERATORS[equations.cell].parameters(*parameters)
        if equations.gates is not None:
            own["gates"] = equations.gates
        self._weights = functional.pack(equations.cell, **own, backward=False)

    def run(self, x: Array, states: list[Array], lengths: Array | None, out: Array) -> Any:
        """Writes the outputs (T, B, H) and returns the final states, (B, H) each."""
        if x.strides[-1] != x.itemsize:
            x = np.ascontiguousarray(x)
        return functional.scan(
            self._weights, x, states, lengths=lengths, reverse=self._reverse, out=out
        )[1]


def _by_direction(arrays: tuple[Any, ...], kind: Any) -> list[list[Any]]:
    """The part of each array that belongs to a direction, which is their first axis."""
    return [
        [None if each is None else each[d].astype(kind) for each in arrays]
        for d in range(len(arrays[0]))
    ]


def _computed_in(where: str, kind: Any) -> Any:
    """The dtype to compute in."""
    if kind in (np.float32, np.float64):
        return kind
    if kind == np.float16 or kind.name == "bfloat16":
        return np.dtype(np.float32)
    raise TypeError(f"{where} expected X of a float type, got {kind}")


def _checked(where: str, name: str, array: Array, kind: Any, axes: int) -> Array:
    if array.ndim != axes:
        raise ValueError(f"{where} expected {name} with {axes} axes, got shape {array.shape}")
    if array.dtype != kind:
        raise TypeError(f"{where} expected {name} of the type of X, {kind}, got {array.dtype}")
    return array


def _lengths(where: str, lengths: Array, steps: int, batch: int) -> Array:
    if lengths.shape != (batch,) or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"{where} expected sequence_lens of whole numbers (B,) = ({batch},), got "
            f"{lengths.dtype} {lengths.shape}"
        )
    if batch and not (lengths.min() >= 0 and lengths.max() <= steps):
        raise ValueError(
            f"{where} expected sequence_lens in 0..{steps}, got {lengths.min()}..{lengths.max()}"
        )
    return lengths.astype(np.int64)
