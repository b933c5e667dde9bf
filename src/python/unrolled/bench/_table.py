"""Tables of text, and the one that most suites need: ours beside the peers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ._case import Case
from ._problem import OURS
from ._timing import Timing


@dataclass(frozen=True)
class Unit:
    """What times are shown in."""

    name: str
    per_second: float

    def of(self, timing: Timing) -> str:
        """The median and the spread."""
        return f"{timing.median * self.per_second:.3g} +-{percent(timing.spread)}"


MILLISECONDS = Unit("milliseconds", 1e3)
MICROSECONDS = Unit("microseconds", 1e6)


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading, with a remark below."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str

    def text(self) -> str:
        """Aligned columns, the first to the left and the others to the right."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]

        def line(cells: Sequence[str]) -> str:
            first = cells[0].ljust(widths[0])
            return "  ".join(
                [first, *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
            )

        rule = "-" * len(line(self.header))
        body = [line(row) for row in self.rows]
        return "\n".join([self.title, rule, line(self.header), rule, *body, rule, self.note])

    def markdown(self) -> str:
        lines = [f"#### {self.title}", "", "| " + " | ".join(self.header) + " |"]
        lines.append("|:--" + "|--:" * (len(self.header) - 1) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join([*lines, "", self.note])


def peer_table(title: str, cases: Sequence[Case], unit: Unit) -> Table:
    """Ours beside the peers, a row a case; below, the geometric means of our speed over theirs."""
    names = list(dict.fromkeys(name for case in cases for name in case.timings if name != OURS))
    best = ["best peer"] if any(case.best_peer for case in cases) else []
    rows = []
    for case in cases:
        cells = [case.label, unit.of(case.timings[OURS]), f"{case.gflops:.3g}"]
        cells.append(percent(case.roofline_fraction))
        cells += [unit.of(case.timings[n]) if n in case.timings else "-" for n in names]
        if best:
            cells.append("-" if case.speedup is None else f"{case.speedup:.2f}x {case.best_peer}")
        rows.append(tuple(cells))
    header = ("shape", OURS, "GFLOP/s", "roofline", *names, *best)
    return Table(title, header, tuple(rows), _means(cases, names))


def _means(cases: Sequence[Case], names: Sequence[str]) -> str:
    fraction = geometric_mean(case.roofline_fraction for case in cases)
    note = f"Geometric mean: {percent(fraction)} of the roofline"
    speedups = [case.speedup for case in cases if case.speedup is not None]
    if speedups:
        note += f", {geometric_mean(speedups):.2f} times the speed of the best peer"
        note += f" (least {min(speedups):.2f}, most {max(speedups):.2f})"
    each = []
    for name in names:
        speedups = [s for case in cases if (s := case.speedup_over(name)) is not None]
        each.append(f"{geometric_mean(speedups):.2f} times {name}")
    return f"{note}: {', '.join(each)}." if each else f"{note}."


def slower_table(cases: Iterable[Case], unit: Unit) -> Table:
    """Every case in which a peer was faster than ours, the worst first."""
    found = [(speedup, case) for case in cases if (speedup := case.speedup or 1.0) < 1.0]
    found.sort(key=lambda pair: pair[0])
    rows = tuple(
        (
            " ".join(filter(None, (case.group, case.label, case.condition))),
            unit.of(case.timings[OURS]),
            unit.of(case.timings[case.best_peer or OURS]),
            f"{speedup:.2f}x {case.best_peer}",
        )
        for speedup, case in found
    )
    note = f"{len(rows)} cases." if rows else "None."
    header = ("case", OURS, "peer", "best peer")
    return Table(f"Slower than the best peer, times in {unit.name}", header, rows, note)


def geometric_mean(values: Iterable[float]) -> float:
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def percent(fraction: float) -> str:
    return f"{100 * fraction:.0f}%"
