"""`unrolled classify-series`: the class of each series of a file."""

from pathlib import Path
from typing import Annotated

import typer

from ..tasks import classification
from ..tasks.series.ts_format import read_ts


def classify_series(
    checkpoint: Annotated[
        Path, typer.Argument(help="A .safetensors file that `unrolled train classification` wrote.")
    ],
    file: Annotated[
        Path,
        typer.Argument(help="A .ts file; it may have classes, which are not looked at."),
    ],
    every: Annotated[
        bool,
        typer.Option("--all", help="Show every class with its probability, the best first."),
    ] = False,
) -> None:
    """Say which class each series of a file is: one a line, with its probability."""
    classify = classification.load(checkpoint)
    for row in classify.probabilities(read_ts(file).series):
        order = (-row).argsort(kind="stable")
        chosen = order if every else order[:1]
        print("\t".join(f"{classify.classes[place]}\t{row[place]:.4f}" for place in chosen))
