"""The compiled cells, and those that are compiled when they are first used."""

from __future__ import annotations

import os
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
    """What a cell is made of; names in the order of its arrays.

    Attributes:
        name: of the cell.
        gates: the G blocks of rows of weight_ih and weight_hh.
        states: the S states; the first is the output h.
        units: the P parameters that each unit has for itself, as peephole weights.
        recurrent: whether there is a product weight_hh h; without it h acts within its unit alone.
        projects: whether the output h = weight_hr m has a size R of its own, R <= H.
        normalises: whether products are normalised over all gates of a row.
        clips: whether its state c may be clipped (`cell_clip` of `scan`).
        functions: where it may be chosen what gates apply (`Gates`), what they do by default; the
            parameters of units may then be left out, which are zeros then.
        precisions: the names of `Precision` that it has for float32.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    units: tuple[str, ...] = ()
    recurrent: bool = True
    projects: bool = False
    normalises: bool = False
    clips: bool = False
    functions: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("full",)


Build = Callable[[str, str, Precision], Path]
"""(instruction set, "float32" or "float64", precision) -> shared object with the cell's kernels."""


class _Added:
    """A cell that is no part of the extension, and what of it is loaded."""

    def __init__(self, info: CellInfo, build: Build) -> None:
        self.info = info
        self._build = build
        self._loaded: set[tuple[str, str, Precision]] = set()
        self.lock = Lock()

    def load(self, dtype: DTypeLike, precision: Precision) -> None:
        key = (_core.isa(), np.dtype(dtype).name, precision)
        if key in self._loaded:
            return
        with self.lock:
            if key not in self._loaded:
                _core.load_cell(str(self._build(*key)))
                self._loaded.add(key)


_added: dict[str, _Added] = {}


def _renew_locks() -> None:
    """In the child of a fork, which lacks the thread that would give a lock back."""
    for added in _added.values():
        added.lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


@lru_cache(maxsize=1)
def _compiled() -> tuple[CellInfo, ...]:
    return tuple(
        CellInfo(
            c.name,
            c.gates,
            c.states,
            c.units,
            c.recurrent,
            c.projects,
            c.normalises,
            c.clips,
            c.functions,
            c.precisions,
        )
        for c in _core.cells()
    )


def cells() -> tuple[CellInfo, ...]:
    """All cells: the compiled ones, then those of `add_cell`."""
    return (*_compiled(), *(added.info for added in tuple(_added.values())))


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
    """Makes the extension know a cell of `add_cell` for the instruction set in use.

    Raises:
        ValueError: the cell has no such precision. What no cell has is left to the extension.
    """
    added, kind = _added.get(cell), np.dtype(dtype).name
    if added is None or precision not in get_args(Precision):
        return
    if kind == "float64" and precision == "full":
        added.load(dtype, precision)
    if kind == "float32":
        if precision not in added.info.precisions:
            raise ValueError(f"[{cell}] expected precision full, the only one that this cell has")
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
