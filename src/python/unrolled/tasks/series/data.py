"""Series of numbers, and how tables become series.

A table has a row for each time of each series: a column of times (or none: rows follow each other),
a column that names the series (or none: there is one), the targets that are to be forecast,
covariates: known in advance (a price, a holiday) or not (the weather), and what is said of a series
as a whole (a region). An empty cell is a missing value and stays one.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.training import import_extra

from .times import Step, Times, find_step

Values = NDArray[np.float64]

#: What a time without a zone is made of.
_TIME = re.compile(r"-?\d+(-\d\d){0,2}(T\d\d(:\d\d){0,2}(\.\d+)?)?")

#: The end of a time in another zone than UTC.
_ZONE = re.compile(r"T.*[+-]\d\d:\d\d$")

#: What stands for a missing value.
_MISSING = ("", "na", "<na>", "nat", "n/a", "nan", "null", "none", "?", "-")

#: What a cell without a name becomes as text.
_NAMELESS = ("", "None", "nan", "<NA>", "NaT")

#: A series with more times than this has some neighbours, unless it is of another frequency.
_SPARSE = 10

#: A series with so many steps for each row has a time that is a slip.
_MOST_STEPS = 1000

#: Names of columns that hold times when nothing else is said.
_TIMES = ("date", "datetime", "time", "timestamp", "ds", "month", "day", "year")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are what; no targets: all numbers that are nothing else."""

    targets: tuple[str, ...] = ()
    time: str | None = None
    series: str | None = None
    known: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    static: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """One series on a grid without gaps; what is missing is NaN.

    Shapes: N steps, F >= 0 further steps that have only known covariates.

    Attributes:
        name: of the series.
        start: its first time.
        targets: (N, D).
        known: (N + F, K) covariates that are known in advance.
        past: (N, P) covariates that are not.
        static: what is said of it as a whole, as text; "" is missing.
    """

    name: str
    start: Any
    targets: Values
    known: Values
    past: Values
    static: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Panel:
    """Series of the same kind, with the names of their columns and the step of their grid."""

    series: tuple[Series, ...]
    columns: Columns
    step: Step

    def __str__(self) -> str:
        values = sum(each.targets.size for each in self.series)
        missing = sum(int(np.isnan(each.targets).sum()) for each in self.series)
        count = len(self.series)
        text = f"{count:,} series of" if count > 1 else "one series of"
        return f"{text} {', '.join(self.columns.targets)}, every {self.step}, {values:,} values" + (
            f", {missing:,} of them missing" if missing else ""
        )


def is_frame(data: Any) -> bool:
    """Whether this is a DataFrame of pandas, which need not be installed."""
    return hasattr(data, "columns") and hasattr(data, "reset_index")


def read_panel(source: Any, columns: Columns) -> Panel:
    """Reads a table: CSV (comma, semicolon or tab), Parquet with the package pandas, a DataFrame.

    The index of a DataFrame is a column if it has a name, or the times if it is of such.

    Raises:
        ValueError: the table will not do; the text names the line and what to do.
    """
    if is_frame(source):
        return make_panel(_read_frame(source), columns, where="the DataFrame", first_line=0)
    path = Path(source)
    if path.suffix == ".parquet":
        frame = import_extra("pandas", "series").read_parquet(path)
        return make_panel(_read_frame(frame), columns, where=str(path), first_line=1)
    return make_panel(_read_csv(path), columns, where=str(path), first_line=2)


def _read_frame(frame: Any) -> dict[str, Any]:
    if frame.index.dtype.kind == "M" and frame.index.name is None:
        frame = frame.rename_axis("time")
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise ValueError(f"the DataFrame has the column {str(twice[0])!r} twice")
    if not len(frame):
        raise ValueError("the DataFrame has no rows")
    return {str(name): frame[name].to_numpy() for name in frame.columns}


def _read_csv(path: Path) -> dict[str, list[str]]:
    try:
        return _read_text(path)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text: byte 0x{error.object[error.start]:02x}; convert the file "
            "first, for instance with iconv"
        ) from error
    except csv.Error as error:
        raise ValueError(f"{path} is no table: {error}") from error


def _read_text(path: Path) -> dict[str, list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = file.readline()
        delimiter = max(",;\t", key=header.count)
        names = next(csv.reader([header], delimiter=delimiter), [])
        if not any(name.strip() for name in names):
            raise ValueError(f"{path} has no header: its first line must name the columns")
        names = [name.strip() for name in names]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"{path} has the column {sorted(twice)[0]!r} twice")
        rows = []
        for number, row in enumerate(csv.reader(file, delimiter=delimiter), start=2):
            if len(row) != len(names):
                if not row:
                    continue
                raise ValueError(
                    f"{path}, line {number}: {len(row)} cells, but the header has {len(names)}"
                )
            rows.append(row)
    if not rows:
        raise ValueError(f"{path} has no rows")
    return {name: list(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)}


def make_panel(
    table: Mapping[str, Sequence[Any]], columns: Columns, *, where: str, first_line: int = 1
) -> Panel:
    """Makes series of the columns of a table.

    Args:
        table: cells by column.
        columns: which of them are what.
        where: what to call the table in errors.
        first_line: number of the first row, for errors.

    Raises:
        ValueError: a column is missing or holds something else than numbers or times, a time is
            twice in a series or off the grid, or nothing was observed.
    """
    names = list(table)
    time = columns.time or next((name for name in names if name.lower() in _TIMES), None)
    named = (*columns.targets, *columns.known, *columns.past, *columns.static)
    named = (*named, *filter(None, (time, columns.series)))
    for name in named:
        if name not in table:
            raise ValueError(f"{where} has no column {name!r}, only {', '.join(names)}")
        if named.count(name) > 1:
            raise ValueError(f"the column {name!r} of {where} was given more than one part to play")
    targets = columns.targets or tuple(name for name in names if name not in named)
    if not targets:
        raise ValueError(f"{where} has no column left to forecast: say which with --target")
    columns = replace(columns, targets=targets, time=time)

    rows = len(table[names[0]])
    places = f"{where}, line "
    numbers = {
        name: _numbers(table[name], name, places, first_line)
        for name in (*targets, *columns.known, *columns.past)
    }
    times = np.arange(rows) if time is None else _times(table[time], time, places, first_line)
    kinds = [str(each) for each in table[columns.series]] if columns.series else ["series"] * rows
    for nameless in filter(kinds.__contains__, _NAMELESS):
        line = kinds.index(nameless) + first_line
        raise ValueError(f"{places}{line}: the series has no name in the column {columns.series!r}")
    order: dict[str, list[int]] = {}
    for row, kind in enumerate(kinds):
        order.setdefault(kind, []).append(row)

    groups = {}
    for kind, members in order.items():
        index = np.array(members)
        if time is not None:
            index = index[np.argsort(times[index], kind="stable")]
            twice = np.flatnonzero(times[index][1:] == times[index][:-1])
            if twice.size:
                first, second = index[twice[0]], index[twice[0] + 1]
                raise ValueError(
                    f"{places}{second + first_line}: the time {times[second]} stood in line "
                    f"{first + first_line} already"
                    + (f", in the series {kind!r}" if columns.series else "")
                    + ("" if columns.series else ": with several series, --series names the column")
                )
        groups[kind] = index
    if time is None:
        step = Step(1, "number")
        times = np.concatenate([np.arange(len(index)) for index in groups.values()])
        times[np.concatenate(list(groups.values()))] = times.copy()
    else:
        try:
            step = find_step([times[index] for index in groups.values()])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    said = {name: [_text(cell) for cell in table[name]] for name in columns.static}
    made = tuple(
        replace(
            _make_series(kind, times[index], index, numbers, columns, step, where),
            static=tuple(_same(said[name], index, name, kind, where) for name in columns.static),
        )
        for kind, index in groups.items()
    )
    return Panel(made, columns, step)


def _make_series(
    name: str,
    times: Times,
    index: NDArray[np.int64],
    numbers: Mapping[str, Values],
    columns: Columns,
    step: Step,
    where: str,
) -> Series:
    """Puts rows on the grid. Rows at the end with known covariates alone are steps to come."""
    try:
        places = step.places(times, times[0])
    except ValueError as error:
        raise ValueError(f"{where}, series {name!r}: {error}") from None
    if len(places) > _SPARSE and (np.diff(places) > 1).all():
        raise ValueError(
            f"{where}: the series {name!r} never has two values {step} apart, as others have: "
            "leave out series of another frequency, or learn them by themselves"
        )
    count = int(places[-1]) + 1
    if count > max(_MOST_STEPS * len(places), 1_000_000):
        raise ValueError(
            f"{where}: the series {name!r} has {len(places):,} rows in {count:,} steps of {step}, "
            f"from {times[0]} to {times[-1]}: is one of its times wrong?"
        )

    def on_grid(which: Sequence[str]) -> Values:
        values = np.full((count, len(which)), np.nan)
        values[places] = (
            np.array([numbers[each][index] for each in which]).reshape(-1, len(index)).T
        )
        return values

    targets = on_grid(columns.targets)
    observed = np.flatnonzero(~np.isnan(targets).all(axis=1))
    if not observed.size:
        raise ValueError(
            f"{where}: the series {name!r} has no value of {', '.join(columns.targets)}: "
            "leave it out"
        )
    end = int(observed[-1]) + 1 if columns.known else count
    return Series(
        name, times[0], targets[:end], on_grid(columns.known), on_grid(columns.past)[:end]
    )


def _text(cell: Any) -> str:
    """A cell of a static column; "" where it is missing."""
    text = "" if cell is None else str(cell).strip()
    return "" if text.lower() in _MISSING else text


def _same(
    cells: Sequence[str], index: NDArray[np.int64], name: str, series: str, where: str
) -> str:
    """Returns the one value that a static column has in a series."""
    found = sorted({cells[row] for row in index.tolist()} - {""})
    if len(found) > 1:
        raise ValueError(
            f"{where}: --static {name} is to be the same at all steps of a series, but the series "
            f"{series!r} has {found[0]!r} and {found[1]!r}; what changes is --known or --past"
        )
    return found[0] if found else ""


def _numbers(cells: Sequence[Any], name: str, places: str, first_line: int) -> Values:
    """Returns cells as numbers, NaN where they are missing."""
    try:
        values = np.array(cells, np.float64)
    except (ValueError, TypeError):
        values = np.array([_number(c, name, places, n) for n, c in enumerate(cells, first_line)])
    endless = np.flatnonzero(np.isinf(values))
    if endless.size:
        raise ValueError(
            f"{places}{endless[0] + first_line}: {name!r} is infinite; leave the cell empty if the "
            "value is not known"
        )
    return values


def _number(cell: Any, name: str, places: str, line: int) -> float:
    if cell is None or str(cell).strip().lower() in _MISSING:
        return float("nan")
    try:
        return float(cell)
    except ValueError:
        raise ValueError(
            f"{places}{line}: {cell!r} is no number of {name!r}; --target, --known, --past and "
            "--series say which columns are what"
        ) from None


def _times(cells: Sequence[Any], name: str, places: str, first_line: int) -> Times:
    """Returns cells as times, or as whole numbers if they are such and no years or dates."""
    array = np.asarray(cells)
    if array.dtype.kind == "M":
        nowhere = np.flatnonzero(np.isnat(array))
        if nowhere.size:
            raise ValueError(f"{places}{nowhere[0] + first_line}: {name!r} has no time")
        return array.astype("datetime64[s]")
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    texts = [str(cell).strip() for cell in cells]
    if all(text.lstrip("-").isdigit() and len(text) != 4 for text in texts):
        return np.array(texts, np.int64)
    try:
        return np.array([_iso(text) for text in texts], "datetime64[s]")
    except ValueError:
        for line, text in enumerate(texts, first_line):
            try:
                np.datetime64(_iso(text), "s")
            except ValueError:
                raise ValueError(
                    f"{places}{line}: {text!r} is no time of {name!r}; write them as 2026-01-31 or "
                    "2026-01-31 23:59, or whole numbers"
                ) from None
        raise


def _iso(text: str) -> str:
    """NumPy takes no zone, and no date that is not there; times with a zone become those of UTC."""
    if text.lower() in (*_MISSING, "nat"):
        raise ValueError(text)
    plain = text.removesuffix("Z").replace("/", "-").replace(" ", "T", 1)
    if _ZONE.search(plain):
        plain = datetime.fromisoformat(plain).astimezone(timezone.utc).isoformat()
    plain = plain.removesuffix("+00:00")
    if not _TIME.fullmatch(plain):  # NumPy also takes "today", and zones that it then leaves out
        raise ValueError(text)
    return plain
