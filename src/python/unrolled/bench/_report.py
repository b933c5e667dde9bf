"""The result of a run, and its forms: text, Markdown and JSON."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import _chart
from ._case import Case
from ._machine import Cache, Machine
from ._roofline import Level, Roofline
from ._table import Table, slower_table
from .suites import SUITES

_SCHEMA = 2
_QUIET_CPUS = 0.1


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
        """Those of the suite, and what is slower than a peer."""
        suite = SUITES[self.suite]
        tables = suite.tables(self.cases)
        if any(case.best_peer is not None for case in self.cases):
            tables.append(slower_table(self.cases, suite.unit))
        return tables

    def legend(self) -> str:
        """How to read the tables."""
        suite = SUITES[self.suite]
        return " ".join(filter(None, (LEGEND.format(unit=suite.unit.name), suite.note)))

    def draw(self, path: str | os.PathLike[str]) -> None:
        """Writes the picture of the suite: PNG, or SVG by the file's suffix.

        Raises:
            ImportError: matplotlib is not installed.
        """
        suite = SUITES[self.suite]
        _chart.save(path, self._title(), lambda figure: suite.draw(figure, self.cases))

    def draw_roofline(self, path: str | os.PathLike[str]) -> None:
        """Writes the roofline with a dot for every case; see `draw`."""
        _chart.save(
            path,
            self._title(),
            lambda figure: _chart.roofline(figure, self.roofline, self.cases),
        )

    def _title(self) -> str:
        machine, threads = self.machine, self.roofline.threads
        return f"{machine.cpu}, {machine.isa}, {threads} threads, float32"

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
        tables = [table.text() for table in self.tables()]
        return "\n\n".join(["\n".join(head), self.legend(), *tables])

    def markdown(self) -> str:
        facts = ["| | |", "|:--|:--|", *(f"| {name} | {value} |" for name, value in self.facts())]
        title = f"### {self.suite}, {self.roofline.threads} threads"
        tables = [table.markdown() for table in self.tables()]
        return "\n\n".join([title, "\n".join(facts), self.legend(), *tables]) + "\n"

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
        cases = tuple(Case.from_record(case) for case in record.pop("cases"))
        return cls(machine=Machine(**machine), roofline=Roofline(**roofline), cases=cases, **record)


LEGEND = (
    "Times are medians in {unit}, +- half the distance from the 10th to the 90th percentile. "
    "roofline: the least time possible (see benchmarks/README.md) over our time. "
    "best peer: the time of the fastest peer over ours."
)


def foreign_load(cpus: float | None) -> str:
    """Says whether the machine was quiet enough for times to mean anything."""
    if cpus is None:
        return "unknown"
    warning = "; TOO BUSY for figures to quote" if cpus > _QUIET_CPUS else ""
    return f"{cpus:.2f} CPUs on average{warning}"


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
