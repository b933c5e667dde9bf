"""The compiled cells, and those that are compiled when they are first used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import get_args

import numpy as np
from numpy.typing import DTypeLike

from .. import _core
from ._precision import Precision


@dataclass(frozen=True)
class CellInfo:
    """Name, gate names and state names of a cell, in the order of its arrays."""

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]


Build = Callable[[str, str, Precision], Path]
"""(instruction set, "float32" or "float64", precision) -> shared object with the cell's kernels."""


class _Added:
    """A cell that is no part of the extension, and what of it is loaded."""

    def __init__(self, info: CellInfo, build: Build) -> None:
        self.info = info
        self._build = build
        self._loaded: set[tuple[str, str, Precision]] = set()
        self._lock = Lock()

    def load(self, dtype: DTypeLike, precision: Precision) -> None:
        key = (_core.isa(), np.dtype(dtype).name, precision)
        if key in self._loaded:
            return
        with self._lock:
            if key not in self._loaded:
                _core.load_cell(str(self._build(*key)))
                self._loaded.add(key)


_added: dict[str, _Added] = {}


@lru_cache(maxsize=1)
def _compiled() -> tuple[CellInfo, ...]:
    return tuple(CellInfo(c.name, c.gates, c.states) for c in _core.cells())


def cells() -> tuple[CellInfo, ...]:
    """All cells: the compiled ones, then those of `add_cell`."""
    return (*_compiled(), *(added.info for added in _added.values()))


def add_cell(info: CellInfo, build: Build) -> None:
    """Adds a cell under a name; its kernels are built and loaded when they are first needed.

    A cell that was added before under the name is replaced: layers that exist use the new one from
    now on, packed weights keep the old one.

    Raises:
        ValueError: the name is that of a compiled cell.
    """
    if info.name in (compiled.name for compiled in _compiled()):
        raise ValueError(f"[cell] expected a new name, got {info.name!r}, which is compiled in")
    _added[info.name] = _Added(info, build)


def load_kernels(cell: str, dtype: DTypeLike, precision: Precision) -> None:
    """Makes the extension know the cell for the instruction set in use, if it was added here."""
    added = _added.get(cell)
    precisions = {"float32": get_args(Precision), "float64": ("full",)}
    if added is not None and precision in precisions.get(np.dtype(dtype).name, ()):
        added.load(dtype, precision)


def include_folder() -> Path:
    """Where the headers lie that added cells are compiled against."""
    return Path(_core.__file__).parent / "_include"


def cell_info(cell: str | CellInfo) -> CellInfo:
    """The cell of this name. Raises ValueError, naming the choices, if there is none."""
    name = cell.name if isinstance(cell, CellInfo) else cell
    for info in cells():
        if info.name == name:
            return info
    names = ", ".join(info.name for info in cells())
    raise ValueError(f"[cell] expected one of {names}, got {name!r}")
