"""The compiled cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from .. import _core


@dataclass(frozen=True)
class CellInfo:
    """What a cell is made of; names in the order of its arrays.

    Attributes:
        name: of the cell.
        gates: the G blocks of rows of weight_ih and weight_hh.
        states: the S states; the first is the output h.
        units: the P parameters that each unit has for itself, as peephole weights.
        recurrent: whether there is a product weight_hh h; without it h acts within its unit alone.
        precisions: the names of `Precision` that it has for float32.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    units: tuple[str, ...] = ()
    recurrent: bool = True
    precisions: tuple[str, ...] = ("full",)


@lru_cache(maxsize=1)
def cells() -> tuple[CellInfo, ...]:
    """All compiled cells."""
    return tuple(
        CellInfo(c.name, c.gates, c.states, c.units, c.recurrent, c.precisions)
        for c in _core.cells()
    )


def cell_info(name: str) -> CellInfo:
    """The cell called `name`. Raises ValueError, naming the choices, if there is none."""
    for info in cells():
        if info.name == name:
            return info
    names = ", ".join(info.name for info in cells())
    raise ValueError(f"[cell] expected one of {names}, got {name!r}")
