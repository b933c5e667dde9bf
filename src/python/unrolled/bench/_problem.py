"""One case: the arrays that every contender gets, and the test of what it made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import functional, reference
from ._roofline import operations
from ._shapes import Shape

Array = npt.NDArray[np.float32]
Values = npt.NDArray[np.floating]
Outputs = Mapping[str, Values]

FORWARD = "forward"
TRAINING = "forward+backward"
MODES = (FORWARD, TRAINING)

OUTPUTS = {
    FORWARD: ("y",),
    TRAINING: ("y", "dx", "dweight_ih", "dweight_hh", "dbias_ih", "dbias_hh"),
}
"""What a contender has to produce, by mode."""

_REFERENCE_OPERATIONS = 4e9  # above this the float64 loop takes seconds, and the first peer decides
_FACTOR = 2.0


@dataclass(frozen=True)
class Problem:
    """One direction of one layer on random float32 data.

    Shapes: T steps, B batch, I input, H hidden, G gates.
        x (T, B, I); weight_ih (G*H, I); weight_hh (G*H, H); bias_ih, bias_hh (G*H,); dy (T, B, H).
    """

    cell: str
    mode: str
    shape: Shape
    x: Array
    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array
    dy: Array

    @classmethod
    def random(cls, cell: str, mode: str, shape: Shape, *, seed: int = 0) -> Problem:
        """Weights uniform in +-1/sqrt(H), as torch initialises them; x and dy normal."""
        rng = np.random.default_rng(seed)
        rows = len(functional.cell_info(cell).gates) * shape.hidden

        def uniform(*sizes: int) -> Array:
            bound = shape.hidden**-0.5
            return rng.uniform(-bound, bound, sizes).astype(np.float32)

        def normal(size: int) -> Array:
            return rng.standard_normal((shape.steps, shape.batch, size), np.float32)

        return cls(
            cell=cell,
            mode=mode,
            shape=shape,
            x=normal(shape.inputs),
            weight_ih=uniform(rows, shape.inputs),
            weight_hh=uniform(rows, shape.hidden),
            bias_ih=uniform(rows),
            bias_hh=uniform(rows),
            dy=normal(shape.hidden),
        )

    @property
    def training(self) -> bool:
        return self.mode == TRAINING

    @property
    def gates(self) -> int:
        return len(functional.cell_info(self.cell).gates)

    @property
    def operations(self) -> float:
        return operations(self.gates, self.shape, training=self.training)

    @property
    def weights(self) -> tuple[Array, Array, Array, Array]:
        """The parameters in the order of `functional.pack`."""
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh


def check(problem: Problem, outputs: Mapping[str, Callable[[], Outputs]]) -> dict[str, float]:
    """Compares all contenders with one truth, so that they provably did the same work.

    The truth is `unrolled.reference` in float64 or, for a problem that is too large for it, the
    second contender (a peer: the first one is ours), or else ours.

    Args:
        outputs: for each contender the function that gives its arrays, named as in `OUTPUTS`.

    Returns:
        The largest error of each contender, as a part of what is allowed.

    Raises:
        ArithmeticError: a difference exceeds `tolerance`.
    """
    produced = {name: function() for name, function in outputs.items()}
    if problem.operations <= _REFERENCE_OPERATIONS:
        truth_name, truth = "unrolled.reference", _reference(problem)
    else:
        truth_name = list(produced)[1 if len(produced) > 1 else 0]
        truth = produced[truth_name]
    worst = {}
    for name, arrays in produced.items():
        worst[name] = 0.0
        for key in OUTPUTS[problem.mode]:
            expected, actual = truth[key], arrays[key]
            if actual.shape != expected.shape:
                raise ArithmeticError(
                    f"[bench] {name}: {key} has shape {actual.shape}, not {expected.shape}"
                )
            error = _error(problem, actual, expected)
            if not error <= 1.0:
                raise ArithmeticError(
                    f"[bench] {name} differs from {truth_name}: {problem.cell} {problem.mode} "
                    f"{problem.shape}: {key} by {error:.2g} times what rounding explains"
                )
            worst[name] = max(worst[name], error)
    return worst


def _error(problem: Problem, actual: Values, expected: Values) -> float:
    """The largest difference as a part of `tolerance`.

    Where a derivative jumps that is too strict: a relu whose input is zero to within a rounding
    error has either derivative, and both are right. Of a million inputs about one is such, and the
    choice moves all gradients that pass through this unit of this row, about 1 / sqrt(B*H) of their
    norm; eight of them are let through, but never a tenth of the norm.
    """
    differences = np.abs(actual - expected)
    error = float(np.max(differences)) / tolerance(problem, expected)
    if problem.training and problem.cell == "rnn_relu" and error > 1.0:
        part = float(np.linalg.norm(differences) / np.linalg.norm(expected))
        return part / min(0.1, 8 / math.sqrt(problem.shape.batch * problem.shape.hidden))
    return error


def tolerance(problem: Problem, expected: Values) -> float:
    """2 * sqrt(K) * eps * scale, with K roundings on the longest path from an input to a result.

    A step sums I + H products; T steps follow one another; a gradient takes as many again on the
    way back, and a weight's gradient sums over T*B. K roundings of random sign add up to about
    sqrt(K) of them. `scale` is the largest magnitude expected, at least 1.
    """
    shape = problem.shape
    roundings = shape.steps * (shape.inputs + shape.hidden + problem.gates)
    if problem.training:
        roundings += shape.steps * (problem.gates * shape.hidden + shape.batch)
    scale = max(1.0, float(np.max(np.abs(expected))))
    return _FACTOR * math.sqrt(roundings) * float(np.finfo(np.float32).eps) * scale


def _reference(problem: Problem) -> Outputs:
    (y, _), pullback = reference.scan_vjp(problem.cell, problem.x, None, *problem.weights)
    if not problem.training:
        return {"y": y}
    dx, _, dweights = pullback(problem.dy)
    gradients = dict(zip(OUTPUTS[TRAINING][2:], dweights, strict=True))
    return {
        "y": y,
        "dx": dx,
        **{key: value for key, value in gradients.items() if value is not None},
    }
