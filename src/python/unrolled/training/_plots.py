"""A picture of the loss curve."""

import os

from .._extras import import_extra
from ._history import History
from ._metrics import Metric


def plot_loss_curve(
    path: str | os.PathLike[str], history: History, metric: Metric, *, title: str = ""
) -> None:
    """Draws training loss and validation scores against updates into a PNG file.

    Args:
        path: where to.
        history: what the training loop noted down.
        metric: the unit of the vertical axis.
        title: heading of the picture.

    Raises:
        ImportError: matplotlib is not installed.
    """
    # The object interface: pyplot would pick a window system and keep global state.
    figure = import_extra("matplotlib.figure", "train").Figure(figsize=(7.0, 4.2), dpi=120)
    axes = figure.subplots()
    axes.plot(
        [point.step for point in history.training],
        [metric.from_loss(point.loss) for point in history.training],
        label="training",
        color="#8fb3d9",
    )
    if history.validation:
        axes.plot(
            [point.step for point in history.validation],
            [metric.from_loss(point.loss) for point in history.validation],
            label="held out",
            color="#c0392b",
            marker="o",
            markersize=4,
        )
        axes.legend()
    axes.set_xlabel("updates")
    axes.set_ylabel(metric.name)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    figure.savefig(path, format="png", bbox_inches="tight")
