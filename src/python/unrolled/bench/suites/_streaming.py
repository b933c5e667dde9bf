"""One step at a time, for input that arrives as it is made, and text that a model writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

from .. import _chart
from .._case import Case
from .._peers import ON_STEPS
from .._problem import OURS, STEP, TEXT
from .._shapes import Shape
from .._suite import Suite, Trial, grouped
from .._table import MICROSECONDS, Table, Unit, peer_table
from .._text import OursText, TextProblem, TorchText


@dataclass(frozen=True, kw_only=True)
class Streaming(Suite):
    """Steps of a single layer at batch 1, then tokens of a language model."""

    name: str = "streaming"
    help: str = "one step at a time, two minutes"
    cells: tuple[str, ...] = ("lstm", "gru", "rnn_tanh")
    seconds: float = 4.0
    note: str = (
        "A step reads one input and returns its output; the state stays. H1 has next to no "
        "arithmetic: it shows what a call costs. Text: a language model of so many layers x "
        "units, with an embedding E and a vocabulary V, draws tokens at temperature 1."
    )

    hidden: tuple[int, ...] = (64, 256, 512, 1024)
    steps: int = 20  # of a timed call
    text: TextProblem = field(default_factory=TextProblem)

    unit: ClassVar[Unit] = MICROSECONDS

    def trials(self, cells: Sequence[str]) -> Iterable[Trial]:
        for cell in cells:
            for hidden in self.hidden:
                shape = Shape(self.steps, 1, hidden, hidden)
                label = str(replace(shape, steps=1))
                yield Trial.of_layer(cell, STEP, shape, ON_STEPS, label=label)
        for cell in cells:
            shape = Shape(self.steps, 1, 1, 1)
            yield Trial.of_layer(
                cell, STEP, shape, ON_STEPS, group="the call itself, H1 I1", label=cell
            )
        if "lstm" in cells:
            yield Trial(
                "text, a token",
                str(self.text),
                "lstm",
                TEXT,
                self.text.shape,
                (OursText, TorchText),
                partial(replace, self.text),  # its model goes when it was measured
            )

    def tables(self, cases: Sequence[Case]) -> list[Table]:
        return [
            _text_table(group, of_group)
            if of_group[0].mode == TEXT
            else peer_table(group, of_group, self.unit)
            for group, of_group in grouped(cases).items()
        ]

    def draw(self, figure: Any, cases: Sequence[Case]) -> None:
        _chart.bars(
            figure,
            grouped(cases),
            lambda _, timing: timing.median * self.unit.per_second,
            self.unit.name,
            log=True,
        )


def _text_table(title: str, cases: Sequence[Case]) -> Table:
    """The table of the peers, with tokens/s of everybody beside the times."""
    table = peer_table(title, cases, MICROSECONDS)
    names = [OURS, *(name for name in table.header if name in cases[0].timings and name != OURS)]
    header = (*table.header, *(f"tokens/s {name}" for name in names))
    rows = tuple(
        (
            *row,
            *(f"{1 / case.timings[n].median:,.0f}" if n in case.timings else "-" for n in names),
        )
        for row, case in zip(table.rows, cases, strict=True)
    )
    return replace(table, header=header, rows=rows)
