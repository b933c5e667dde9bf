"""A clip and what a model saw in it, as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unrolled.training import Array, import_extra

#: Frames that are shown, from the first to the last.
_SHOWN = 12

#: Inches: of a frame, of a row of the heat map, and the most that its rows may take.
_FRAME, _ROW, _TALLEST = 1.1, 0.24, 12.0

#: Rows that are named; more would overlap.
_NAMED = 60


def draw_contact_sheet(
    path: Path,
    images: Array,
    times: Array,
    title: str,
    names: Sequence[str],
    rows: Array,
) -> None:
    """Writes frames of a clip in a row, and below them a heat map over the same time, as a PNG.

    Args:
        path: the file.
        images: (T, H, W, C) uint8, C = 1 or 3.
        times: (T,) of each frame, in seconds.
        title: the caption, or the labels.
        names: V names of rows: classes, or the words of a caption. None: frames alone.
        rows: (V, T) of 0..1: the probability of each class at each frame, or how much each word
            looked at it.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there is no frame, or shapes do not fit.
    """
    count = len(images)
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not count or times.shape != (count,):
        raise ValueError(
            "[draw_contact_sheet] expected images (T, H, W, C), T > 0, C = 1 or 3, and times (T,), "
            f"got {images.shape} and {times.shape}"
        )
    if rows.shape != (len(names), count):
        raise ValueError(
            f"[draw_contact_sheet] expected rows (V, T) = {(len(names), count)}, got {rows.shape}"
        )
    figure_module = import_extra("matplotlib.figure", "train")
    shown = np.unique(np.linspace(0, count - 1, min(_SHOWN, count)).round().astype(int))
    height = _FRAME * min(images.shape[1] / images.shape[2], 2.0) + 0.3
    below = min(_ROW * len(rows), _TALLEST) + 0.6 if len(rows) else 0.0
    figure = figure_module.Figure(
        figsize=(_FRAME * _SHOWN + 1.2, height + below + 0.5), layout="constrained"
    )
    # Dollar signs would begin a formula.
    figure.suptitle(title.replace("$", r"\$"), wrap=True)
    grid = figure.add_gridspec(
        2 if below else 1, 1, height_ratios=[height, below][: 1 + bool(below)]
    )
    strip = grid[0].subgridspec(1, _SHOWN)
    for place, number in enumerate(shown):
        axes = figure.add_subplot(strip[place])
        picture = images[number]
        axes.imshow(
            picture if picture.shape[2] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=255
        )
        axes.set_title(f"{times[number]:.2f} s", fontsize=7)
        axes.set_axis_off()
    if below:
        axes = figure.add_subplot(grid[1])
        edges = _edges(times)
        axes.pcolormesh(edges, np.arange(len(rows) + 1), rows, cmap="Greys", vmin=0, vmax=1)
        axes.set(xlabel="seconds", xlim=(edges[0], edges[-1]))
        axes.invert_yaxis()  # the first word above
        if len(rows) <= _NAMED:
            labels = [name.replace("$", r"\$") for name in names]
            axes.set_yticks(np.arange(len(rows)) + 0.5, labels, fontsize=8)
    figure.savefig(path, dpi=110)


def _edges(times: Array) -> Array:
    """Where each frame begins and ends, (T + 1,): halfway between their times."""
    if len(times) == 1:
        return np.array([times[0] - 0.5, times[0] + 0.5])
    middle = (times[1:] + times[:-1]) / 2
    first, last = 2 * times[0] - middle[0], 2 * times[-1] - middle[-1]
    edges: Array = np.concatenate([[first], middle, [last]])
    return edges
