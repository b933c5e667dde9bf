"""What a suite is: which cases it measures, and how it shows them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from . import _chart
from ._case import Case
from ._layer_problem import LayerProblem
from ._peers import ON_SEQUENCES, Contenders
from ._problem import Problem
from ._shapes import Shape
from ._table import MILLISECONDS, Table, Unit, peer_table
from ._timing import MIN_ROUNDS


@dataclass(frozen=True)
class Condition:
    """What else the machine has to do while a case is measured."""

    name: str
    threads: int | None = None  # of everybody; None = as in the rest of the run
    neighbours: int = 0  # other processes, each of which keeps one CPU busy


QUIET = Condition("")


@dataclass(frozen=True)
class Trial:
    """One case that is to be measured."""

    group: str
    label: str
    cell: str
    mode: str
    shape: Shape
    contenders: Contenders
    problem: Callable[[], Problem] = field(compare=False)  # makes the arrays, which may be large
    condition: Condition = QUIET

    @classmethod
    def of_layer(
        cls,
        cell: str,
        mode: str,
        shape: Shape,
        contenders: Contenders = ON_SEQUENCES,
        *,
        group: str = "",
        label: str = "",
        condition: Condition = QUIET,
        **options: Any,
    ) -> Trial:
        """A layer on random data; `options` are those of `LayerProblem.random`."""
        problem = partial(LayerProblem.random, cell, mode, shape, **options)
        return cls(
            group or f"{cell}, {mode}",
            label or str(shape),
            cell,
            mode,
            shape,
            contenders,
            problem,
            condition,
        )

    @property
    def text(self) -> str:
        """For people who wait, and for choosing among trials."""
        return " ".join(filter(None, (self.group, self.label, self.condition.name)))

    @property
    def measurement(self) -> tuple[object, ...]:
        """Equal for trials that one measurement answers."""
        return self.cell, self.mode, self.shape, self.contenders, self.condition


@dataclass(frozen=True, kw_only=True)
class Suite(ABC):
    """A named list of cases."""

    name: str
    help: str
    cells: tuple[str, ...]  # unless others are asked for
    seconds: float  # the budget of a case
    min_rounds: int = MIN_ROUNDS  # whatever the budget
    note: str = ""  # what a reader of the report has to know

    unit: ClassVar[Unit] = MILLISECONDS

    @abstractmethod
    def trials(self, cells: Sequence[str]) -> Iterable[Trial]:
        """What to measure for these cells, in this order."""

    def tables(self, cases: Sequence[Case]) -> list[Table]:
        """One for each group, in the order of the run."""
        return [peer_table(name, group, self.unit) for name, group in grouped(cases).items()]

    def draw(self, figure: Any, cases: Sequence[Case]) -> None:
        """Fills an empty figure of matplotlib."""
        _chart.bars(figure, grouped(cases))


def grouped(cases: Iterable[Case]) -> dict[str, list[Case]]:
    """The cases of each group, in the order of their first appearance."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    return groups
