"""One direction of one layer: over sequences, over a ragged batch, or step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .. import functional, reference
from ._problem import FORWARD, STEP, TRAINING, Array, Outputs, Problem, Values
from ._roofline import Work, layer_work
from ._shapes import Shape

OUTPUTS = {
    FORWARD: ("y",),
    TRAINING: ("y", "dx", "dweight_ih", "dweight_hh", "dbias_ih", "dbias_hh"),
    STEP: ("y",),
}
"""What a contender has to produce, by mode."""

# Above so many operations the float64 loop takes seconds and a peer decides, or, where no peer
# takes part, minutes and gigabytes.
_REFERENCE_OPERATIONS = 4e9
_REFERENCE_OPERATIONS_ALONE = 1.5e11
_FACTOR = 2.0


@dataclass(frozen=True, repr=False)
class LayerProblem(Problem):
    """One direction of one layer on random float32 data, from a zero state.

    In the modes FORWARD and TRAINING a call runs over all T steps. In the mode STEP it takes the T
    steps one at a time, each from the state that the one before left, and a unit is one step.

    Shapes: T steps, B batch, I input, H hidden, G gates.
        x (T, B, I); weight_ih (G*H, I); weight_hh (G*H, H); bias_ih, bias_hh (G*H,); dy (T, B, H);
        lengths (B,) or None: row b ends after lengths[b] steps. dy is zero where no token is.
        reduced: some contenders multiply in reduced precision.
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
    lengths: npt.NDArray[np.int64] | None = None
    reduced: bool = False

    @classmethod
    def random(
        cls,
        cell: str,
        mode: str,
        shape: Shape,
        *,
        lengths: npt.NDArray[np.int64] | None = None,
        reduced: bool = False,
        seed: int = 0,
    ) -> LayerProblem:
        """Weights uniform in +-1/sqrt(H), as torch initialises them; x and dy normal."""
        rng = np.random.default_rng(seed)
        info = functional.cell_info(cell)
        if info.units or not info.recurrent:
            raise ValueError(
                f"[bench] expected a cell with the parameters of the peers' cells, got {cell}; "
                "benchmarks/bench_options.py measures the others"
            )
        rows = len(info.gates) * shape.hidden

        def uniform(*sizes: int) -> Array:
            values = rng.random(sizes, np.float32)
            values -= np.float32(0.5)
            values *= np.float32(2 * shape.hidden**-0.5)
            return values

        def normal(size: int) -> Array:
            return rng.standard_normal((shape.steps, shape.batch, size), np.float32)

        problem = cls(
            cell=cell,
            mode=mode,
            shape=shape,
            x=normal(shape.inputs),
            weight_ih=uniform(rows, shape.inputs),
            weight_hh=uniform(rows, shape.hidden),
            bias_ih=uniform(rows),
            bias_hh=uniform(rows),
            dy=normal(shape.hidden),
            lengths=lengths,
            reduced=reduced,
        )
        return replace(problem, dy=problem.without_padding(problem.dy))

    def __str__(self) -> str:
        return f"{self.cell} {self.mode} {self.shape}"

    @property
    def training(self) -> bool:
        return self.mode == TRAINING

    @property
    def gates(self) -> int:
        return len(functional.cell_info(self.cell).gates)

    @property
    def units(self) -> int:
        return self.shape.steps if self.mode == STEP else 1

    @property
    def work(self) -> Work:
        shape = replace(self.shape, steps=1) if self.mode == STEP else self.shape
        tokens = None if self.lengths is None else int(self.lengths.sum())
        return layer_work(self.gates, shape, training=self.training, tokens=tokens)

    @property
    def weights(self) -> tuple[Array, Array, Array, Array]:
        """The parameters in the order of `functional.pack`."""
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    @property
    def parameters(self) -> dict[str, Array]:
        """The parameters by the names that a layer gives them, ours and torch's."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        return dict(zip(names, self.weights, strict=True))

    def without_padding(self, y: Array) -> Array:
        """y (T, B, H) with zeros where no token is, for those who compute there too."""
        if self.lengths is None:
            return y
        live = np.arange(len(y))[:, None] < self.lengths
        return np.where(live[:, :, None], y, np.float32(0))

    def truth(self, *, alone: bool) -> Outputs | None:
        limit = _REFERENCE_OPERATIONS_ALONE if alone else _REFERENCE_OPERATIONS
        if self.units * self.work.operations > limit:
            return None
        (y, _), pullback = reference.scan_vjp(
            self.cell, self.x, None, *self.weights, lengths=self.lengths
        )
        if not self.training:
            return {"y": y}
        dx, _, dweights = pullback(self.dy)
        values = (y, dx, *(dweight for dweight in dweights if dweight is not None))
        return dict(zip(OUTPUTS[TRAINING], values, strict=True))

    def error(self, key: str, actual: Values, expected: Values) -> float:
        """The largest difference as a part of `tolerance`.

        Where a derivative jumps that is too strict: a relu whose input is zero to within a rounding
        error has either derivative, and both are right. Of a million inputs about one is such, and
        the choice moves all gradients that pass through this unit of this row, about 1 / sqrt(B*H)
        of their norm; eight of them are let through, but never a tenth of the norm.

        In reduced precision the roundings of a step meet those of the steps before it in ways that
        depend on the data: up to a tenth of the norm is let through, which wrong work exceeds.
        """
        differences = np.abs(actual - expected)
        if self.reduced:
            return 10.0 * float(np.linalg.norm(differences) / np.linalg.norm(expected))
        error = float(np.max(differences)) / self.tolerance(expected)
        if self.training and self.cell == "rnn_relu" and error > 1.0:
            part = float(np.linalg.norm(differences) / np.linalg.norm(expected))
            return part / min(0.1, 8 / math.sqrt(self.shape.batch * self.shape.hidden))
        return error

    def tolerance(self, expected: Values) -> float:
        """2 * sqrt(K) * eps * scale, with K roundings on the longest path from input to result.

        A step sums I + H products; T steps follow one another; a gradient takes as many again on
        the way back, and a weight's gradient sums over T*B. K roundings of random sign add up to
        about sqrt(K) of them. `scale` is the largest magnitude expected, at least 1.
        """
        shape = self.shape
        roundings = shape.steps * (shape.inputs + shape.hidden + self.gates)
        if self.training:
            roundings += shape.steps * (self.gates * shape.hidden + shape.batch)
        scale = max(1.0, float(np.max(np.abs(expected))))
        return _FACTOR * math.sqrt(roundings) * float(np.finfo(np.float32).eps) * scale
