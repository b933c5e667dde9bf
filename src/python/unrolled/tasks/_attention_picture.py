"""What a translation read at each step, as a picture."""

from collections.abc import Sequence
from pathlib import Path

from unrolled.training import Array, import_extra

#: Inches that a token takes, and the least width and height of the picture.
_CELL, _LEAST = 0.28, 3.0


def draw_attention(
    path: Path, sources: Sequence[str], targets: Sequence[str], weights: Array
) -> None:
    """Writes the weights (T, S) as a heat map, a PNG: a row for each token that was written.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure_module = import_extra("matplotlib.figure", "train")
    width, height = (max(_CELL * len(side) + 1.5, _LEAST) for side in (sources, targets))
    figure = figure_module.Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.imshow(weights, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    # Dollar signs would begin a formula.
    labels = [[text.replace("$", r"\$") for text in side] for side in (sources, targets)]
    axes.set_xticks(range(len(sources)), labels[0], rotation=90, fontsize=8)
    axes.set_yticks(range(len(targets)), labels[1], fontsize=8)
    axes.xaxis.tick_top()
    figure.savefig(path, dpi=110)
