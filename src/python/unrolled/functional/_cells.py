"""The compiled cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from .. import _core


@dataclass(frozen=True)
class CellInfo:
    """A compiled cell.

    Attributes:
        name: what `pack` knows it by.
        gates, states: their names, in the order of the arrays.
        projects: whether the state h, which is the output, has a size P of its own.
        extras: names of the parameters beside weight_ih, weight_hh and biases: weight_hr (P, H),
            gain_ih and gain_hh (G*H,), others (H,).
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    projects: bool
    extras: tuple[str, ...]


@lru_cache(maxsize=1)
def cells() -> tuple[CellInfo, ...]:
    """All compiled cells."""
    return tuple(CellInfo(c.name, c.gates, c.states, c.projects, c.extras) for c in _core.cells())


def cell_info(name: str) -> CellInfo:
    """The cell called `name`. Raises ValueError, naming the choices, if there is none."""
    for info in cells():
        if info.name == name:
            return info
    names = ", ".join(info.name for info in cells())
    raise ValueError(f"[cell] expected one of {names}, got {name!r}")
