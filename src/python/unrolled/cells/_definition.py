"""From a function with equations to a cell that layers can use."""

from __future__ import annotations

import keyword
import re
from typing import get_args

from .. import functional, reference
from ._cell import Cell, Equations
from ._cpp import header
from ._derivation import derive
from ._equations import write_down
from ._symbols import Symbols
from ._twin import twin

# What the kernels have room for.
MAX_GATES, MAX_STATES, MAX_UNITS = 8, 4, 4

Names = tuple[str, ...]


def define(name: str, function: Equations, gates: Names, states: Names, units: Names) -> Cell:
    """Derives the cell and adds it, and its twin to the reference; see `unrolled.cell`."""
    where = f"cell {name}"
    _check_names(where, name, gates, states, units)
    symbols = Symbols(gates, states, units)
    equations = write_down(where, function, symbols)
    derivation = derive(symbols, equations)
    made = Cell(
        name,
        gates,
        states,
        units,
        recurrent=derivation.recurrent,
        precisions=get_args(functional.Precision) if derivation.recurrent else ("full",),
        header=header(name, symbols, derivation),
    )
    functional.add_cell(made, made.build)
    reference.CELLS[name] = twin(name, symbols, equations, recurrent=derivation.recurrent)
    return made


def _check_names(where: str, name: str, gates: Names, states: Names, units: Names) -> None:
    for kind, names, least, most in (
        ("gates", gates, 1, MAX_GATES),
        ("states", states, 1, MAX_STATES),
        ("units", units, 0, MAX_UNITS),
    ):
        if not least <= len(names) <= most:
            raise ValueError(f"[{where}] expected {least} to {most} {kind}, got {len(names)}")
        if len(set(names)) != len(names):
            raise ValueError(f"[{where}] expected {kind} of different names, got {names}")
    for word in (name, *gates, *states, *units):
        if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", word) or keyword.iskeyword(word):
            raise ValueError(f"[{where}] expected names of ASCII letters and digits, got {word!r}")
