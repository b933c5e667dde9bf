"""Random problems for the scan: one description that both the kernels and the reference can run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from unrolled import functional, reference


class Dims(NamedTuple):
    T: int
    B: int
    I: int  # noqa: E741
    H: int


# The lanes of a vector are 16, 8, 4 and 2 over the instruction sets and dtypes, so H and I visit
# one less and one more of each; then primes, 0 and 1 steps, and batch 1. The last three pass the
# blocks of the kernels: 256 tokens of a chunk, 512 rows and a depth of 1024 of the products.
DIMS = [
    Dims(0, 3, 5, 4),
    Dims(1, 1, 1, 1),
    Dims(1, 2, 3, 16),
    Dims(2, 1, 7, 15),
    Dims(3, 5, 4, 17),
    Dims(4, 3, 13, 8),
    Dims(5, 2, 9, 7),
    Dims(3, 4, 17, 9),
    Dims(2, 13, 5, 3),
    Dims(7, 7, 3, 4),
    Dims(3, 2, 31, 5),
    Dims(2, 3, 16, 32),
    Dims(4, 6, 1, 33),
    Dims(6, 1, 11, 29),
    Dims(3, 17, 2, 2),
    Dims(5, 31, 19, 1),
    Dims(11, 12, 8, 13),
    Dims(23, 33, 5, 6),
    Dims(2, 530, 3, 5),
    Dims(2, 67, 1030, 259),
]


def present(arrays: Iterable[np.ndarray | None]) -> tuple[np.ndarray, ...]:
    return tuple(array for array in arrays if array is not None)


#: The cells of the library, whatever cells tests define. Of those with functions of gates
#: test_gate_functions.py tells: their scans are those of others.
CELLS = [info for info in functional.cells() if not info.functions]

#: The cells of one phase: all but those that need a whole row, or a second product, and but those
#: whose gates have functions of one's choice.
FUSED_CELLS = [
    name
    for name, spec in reference.CELLS.items()
    if not isinstance(spec, reference.PhasedCell) and not spec.functions
]

#: The cells that multiply bfloat16 and int8, too.
NARROW_CELLS = [info.name for info in functional.cells() if "bf16" in info.precisions]


@dataclass(frozen=True)
class Problem:
    cell: str
    x: np.ndarray
    states: tuple[np.ndarray, ...] | None
    weights: tuple[np.ndarray | None, ...]  # in the order of functional.PARAMETERS
    dy: np.ndarray
    dstates: tuple[np.ndarray, ...]
    options: dict[str, Any]
    precision: functional.Precision = "full"
    gates: functional.Gates = functional.NO_CHOICE

    @property
    def forward_roundings(self) -> int:
        steps, _, inputs = self.x.shape
        gates = len(functional.cell_info(self.cell).gates)
        hidden = len(self.weights[0]) // gates
        return steps * (inputs + sums_of_a_step(self.cell, hidden) * hidden + gates)

    @property
    def gradient_roundings(self) -> int:
        steps, batch, inputs = self.x.shape
        rows = len(self.weights[0])
        hidden = rows // len(functional.cell_info(self.cell).gates)
        return steps * (inputs + sums_of_a_step(self.cell, hidden) * (rows + hidden) + batch)

    @property
    def arrays(self) -> list[np.ndarray]:
        """Every input array."""
        optional = [*(self.states or ()), *self.weights, self.options.get("lengths")]
        optional.append(self.options.get("resets"))
        return list(present((self.x, self.dy, *self.dstates, *optional)))

    def but(self, **changes: Any) -> Problem:
        return replace(self, **changes)

    def pack(self, *, backward: bool = True) -> functional.Weights:
        return functional.pack(
            self.cell,
            *self.weights,
            precision=self.precision,
            backward=backward,
            gates=self.gates,
        )

    def scan(self) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        packed = self.pack(backward=False)
        return functional.scan(packed, self.x, self.states, **self.options)

    def zero_grads(self) -> tuple[np.ndarray | None, ...]:
        return tuple(None if w is None else np.zeros_like(w) for w in self.weights)

    def vjp(self, **pulled: Any) -> dict[str, Any]:
        """y, states, dx, dstates and grads (of what is there) from the compiled code."""
        y, states, saved = functional.scan_vjp(self.pack(), self.x, self.states, **self.options)
        grads = self.zero_grads()
        dx, dstates = functional.scan_backward(saved, self.dy, self.dstates, grads=grads, **pulled)
        return {"y": y, "states": states, "dx": dx, "dstates": dstates, "grads": present(grads)}

    def recomputed(self, recompute: functional.Recompute) -> tuple[Any, Any]:
        """What BPTT gives with this choice: dx and dstates, and grads of what is there."""
        _, _, saved = functional.scan_vjp(
            self.pack(), self.x, self.states, recompute=recompute, **self.options
        )
        grads = self.zero_grads()
        return functional.scan_backward(saved, self.dy, grads=grads), present(grads)

    def reference_scan(self) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """y and states from the specification, in float64."""
        return reference.scan(
            self.cell,
            self.x,
            self.states,
            *self.weights,
            **self.options,
            precision=self.precision,
            gates=self.gates if self.gates.functions else None,
        )

    def reference(self, **pulled: Any) -> dict[str, Any]:
        """The same five results as `vjp`, from the specification."""
        (y, states), pullback = reference.scan_vjp(
            self.cell,
            self.x,
            self.states,
            *self.weights,
            **self.options,
            precision=self.precision,
            gates=self.gates if self.gates.functions else None,
        )
        dx, dstates, grads = pullback(self.dy, self.dstates, **pulled)
        return {"y": y, "states": states, "dx": dx, "dstates": dstates, "grads": present(grads)}

    def row(self, b: int) -> Problem:
        """Row b alone, cut to its length: what the row's results in the batch must equal."""
        lengths, resets = self.options.get("lengths"), self.options.get("resets")
        steps = len(self.x) if lengths is None else int(lengths[b])
        options = {"reverse": self.options.get("reverse", False)}
        if resets is not None:
            options["resets"] = np.ascontiguousarray(resets[:steps, b : b + 1])
        return self.but(
            x=np.ascontiguousarray(self.x[:steps, b : b + 1]),
            states=None if self.states is None else tuple(s[b : b + 1].copy() for s in self.states),
            dy=np.ascontiguousarray(self.dy[:steps, b : b + 1]),
            dstates=tuple(d[b : b + 1].copy() for d in self.dstates),
            options=options,
        )


def sums_of_a_step(cell: str, hidden: int) -> int:
    """How many sums follow each other: of a product, the mean and the variance behind one.

    A norm divides by a deviation, errors included. Of a row of two or three units it may be as
    small as sqrt(1e-5), which is what stands beside the variance.
    """
    info = functional.cell_info(cell)
    if info.normalises:
        return (5 if "gain_c" in info.units else 3) * (1 if hidden > 3 else round(1e-5**-0.5))
    return 2 if isinstance(reference.CELLS[cell], reference.PhasedCell) else 1


def make_problem(
    cell: str,
    dims: tuple[int, int, int, int],
    dtype: Any,
    *,
    seed: int = 0,
    biases: tuple[bool, bool] = (True, True),
    states: bool = True,
    ragged: bool = False,
    resets: bool = False,
    reverse: bool = False,
) -> Problem:
    """Inputs of order 1, weights of order 1/sqrt(fan-in): states neither die nor explode."""
    steps, batch, inputs, hidden = dims
    rng = np.random.default_rng([seed, *dims])
    info = functional.cell_info(cell)
    rows = len(info.gates) * hidden

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(dtype)

    weight_ih = normal(rows, inputs, scale=inputs**-0.5)
    weight_hh = normal(rows, hidden, scale=0.7 * hidden**-0.5)
    outputs = max(1, hidden - hidden // 3) if info.projects else hidden
    if info.projects:
        weight_hh = normal(rows, outputs, scale=0.7 * outputs**-0.5)
    weight_unit = normal(len(info.units) * hidden, scale=0.7)
    bias_ih, bias_hh = normal(rows, scale=0.5), normal(rows, scale=0.5)
    sizes = {name: outputs if name == "h" else hidden for name in info.states}
    x, dy = normal(steps, batch, inputs), normal(steps, batch, outputs)
    initial = tuple(valid_state(name, normal(batch, size)) for name, size in sizes.items())
    options: dict[str, Any] = {"reverse": reverse}
    if ragged:
        options["lengths"] = ragged_lengths(rng, steps, batch)
    if resets:
        options["resets"] = rng.random((steps, batch)) < 0.3
    return Problem(
        cell=cell,
        x=x,
        states=initial if states else None,
        weights=(
            weight_ih,
            weight_hh if info.recurrent else None,
            bias_ih if biases[0] else None,
            bias_hh if biases[1] and info.recurrent else None,
            weight_unit if info.units else None,
            normal(outputs, hidden, scale=hidden**-0.5) if info.projects else None,
        ),
        dy=dy,
        dstates=tuple(normal(batch, size) for size in sizes.values()),
        options=options,
    )


def valid_state(name: str, state: np.ndarray) -> np.ndarray:
    """A state that a cell can have: sLSTM's n is a sum of exponentials, and divides."""
    return np.abs(state) + state.dtype.type(0.5) if name == "n" else state


def ragged_lengths(rng: np.random.Generator, steps: int, batch: int) -> np.ndarray:
    """Unsorted lengths with a zero and a full one wherever the batch has room for them."""
    lengths = rng.integers(0, steps + 1, batch)
    lengths[: min(2, batch)] = (0, steps)[: min(2, batch)]
    return rng.permutation(lengths)
