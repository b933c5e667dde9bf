"""`unrolled export`: a model without its training, and smaller."""

from pathlib import Path
from typing import Annotated

import typer

from .. import tasks


def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="A .safetensors file that `unrolled train` wrote.")
    ],
    output: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Recurrent weights in 8 bits, a quarter of their size."),
    ] = False,
) -> None:
    """Write the model of a checkpoint alone, to be used elsewhere."""
    path = tasks.export(checkpoint, output, precision="int8" if int8 else "full")
    print(f"exported   {path}, {path.stat().st_size:,} bytes")
