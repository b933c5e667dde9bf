"""Whole sequences in full and in reduced precision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .._case import Case
from .._ours import OursBf16, OursInt8
from .._peers import IN_PRECISIONS
from .._problem import FORWARD, OURS, TRAINING
from .._shapes import PRECISION_SHAPES, PRECISION_TRAINING_SHAPES, Shape
from .._suite import Suite, Trial, grouped
from .._table import MILLISECONDS, Table
from .._torch import Torch, TorchBf16


@dataclass(frozen=True, kw_only=True)
class InPrecisions(Suite):
    """Forward in each precision, and training in those that can."""

    name: str = "precision"
    help: str = "bfloat16 and int8 beside full precision, three minutes"
    cells: tuple[str, ...] = ("lstm", "gru", "rnn_tanh")
    seconds: float = 3.0
    min_rounds: int = 3  # torch takes seconds in bfloat16 on a CPU without its instructions
    note: str = (
        "bf16 over torch: the time of torch in bfloat16 over ours. int8 over full: our time in "
        "full precision over that in int8."
    )

    shapes: tuple[Shape, ...] = PRECISION_SHAPES
    training_shapes: tuple[Shape, ...] = PRECISION_TRAINING_SHAPES

    def trials(self, cells: Sequence[str]) -> Iterable[Trial]:
        for mode, shapes in ((FORWARD, self.shapes), (TRAINING, self.training_shapes)):
            for cell in cells:
                for shape in shapes:
                    yield Trial.of_layer(cell, mode, shape, IN_PRECISIONS, reduced=True)

    def tables(self, cases: Sequence[Case]) -> list[Table]:
        return [_table(name, group) for name, group in grouped(cases).items()]


def _ratio(case: Case, slower: str, faster: str) -> str:
    if slower not in case.timings or faster not in case.timings:
        return "-"
    return f"{case.timings[slower].median / case.timings[faster].median:.2f}x"


def _table(name: str, cases: Sequence[Case]) -> Table:
    ways = (OURS, OursBf16.name, OursInt8.name, Torch.name, TorchBf16.name)
    rows = tuple(
        (
            case.label,
            *(MILLISECONDS.of(case.timings[n]) if n in case.timings else "-" for n in ways),
            _ratio(case, TorchBf16.name, OursBf16.name),
            _ratio(case, OURS, OursInt8.name),
        )
        for case in cases
    )
    return Table(name, ("shape", *ways, "bf16 over torch", "int8 over full"), rows, "")
