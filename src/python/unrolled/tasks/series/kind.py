"""The kind of series that a model has learned: what a checkpoint says of them."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from unrolled.training import from_json

from .data import Columns, Panel
from .static import StaticScale
from .times import Calendar, Step

#: The targets of series that have been set apart.
APART = ("value",)


@dataclass(frozen=True)
class Kind:
    """The kind of series that a model has learned.

    Attributes:
        columns: of a table, by name.
        step: of the grid.
        calendar: what is told of times.
        context: values whose mean others are relative to.
        season: steps of a season, at most the context; 1 = there is none.
        static: how what is said of a series as a whole is read.
    """

    columns: Columns
    step: Step
    calendar: Calendar
    context: int
    season: int
    static: StaticScale = field(default_factory=StaticScale)

    def to_json(self) -> dict[str, Any]:
        """Returns it as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> "Kind":
        """Returns what `to_json` wrote.

        Raises:
            ValueError: it says something that cannot be.
        """
        kind = from_json(cls, values, "series")
        if kind.step.count < 1:
            raise ValueError(f"expected a step of a grid of 1 or more, got {kind.step.count}")
        if any(period < 1 or harmonic < 1 for period, harmonic in kind.calendar.cycles):
            raise ValueError(f"expected cycles of 1 second or more, got {kind.calendar.cycles}")
        if not 1 <= kind.season <= max(kind.context, 1):
            raise ValueError(f"expected a season of 1 to {kind.context} steps, got {kind.season}")
        if len(kind.static.columns) != len(kind.columns.static):
            raise ValueError(f"expected as many static columns as {kind.columns.static}")
        kind.static.check()
        return kind


def apart(panel: Panel) -> Panel:
    """Makes a series of its own of each target: one model for all, each forecast by itself."""
    names = panel.columns.targets
    series = tuple(
        replace(each, name=f"{each.name}: {name}", targets=each.targets[:, d : d + 1])
        for each in panel.series
        for d, name in enumerate(names)
    )
    return Panel(series, replace(panel.columns, targets=APART), panel.step)
