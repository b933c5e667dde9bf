"""The picture of a report: how many GFLOP/s everybody reaches, and where the roofline is."""

from __future__ import annotations

import importlib
import os
from typing import Any

from ._report import OURS, Case, Report

_COLOURS = {OURS: "#d1495b", "torch": "#edae49", "onnxruntime": "#00798c", "jax": "#66a182"}


def draw(report: Report, path: str | os.PathLike[str]) -> None:
    """Writes a PNG (or SVG, by the file's suffix): rows are modes, columns are cells.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        figure_module: Any = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        hint = 'pip install "unrolled[train]"'
        raise ImportError(f"[bench] a picture needs matplotlib: {hint}") from error
    modes = list(dict.fromkeys(case.mode for case in report.cases))
    cells = list(dict.fromkeys(case.cell for case in report.cases))
    figure = figure_module.Figure(
        figsize=(5.2 * len(cells), 0.8 + 3.4 * len(modes)), layout="constrained"
    )
    grid = figure.subplots(len(modes), len(cells), squeeze=False, sharey=True)
    for row, mode in zip(grid, modes, strict=True):
        for axes, cell in zip(row, cells, strict=True):
            _panel(axes, [c for c in report.cases if (c.mode, c.cell) == (mode, cell)])
            axes.set_title(f"{cell}, {mode}", fontsize=10)
        row[0].set_ylabel("GFLOP/s")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    threads = report.roofline.threads
    figure.suptitle(
        f"{report.machine.cpu}, {report.machine.isa}, {threads} threads, float32", fontsize=11
    )
    figure.savefig(path, dpi=130)


def _panel(axes: Any, cases: list[Case]) -> None:
    names = list(dict.fromkeys(name for case in cases for name in case.timings))
    width = 0.8 / max(1, len(names))
    for k, name in enumerate(names):
        places = [i for i, case in enumerate(cases) if name in case.timings]
        rates = [cases[i].operations / cases[i].timings[name].median / 1e9 for i in places]
        left = [i + (k - (len(names) - 1) / 2) * width for i in places]
        axes.bar(left, rates, width, label=name, color=_COLOURS.get(name))
    for i, case in enumerate(cases):
        rate = case.operations / case.roofline_seconds / 1e9
        axes.plot(
            [i - 0.45, i + 0.45],
            [rate, rate],
            color="black",
            lw=1.2,
            label="roofline" if i == 0 else None,
        )
    axes.set_xticks(
        range(len(cases)), [str(case.shape) for case in cases], rotation=60, ha="right", fontsize=7
    )
    axes.spines[["top", "right"]].set_visible(False)
