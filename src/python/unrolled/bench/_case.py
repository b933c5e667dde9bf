"""The outcome of one measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._problem import OURS, library
from ._roofline import Read, Work
from ._shapes import Shape
from ._timing import Timing


@dataclass(frozen=True)
class Case:
    """One cell, mode and shape: the work, its least time, and what everybody took for it."""

    group: str  # the cases that are shown together
    label: str  # what tells it from the others of its group
    cell: str
    mode: str
    shape: Shape
    condition: str  # what else the machine had to do
    work: Work
    roofline_seconds: float
    timings: dict[str, Timing]
    errors: dict[str, float]  # of each contender, as a part of what is allowed

    @property
    def ours(self) -> float:
        """Our median, in seconds."""
        return self.timings[OURS].median

    @property
    def gflops(self) -> float:
        """Our 10^9 operations a second."""
        return self.work.operations / self.ours / 1e9

    @property
    def roofline_fraction(self) -> float:
        return self.roofline_seconds / self.ours

    @property
    def best_peer(self) -> str | None:
        """The peer with the smallest median, None if there was none."""
        peers = [name for name in self.timings if library(name) != OURS]
        return min(peers, key=lambda name: self.timings[name].median, default=None)

    @property
    def speedup(self) -> float | None:
        """The time of the best peer over ours."""
        return None if self.best_peer is None else self.speedup_over(self.best_peer)

    def speedup_over(self, *names: str) -> float | None:
        """The time of the fastest of these contenders over ours; None if none took part."""
        medians = [self.timings[name].median for name in names if name in self.timings]
        return min(medians) / self.ours if medians else None

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Case:
        """Undoes `dataclasses.asdict`."""
        work = record["work"]
        reads = tuple(Read(**read) for read in work["reads"])
        return cls(
            **{
                **record,
                "shape": Shape(**record["shape"]),
                "work": Work(**{**work, "reads": reads}),
                "timings": {name: Timing(**t) for name, t in record["timings"].items()},
            }
        )
