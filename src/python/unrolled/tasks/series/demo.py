"""Series to try forecasts on: two classics that come with statsmodels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.training import import_extra

from .data import Columns, Panel, make_panel


@dataclass(frozen=True)
class Demo:
    """A series with what suits it.

    Attributes:
        table: makes its columns.
        horizon, context: steps to forecast, and to learn from at least.
        updates: that it takes to learn; more learn few numbers by heart.
    """

    table: Callable[[], dict[str, Any]]
    horizon: int
    context: int
    updates: int


def _sunspots() -> dict[str, Any]:
    """Yearly counts of sunspots from 1700 on, which rise and fall in about eleven years."""
    frame = import_extra("statsmodels.datasets", "series").sunspots.load_pandas().data
    years = frame["YEAR"].to_numpy(np.int64) - 1970
    return {
        "year": years.astype("datetime64[Y]").astype("datetime64[s]"),
        "sunspots": frame["SUNACTIVITY"].to_numpy(np.float64),
    }


def _co2() -> dict[str, Any]:
    """Weekly carbon dioxide at Mauna Loa from 1958 on, which breathes and rises; with gaps."""
    frame = import_extra("statsmodels.datasets", "series").co2.load_pandas().data
    return {
        "week": frame.index.to_numpy().astype("datetime64[s]"),
        "co2": frame["co2"].to_numpy(np.float64),
    }


DEMOS: Mapping[str, Demo] = {
    "sunspots": Demo(_sunspots, horizon=11, context=66, updates=300),
    "co2": Demo(_co2, horizon=52, context=156, updates=600),
}


def demo_panel(name: str) -> Panel:
    """Returns a demo's series.

    Raises:
        ImportError: statsmodels is not installed.
    """
    table = DEMOS[name].table()
    time, target = table
    return make_panel(table, Columns(targets=(target,), time=time), where=f"the demo {name}")
