"""The named lists of cases. A new suite is one entry."""

from __future__ import annotations

from dataclasses import dataclass

from ._problem import MODES
from ._shapes import PEER_SHAPES, QUICK_SHAPES, TINY_SHAPES, Shape


@dataclass(frozen=True)
class Suite:
    """All combinations of modes, cells and shapes, and the budget of each in seconds."""

    help: str
    cells: tuple[str, ...]
    shapes: tuple[Shape, ...]
    seconds: float
    modes: tuple[str, ...] = MODES


SUITES = {
    "tiny": Suite("one tiny shape, to try the machinery out", ("lstm", "gru"), TINY_SHAPES, 0.02),
    "quick": Suite("three shapes, under a minute", ("lstm", "gru"), QUICK_SHAPES, 1.0),
    "peers": Suite("twelve shapes, several minutes", ("lstm", "gru", "rnn_tanh"), PEER_SHAPES, 4.0),
}
