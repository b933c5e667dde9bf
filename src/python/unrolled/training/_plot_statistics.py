"""A picture of what each parameter's gradients and updates were over a run."""

import os
from collections.abc import Sequence

import numpy as np

from .._extras import import_extra
from ._statistics import Measurement

#: Update / parameter that is usual; see `ParameterStatistics`.
_USUAL_RATIO = 1e-3


def plot_statistics(
    path: str | os.PathLike[str], measurements: Sequence[Measurement], *, title: str = ""
) -> None:
    """Draws update ratios as lines and gradient norms as a map, over updates, into a PNG file.

    A parameter has the same colour in both halves.

    Args:
        path: where to.
        measurements: at least one.
        title: heading of the picture.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there are no measurements.
    """
    if not measurements:
        raise ValueError("[plot_statistics] expected at least one measurement, got none")
    matplotlib = import_extra("matplotlib", "train")
    names = list(measurements[0].parameters)
    steps = [m.step for m in measurements]
    ratios = np.array(
        [[m.parameters[name].update_ratio or np.nan for m in measurements] for name in names]
    )
    norms = np.array([[m.parameters[name].grad_norm for m in measurements] for name in names])

    height = 0.22 * len(names) + 0.6
    figure = import_extra("matplotlib.figure", "train").Figure(
        figsize=(7.0, 3.6 + height), dpi=120, layout="constrained"
    )
    above, below = figure.subplots(2, 1, height_ratios=[3.0, height], sharex=True)
    colors = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.8, len(names)))

    for values, color in zip(ratios, colors, strict=True):
        above.plot(steps, values, color=color, linewidth=1.0, marker=".", markersize=2)
    above.axhline(_USUAL_RATIO, color="#c0392b", linestyle="--", linewidth=1.0)
    above.set_yscale("log")
    above.set_ylabel("update / parameter (norms)")
    above.set_title(title)
    above.grid(alpha=0.3)

    positive = norms[norms > 0.0]
    limits = (positive.min(), positive.max()) if positive.size else (1e-3, 1.0)
    # Each measurement reaches to the next one.
    edges = [*steps, steps[-1] + (steps[-1] - steps[-2] if len(steps) > 1 else 1)]
    drawn = below.pcolormesh(
        edges,
        np.arange(len(names) + 1),
        np.ma.masked_less_equal(norms, 0.0),
        norm=import_extra("matplotlib.colors", "train").LogNorm(*limits),
        cmap="magma",
    )
    below.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=7)
    for label, color in zip(below.get_yticklabels(), colors, strict=True):
        label.set_color(color)
    below.invert_yaxis()
    below.set_xlabel("updates")
    figure.colorbar(drawn, ax=below, label="gradient norm")
    figure.savefig(path, format="png")
