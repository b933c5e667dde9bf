"""The result of a run, and its forms: text, Markdown and JSON."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ._machine import Cache, Machine
from ._roofline import Level, Roofline
from ._shapes import Shape
from ._timing import Timing

_SCHEMA = 1
OURS = "unrolled"
_QUIET_CPUS = 0.1


@dataclass(frozen=True)
class Case:
    """One cell, mode and shape: the work, its least time, and what everybody took."""

    cell: str
    mode: str
    shape: Shape
    operations: float
    roofline_seconds: float
    timings: dict[str, Timing]
    errors: dict[str, float]  # of each contender, as a part of what is allowed

    @property
    def ours(self) -> float:
        """Our median, in seconds."""
        return self.timings[OURS].median

    @property
    def roofline_fraction(self) -> float:
        return self.roofline_seconds / self.ours

    @property
    def best_peer(self) -> str | None:
        """The peer with the smallest median, None if there was none."""
        peers = [name for name in self.timings if name != OURS]
        return min(peers, key=lambda name: self.timings[name].median, default=None)

    @property
    def speedup(self) -> float | None:
        """The time of the best peer over ours."""
        peer = self.best_peer
        return None if peer is None else self.timings[peer].median / self.ours


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


@dataclass(frozen=True)
class Report:
    """Everything that one run measured."""

    suite: str
    command: str
    date: str
    seconds: float
    foreign_cpus: float | None  # kept busy by other processes meanwhile; None = unknown
    machine: Machine
    roofline: Roofline
    cases: tuple[Case, ...]
    skipped: dict[str, str]  # contenders that could not take part, and why

    def tables(self) -> list[Table]:
        """One table for each mode and cell, in the order of the run."""
        keys = dict.fromkeys((case.mode, case.cell) for case in self.cases)
        return [
            _table(mode, cell, [c for c in self.cases if (c.mode, c.cell) == (mode, cell)])
            for mode, cell in keys
        ]

    def facts(self) -> list[tuple[str, str]]:
        """Machine, roofline and way of measuring, as (what, value)."""
        levels = ", ".join(f"{lv.name} {lv.bandwidth / 1e9:.0f}" for lv in self.roofline.levels)
        return [
            ("command", self.command),
            ("date", f"{self.date}, {self.seconds / 60:.1f} minutes"),
            ("used by others", foreign_load(self.foreign_cpus)),
            ("threads", str(self.roofline.threads)),
            *self.machine.lines(),
            ("FMA peak", f"{self.roofline.peak / 1e9:.0f} GFLOP/s, float32"),
            ("read bandwidth", f"{levels} GB/s"),
            *((f"{name} left out", reason) for name, reason in self.skipped.items()),
        ]

    def text(self) -> str:
        facts = self.facts()
        width = max(len(name) for name, _ in facts)
        head = [f"unrolled bench {self.suite}"]
        head += [f"  {name.ljust(width)}  {value}" for name, value in facts]
        return "\n\n".join(["\n".join(head), *(table.text() for table in self.tables()), LEGEND])

    def markdown(self) -> str:
        facts = ["| | |", "|:--|:--|", *(f"| {name} | {value} |" for name, value in self.facts())]
        title = f"### {self.suite}, {self.roofline.threads} threads"
        tables = [table.markdown() for table in self.tables()]
        return "\n\n".join([title, "\n".join(facts), LEGEND, *tables]) + "\n"

    def json(self) -> str:
        return json.dumps({"schema": _SCHEMA, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Reads what `json` wrote.

        Raises:
            ValueError: the text is not such a report.
        """
        record: dict[str, Any] = json.loads(text)
        if not isinstance(record, dict) or record.pop("schema", None) != _SCHEMA:
            raise ValueError(f"[bench] expected a report of schema {_SCHEMA}")
        machine, roofline = record.pop("machine"), record.pop("roofline")
        machine["caches"] = tuple(Cache(**cache) for cache in machine["caches"])
        machine["instructions"] = tuple(machine["instructions"])
        roofline["levels"] = tuple(Level(**level) for level in roofline["levels"])
        cases = []
        for case in record.pop("cases"):
            case["shape"] = Shape(**case["shape"])
            case["timings"] = {name: Timing(**t) for name, t in case["timings"].items()}
            cases.append(Case(**case))
        return cls(
            machine=Machine(**machine), roofline=Roofline(**roofline), cases=tuple(cases), **record
        )


LEGEND = (
    "Times are medians in milliseconds, +- half the distance from the 10th to the 90th percentile. "
    "roofline: the least time possible (see benchmarks/README.md) over our time. "
    "best peer: the time of the fastest peer over ours."
)


def foreign_load(cpus: float | None) -> str:
    """Says whether the machine was quiet enough for times to mean anything."""
    if cpus is None:
        return "unknown"
    warning = "; TOO BUSY for figures to quote" if cpus > _QUIET_CPUS else ""
    return f"{cpus:.2f} CPUs on average{warning}"


def geometric_mean(values: Iterable[float]) -> float:
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def write_section(path: str | os.PathLike[str], name: str, markdown: str) -> None:
    """Writes one section of a Markdown file: in place of the last one of that name, or at the end.

    A section lies between two HTML comments, so that several commands can fill one file and each
    can be repeated alone.
    """
    file = Path(path)
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{markdown.strip()}\n{end}"
    old = file.read_text(encoding="utf-8") if file.exists() else "# Results\n"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    new = (
        pattern.sub(lambda _: section, old)
        if pattern.search(old)
        else f"{old.rstrip()}\n\n{section}"
    )
    file.write_text(new.rstrip() + "\n", encoding="utf-8")


def _table(mode: str, cell: str, cases: list[Case]) -> Table:
    peers = list(dict.fromkeys(name for case in cases for name in case.timings if name != OURS))
    header = ("shape", "unrolled", "GFLOP/s", "roofline", *peers, *(["best peer"] if peers else []))
    rows = tuple(_row(case, peers) for case in cases)
    fraction = geometric_mean(case.roofline_fraction for case in cases)
    note = f"Geometric mean: {_percent(fraction)} of the roofline"
    speedups = [case.speedup for case in cases if case.speedup is not None]
    if speedups:
        note += f", {geometric_mean(speedups):.2f} times the speed of the best peer"
        note += f" (least {min(speedups):.2f}, most {max(speedups):.2f})"
    return Table(f"{cell}, {mode}", header, rows, f"{note}.")


def _row(case: Case, peers: list[str]) -> tuple[str, ...]:
    cells = [
        str(case.shape),
        _time(case.timings[OURS]),
        f"{case.operations / case.ours / 1e9:.0f}",
        _percent(case.roofline_fraction),
    ]
    for peer in peers:
        cells.append(_time(case.timings[peer]) if peer in case.timings else "-")
    if peers:
        cells.append("-" if case.speedup is None else f"{case.speedup:.2f}x {case.best_peer}")
    return tuple(cells)


def _time(timing: Timing) -> str:
    return f"{timing.median * 1e3:.3g} +-{_percent(timing.spread)}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f}%"
