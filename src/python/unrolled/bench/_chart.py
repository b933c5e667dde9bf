"""The pictures of a report."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ._case import Case
from ._problem import OURS, library
from ._roofline import Roofline
from ._timing import Timing

COLOURS = {OURS: "#d1495b", "torch": "#edae49", "onnxruntime": "#00798c", "jax": "#66a182"}
_CELL_COLOURS = ("#d1495b", "#00798c", "#edae49", "#66a182", "#7d5ba6", "#5c5c5c")
_COLUMNS = 4
_WIDE = 16  # a panel with more cases gets a row of its own

Value = Callable[[Case, Timing], float]


def gflops(case: Case, timing: Timing) -> float:
    """10^9 operations a second."""
    return case.work.operations / timing.median / 1e9


def save(path: str | os.PathLike[str], title: str, draw: Callable[[Any], None]) -> None:
    """Writes a PNG (or SVG, by the file's suffix) that `draw` fills.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        figures: Any = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        hint = 'pip install "unrolled[train]"'
        raise ImportError(f"[bench] a picture needs matplotlib: {hint}") from error
    figure = figures.Figure(layout="constrained")
    draw(figure)
    figure.suptitle(title, fontsize=11)
    figure.savefig(Path(path), dpi=130)


def bars(
    figure: Any,
    groups: Mapping[str, Sequence[Case]],
    value: Value = gflops,
    unit: str = "GFLOP/s",
    *,
    log: bool = False,
) -> None:
    """A panel for each group, a bar for each contender of each case, a line for its roofline."""
    widest = max(len(cases) for cases in groups.values())
    columns = 1 if widest > _WIDE else min(_COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    figure.set_size_inches(max(5.2 * columns, 1.5 + 0.3 * widest), 1.0 + 3.4 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in panels.flat[len(groups) :]:
        axes.set_axis_off()
    handles: dict[str, Any] = {}
    for axes, (name, cases) in zip(panels.flat, groups.items(), strict=False):
        _bar_panel(axes, cases, value)
        axes.set_title(name, fontsize=10)
        handles.update(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    for row in panels:
        row[0].set_ylabel(unit)
    if log:
        shown = [case for cases in groups.values() for case in cases]
        least = min(value(case, timing) for case in shown for timing in case.timings.values())
        panels[0][0].set_yscale("log")  # shared by all
        panels[0][0].set_ylim(bottom=least / 3)
    _legend(figure, handles)


def _bar_panel(axes: Any, cases: Sequence[Case], value: Value) -> None:
    names = list(dict.fromkeys(name for case in cases for name in case.timings))
    width = 0.8 / max(1, len(names))
    for k, name in enumerate(names):
        places = [i for i, case in enumerate(cases) if name in case.timings]
        heights = [value(cases[i], cases[i].timings[name]) for i in places]
        left = [i + (k - (len(names) - 1) / 2) * width for i in places]
        axes.bar(left, heights, width, label=name, **_style(name))
    for i, case in enumerate(cases):
        best = value(case, Timing.of([case.roofline_seconds]))
        label = "roofline" if i == 0 else None
        axes.plot([i - 0.45, i + 0.45], [best, best], color="black", lw=1.2, label=label)
    labels = [case.label for case in cases]
    axes.set_xticks(range(len(cases)), labels, rotation=60, ha="right", fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _style(name: str) -> dict[str, Any]:
    """The colour of the library; its second and third way are paler, and hatched."""
    plain = name == library(name)
    return {
        "color": COLOURS.get(library(name)),
        "alpha": 1.0 if plain else 0.65,
        "hatch": None if plain else {"packed": "//", "sorted": "xx"}.get(name.split()[-1], ".."),
    }


def lines(
    axes: Any, series: Mapping[str, Sequence[tuple[float, float]]], x_label: str, y_label: str
) -> None:
    """Curves through points (x, y), both axes logarithmic."""
    for name, points in series.items():
        axes.plot(*zip(*points, strict=True), marker="o", ms=3, lw=1.2, label=name)
    points = [point for curve in series.values() for point in curve]
    axes.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
    axes.minorticks_off()
    xs = sorted({x for x, _ in points})
    axes.set_xticks(xs, [f"{x:g}" for x in xs])
    ys = _round_numbers(min(y for _, y in points), max(y for _, y in points))
    axes.set_yticks(ys, [f"{y:g}" for y in ys])
    axes.grid(visible=True, alpha=0.2)
    axes.legend(fontsize=7, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12))


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, the first at most `low` and the last at least `high`."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    numbers = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    first = max(i for i, number in enumerate(numbers) if number <= low)
    last = min(i for i, number in enumerate(numbers) if number >= high)
    return numbers[first : last + 1]


def roofline(figure: Any, limits: Roofline, cases: Iterable[Case]) -> None:
    """Operations a byte of weights against GFLOP/s: the limits as lines, our cases as dots.

    What is below a thousandth of the peak is left out: it measures calls, not arithmetic.
    """
    figure.set_size_inches(9.0, 6.0)
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log")
    cases = [case for case in cases if case.gflops > limits.peak / 1e12]
    places = [case.work.operations / case.work.weight_bytes for case in cases]
    left, right = 0.1, max([1000.0, *places]) * 2
    peak = limits.peak / 1e9
    axes.axhline(peak, color="black", lw=1.2)
    axes.text(right, peak, f"FMA peak {peak:.0f} GFLOP/s ", va="bottom", ha="right", fontsize=8)
    for level in limits.levels:
        slope = level.bandwidth / 1e9
        axes.plot([left, peak / slope], [left * slope, peak], color="gray", lw=1.0)
        axes.text(
            left * 1.1,
            left * 1.2 * slope,
            f"{level.name} {slope:.0f} GB/s",
            fontsize=8,
            color="gray",
            rotation=math.degrees(math.atan(slope)),  # in the units of the axes
            rotation_mode="anchor",
            transform_rotates_text=True,
        )
    kinds = list(dict.fromkeys((case.cell, case.mode) for case in cases))
    cells = list(dict.fromkeys(cell for cell, _ in kinds))
    for cell, mode in kinds:
        dots = [
            (place, case.gflops)
            for place, case in zip(places, cases, strict=True)
            if (case.cell, case.mode) == (cell, mode)
        ]
        axes.scatter(
            *zip(*dots, strict=True),
            s=22,
            marker="s" if "backward" in mode else "o",
            color=_CELL_COLOURS[cells.index(cell) % len(_CELL_COLOURS)],
            alpha=0.8,
            label=f"{cell}, {mode}",
        )
    axes.set(xlim=(left, right), xlabel="operations a byte of weights", ylabel="GFLOP/s")
    if kinds:
        axes.legend(fontsize=8, frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Any, handles: Mapping[str, Any]) -> None:
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=max(1, len(handles)),
        frameon=False,
    )
