"""Whole sequences of one length: all combinations of modes, cells and shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .._problem import MODES
from .._shapes import Shape
from .._suite import Suite, Trial


@dataclass(frozen=True, kw_only=True)
class Sequences(Suite):
    """Ours beside the peers on some shapes."""

    shapes: tuple[Shape, ...]
    modes: tuple[str, ...] = MODES

    def trials(self, cells: Sequence[str]) -> Iterable[Trial]:
        for mode in self.modes:
            for cell in cells:
                for shape in self.shapes:
                    yield Trial.of_layer(cell, mode, shape)
