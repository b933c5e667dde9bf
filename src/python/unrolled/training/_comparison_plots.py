"""Pictures of several runs, or several layers, side by side."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._extras import import_extra
from ._history import History
from ._metrics import Metric
from ._types import Array


def plot_comparison(
    path: str | os.PathLike[str],
    histories: Mapping[str, History],
    metric: Metric,
    *,
    baseline: float | None = None,
    title: str = "",
) -> None:
    """Draws the validation scores of several runs against updates into a PNG file.

    Args:
        path: where to.
        histories: label -> what the training loop noted down.
        metric: the unit of the vertical axis.
        baseline: a mean loss to draw a line at, None for no line.
        title: heading of the picture.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = import_extra("matplotlib.figure", "train").Figure(
        figsize=(7.0, 4.2), dpi=120, layout="constrained"
    )
    axes = figure.subplots()
    for label, history in histories.items():
        axes.plot(
            [point.step for point in history.validation],
            [metric.from_loss(point.loss) for point in history.validation],
            label=label,
            marker="o",
            markersize=4,
        )
    if baseline is not None:
        axes.axhline(
            metric.from_loss(baseline), label="without memory", color="black", linestyle=":"
        )
    # Memory is found all at once: what was too small to see becomes nothing within few updates.
    axes.set_yscale("log")
    axes.set_xlabel("updates")
    axes.set_ylabel(f"{metric.name}, held out")
    axes.set_title(title)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, format="png")


def plot_gradient_flow(
    path: str | os.PathLike[str],
    flows: Mapping[str, Mapping[str, Array]],
    *,
    trained: Mapping[str, Mapping[str, Array]] | None = None,
    title: str = "",
) -> None:
    """Draws gradient flows over t into a PNG file, on a log scale.

    Sizes are relative to |dL/dh_T| of their layer or, where the last steps have no gradient, to the
    last |dL/dh_t| that is not 0.

    Args:
        path: where to.
        flows: label -> what `gradient_flow` returned, all over the same number of steps.
        trained: the same after training, drawn beside it.
        title: heading of the picture.

    Raises:
        ImportError: matplotlib is not installed.
    """
    panels = {"": flows} if trained is None else {"before training": flows, "after": trained}
    figure = import_extra("matplotlib.figure", "train").Figure(
        figsize=(2.0 + 5.0 * len(panels), 4.2), dpi=120, layout="constrained"
    )
    for axes, (heading, panel) in zip(
        figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels.items(), strict=True
    ):
        _draw_flows(axes, panel)
        axes.set_title(heading)
        axes.label_outer()
    figure.suptitle(title)
    figure.supylabel("gradient, relative to |dL/dh_T|")
    figure.savefig(path, format="png")


def _draw_flows(axes: Any, flows: Mapping[str, Mapping[str, Array]]) -> None:
    """Fills a panel: a colour for each label, dashes for parts of the state other than h."""
    for number, (label, flow) in enumerate(flows.items()):
        for part, norms in flow.items():
            for k, sizes in enumerate(norms):
                layer = f", layer {k}" if len(norms) > 1 else ""
                axes.plot(
                    np.where(sizes > 0.0, sizes, np.nan) / _last(flow["h"][k]),
                    label=f"{label}: |dL/d{part}_t|{layer}",
                    color=f"C{number}",
                    linestyle="-" if part == "h" else "--",
                    alpha=(k + 1) / len(norms),
                )
    axes.set_yscale("log")
    axes.set_xlabel("t (steps)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _last(sizes: Array) -> float:
    """Returns the last size that is not 0, where the loss is seen last; NaN if there is none."""
    seen = np.flatnonzero(sizes)
    return float(sizes[seen[-1]]) if seen.size else np.nan
