"""The kind of series that a model has learned: what a checkpoint says of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .data import Columns, Panel
from .times import Calendar, Step

#: The columns of which there may be several.
_LISTS = ("targets", "known", "past")

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
    """

    columns: Columns
    step: Step
    calendar: Calendar
    context: int
    season: int

    def to_json(self) -> dict[str, Any]:
        """Returns it as plain values."""
        return {
            **{name: getattr(self.columns, name) for name in ("time", "series")},
            **{name: list(getattr(self.columns, name)) for name in _LISTS},
            "step": [self.step.count, self.step.unit],
            "cycles": [list(cycle) for cycle in self.calendar.cycles],
            "context": self.context,
            "season": self.season,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Kind":
        """Returns what `to_json` wrote.

        Raises:
            ValueError: it says something that cannot be.
        """
        names = {name: tuple(map(str, values[name])) for name in _LISTS}
        columns = Columns(time=values["time"], series=values["series"], **names)
        count, unit = values["step"]
        if unit not in ("s", "M", "number") or int(count) < 1:
            raise ValueError(f"expected the step of a grid of times, got {values['step']}")
        cycles = tuple((int(period), int(harmonic)) for period, harmonic in values["cycles"])
        context, season = int(values["context"]), int(values["season"])
        if not 1 <= season <= max(context, 1):
            raise ValueError(f"expected a season of 1 to {context} steps, got {season}")
        return cls(columns, Step(int(count), unit), Calendar(cycles), context, season)


def apart(panel: Panel) -> Panel:
    """Makes a series of its own of each target: one model for all, each forecast by itself."""
    names = panel.columns.targets
    series = tuple(
        replace(each, name=f"{each.name}: {name}", targets=each.targets[:, d : d + 1])
        for each in panel.series
        for d, name in enumerate(names)
    )
    return Panel(series, replace(panel.columns, targets=APART), panel.step)
