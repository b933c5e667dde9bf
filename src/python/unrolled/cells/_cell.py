"""The decorator that makes a cell of its equations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import functional
from ._compiler import compile_device_unit, compile_unit


@dataclass(frozen=True)
class Cell(functional.CellInfo):
    """A cell made by `unrolled.cell`; `Recurrent` takes it, or its name.

    Attributes:
        header: the C++ that was derived from the equations.
    """

    header: str = field(repr=False, kw_only=True)

    def compile(
        self, dtype: DTypeLike = np.float32, precision: functional.Precision = "full"
    ) -> None:
        """Compiles the cell now, rather than when a layer first runs.

        Raises:
            RuntimeError: there is no C++ compiler, or it fails.
        """
        functional.load_kernels(self.name, dtype, precision)

    def build(self, isa: str, dtype: str, precision: functional.Precision) -> Path:
        """The shared object with these kernels of the cell, see `functional.add_cell`."""
        kernels = (
            "ExtensionF64<Cell>"
            if dtype == "float64"
            else f"ExtensionF32<Cell, Precision::k{precision.capitalize()}>"
        )
        unit = self.header.replace("#pragma once\n", '#include "kernels/export_cell.hpp"\n')
        return compile_unit(self.name, f"{unit}\nUNROLLED_EXPORT_CELL({kernels})\n", isa)

    def build_for_cuda(self) -> Path:
        """The shared object with the cell's kernels for CuPy's current device."""
        unit = self.header.replace("#pragma once\n", '#include "cuda/export_cell.hpp"\n')
        return compile_device_unit(self.name, f"{unit}\nUNROLLED_EXPORT_CUDA_CELL(Cell)\n")


Equations = Callable[..., Mapping[str, Any]]


def cell(
    *,
    gates: Sequence[str],
    states: Sequence[str] = ("h",),
    units: Sequence[str] = (),
    name: str | None = None,
) -> Callable[[Equations], Cell]:
    """Makes a recurrent cell of a function that writes down its equations.

    ::

        from unrolled.cells import sigmoid, tanh

        @unrolled.cell(gates=("r", "z", "n"), states=("h",))
        def my_gru(x, u, s):
            r = sigmoid(x.r + u.r)
            z = sigmoid(x.z + u.z)
            n = tanh(x.n + r * u.n)
            return {"h": (1 - z) * n + z * s.h}

        layer = unrolled.Recurrent(my_gru, 64, 256)

    The function is called once, with symbols. The gradient is derived from what it returns, both
    are written in C++ against the kernels of the built-in cells, and the first layer that runs has
    them compiled (some ten seconds; the result is kept in the user's cache). From then on the cell
    is one of `functional.cells()`: training, ragged batches, streams, precisions and the checks
    against `unrolled.reference` work as with the others.

    Args:
        gates: names of the G gates, 1 to 8. Parameters are weight_ih (G*H, I), weight_hh (G*H, H)
            and biases (G*H,), gates in this order.
        states: names of the states, 1 to 4; the first is the output.
        units: names of parameters that each unit has for itself, as peephole weights: weight_unit
            (P*H,), in this order.
        name: the cell's name; None = the function's.

    The function's arguments:
        x: input parts: x.r is the part W_ih x_t + b_ih of gate r.
        u: recurrent parts: u.r is the part W_hh h + b_hh of gate r.
        s: the states before the step, as s.h.
        p: with `units` alone: the parameters of the unit, as p.i.

    It returns a dict with the states after the step. It may use + - * /, integer powers, numbers
    and the functions of `unrolled.cells`. Without a recurrent part there is no weight_hh. A unit
    whose parameters and states are zero must keep its output zero and its other states finite:
    vectors are padded with such units.

    Raises:
        ImportError: SymPy is not installed.
        ValueError: the equations cannot be compiled; the text says why.
    """

    for kind, names in (("gates", gates), ("states", states), ("units", units)):
        if isinstance(names, str):
            raise TypeError(f'[cell] expected {kind} as a tuple of names, as ("r", "z"), got a str')

    def make(function: Equations) -> Cell:
        from ._definition import define  # needs SymPy

        return define(
            function.__name__ if name is None else name,
            function,
            tuple(gates),
            tuple(states),
            tuple(units),
        )

    return make
