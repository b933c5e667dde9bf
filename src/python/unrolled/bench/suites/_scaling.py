"""How our time grows with the work, and how it bears a machine that is busy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import _chart
from .._case import Case
from .._machine import available_cpus
from .._ours import Ours
from .._problem import MODES, OURS
from .._shapes import QUICK_SHAPES, Shape
from .._suite import QUIET, Condition, Suite, Trial, grouped
from .._table import MILLISECONDS, Table
from .._torch import Torch

_STEPS, _BATCH, _BUSY = "more steps", "larger batches", "busy machine"
_CONDITIONS = (
    QUIET,
    Condition("2x threads", threads=2 * available_cpus()),
    Condition("neighbour", neighbours=1),
)


@dataclass(frozen=True, kw_only=True)
class Scaling(Suite):
    """Ours alone as T and B grow; ours and torch under conditions that a server may meet."""

    name: str = "scaling"
    help: str = "longer, larger, and on a busy machine, several minutes"
    cells: tuple[str, ...] = ("lstm", "gru")
    seconds: float = 2.0
    note: str = (
        "of linear: the time a token over that of the first row of the same cell, mode and batch "
        "(where steps grow) or the same cell and mode (where batches grow). The last table has the "
        "time on a quiet machine with the threads of this run, and how many times longer it takes "
        "with twice as many threads as there are CPUs, and beside another process that never rests."
    )

    hidden: int = 128
    steps: tuple[int, ...] = (100, 300, 1000, 3000, 10000)
    batches_of_steps: tuple[int, ...] = (1, 16)
    batches: tuple[int, ...] = (1, 4, 16, 64, 256, 1024)
    steps_of_batches: int = 100
    busy_shapes: tuple[Shape, ...] = QUICK_SHAPES

    def trials(self, cells: Sequence[str]) -> Iterable[Trial]:
        kinds = [(cell, mode) for cell in cells for mode in MODES]
        for cell, mode in kinds:
            for batch in self.batches_of_steps:
                for steps in self.steps:
                    yield self._growing(_STEPS, cell, mode, steps, batch)
        for cell, mode in kinds:
            for batch in self.batches:
                yield self._growing(_BATCH, cell, mode, self.steps_of_batches, batch)
        for cell, mode in kinds:
            for shape in self.busy_shapes:
                for condition in _CONDITIONS:
                    label = f"{cell}, {mode}, {shape}"
                    yield Trial.of_layer(
                        cell,
                        mode,
                        shape,
                        (Ours, Torch),
                        group=_BUSY,
                        label=label,
                        condition=condition,
                    )

    def _growing(self, group: str, cell: str, mode: str, steps: int, batch: int) -> Trial:
        shape = Shape(steps, batch, self.hidden, self.hidden)
        label = f"{cell}, {mode}, {shape}"
        return Trial.of_layer(cell, mode, shape, (Ours,), group=group, label=label)

    def tables(self, cases: Sequence[Case]) -> list[Table]:
        return [
            _busy_table(group) if name == _BUSY else _growth_table(name, group)
            for name, group in grouped(cases).items()
        ]

    def draw(self, figure: Any, cases: Sequence[Case]) -> None:
        groups = grouped(cases)
        figure.set_size_inches(6.0 * len(groups), 5.5)
        for axes, (name, group) in zip(
            figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True
        ):
            axes.set_title(name, fontsize=10)
            if name == _BUSY:
                _draw_busy(axes, group)
                continue
            curves = {
                key: [
                    (c.shape.steps if name == _STEPS else c.shape.batch, 1e6 * _a_token(c))
                    for c in series
                ]
                for key, series in _series(group).items()
            }
            x_label = "steps T" if name == _STEPS else "batch B"
            _chart.lines(axes, curves, x_label, "microseconds a token")


def _a_token(case: Case) -> float:
    return case.ours / case.work.tokens


def _series(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """The cases that differ in one size only, by what they share."""
    series: dict[str, list[Case]] = {}
    for case in cases:
        fixed = f" B{case.shape.batch}" if case.group == _STEPS else f" T{case.shape.steps}"
        series.setdefault(f"{case.cell}, {case.mode},{fixed}", []).append(case)
    return series


def _growth_table(title: str, cases: Sequence[Case]) -> Table:
    rows = tuple(
        (
            case.label,
            MILLISECONDS.of(case.timings[OURS]),
            f"{1e6 * _a_token(case):.3g}",
            f"{case.gflops:.3g}",
            f"{_a_token(case) / _a_token(series[0]):.2f}",
        )
        for series in _series(cases).values()
        for case in series
    )
    header = ("shape", OURS, "microseconds a token", "GFLOP/s", "of linear")
    worst = max(_a_token(c) / _a_token(s[0]) for s in _series(cases).values() for c in s)
    return Table(title, header, rows, f"At most {worst:.2f} of linear.")


def _slowdowns(cases: Sequence[Case]) -> dict[tuple[str, str, str], float]:
    """By shape, condition and contender: the time over that on the quiet machine."""
    quiet = {case.label: case.timings for case in cases if case.condition == QUIET.name}
    return {
        (case.label, case.condition, name): timing.median / quiet[case.label][name].median
        for case in cases
        if case.condition != QUIET.name and case.label in quiet
        for name, timing in case.timings.items()
    }


def _busy_table(cases: Sequence[Case]) -> Table:
    names = list(dict.fromkeys(name for case in cases for name in case.timings))
    conditions = [condition.name for condition in _CONDITIONS]
    quiet = {case.label: case.timings for case in cases if case.condition == QUIET.name}
    slowdowns = _slowdowns(cases)

    def cell(label: str, name: str, condition: str) -> str:
        if condition == QUIET.name:
            return MILLISECONDS.of(quiet[label][name])
        ratio = slowdowns.get((label, condition, name))
        return "-" if ratio is None else f"{ratio:.2f}x"

    columns = [(name, condition) for name in names for condition in conditions]
    rows = tuple((label, *(cell(label, *column) for column in columns)) for label in quiet)
    header = ("shape", *(f"{name} {condition or 'quiet'}" for name, condition in columns))
    worst = [
        f"{name} {max((r for (_, _, n), r in slowdowns.items() if n == name), default=1.0):.2f}"
        for name in names
    ]
    return Table(_BUSY, header, rows, f"Times longer at most: {', '.join(worst)}.")


def _draw_busy(axes: Any, cases: Sequence[Case]) -> None:
    """How many times longer everybody takes, a point a shape."""
    conditions = [condition.name for condition in _CONDITIONS if condition != QUIET]
    names = list(dict.fromkeys(name for case in cases for name in case.timings))
    for k, name in enumerate(names):
        points = [
            (conditions.index(condition) + 0.2 * (k - (len(names) - 1) / 2), ratio)
            for (_, condition, who), ratio in _slowdowns(cases).items()
            if who == name
        ]
        if points:
            axes.scatter(*zip(*points, strict=True), label=name, color=_chart.COLOURS.get(name))
    axes.axhline(1.0, color="black", lw=0.8)
    axes.set_xticks(range(len(conditions)), conditions, fontsize=8)
    axes.set(xlim=(-0.5, len(conditions) - 0.5), ylim=(0, None), ylabel="times longer")
    axes.legend(fontsize=7, frameon=False)
