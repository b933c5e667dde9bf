"""Cells of users' own on a CUDA device, compiled when they are first used."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Protocol, runtime_checkable

from ..functional import cells
from ._library import require


@runtime_checkable
class OwnCell(Protocol):
    """What `unrolled.cell` makes, and can be compiled for a device."""

    name: str

    def build_for_cuda(self) -> Path:
        """The shared object with the kernels."""


_loaded: dict[str, OwnCell] = {}
_lock = Lock()


def load_kernels(cell: str) -> None:
    """Makes the extension know a cell that is not compiled in; other names are left to it."""
    own = next((info for info in cells() if info.name == cell), None)
    if not isinstance(own, OwnCell) or _loaded.get(cell) is own:
        return
    require()
    from .. import _cuda

    with _lock:
        if _loaded.get(cell) is not own:
            _cuda.load_cell(str(own.build_for_cuda()))
            _loaded[cell] = own
