"""The compiled cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from .. import _core


@dataclass(frozen=True)
class CellInfo:
    """Name, gate names and state names of a cell, in the order of its arrays."""

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]


@lru_cache(maxsize=1)
def cells() -> tuple[CellInfo, ...]:
    """All compiled cells."""
    return tuple(CellInfo(c.name, c.gates, c.states) for c in _core.cells())


def cell_info(name: str) -> CellInfo:
    """The cell called `name`. Raises ValueError, naming the choices, if there is none."""
    for info in cells():
        if info.name == name:
            return info
    names = ", ".join(info.name for info in cells())
    raise ValueError(f"[cell] expected one of {names}, got {name!r}")
