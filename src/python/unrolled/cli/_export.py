"""`unrolled export`: a model without its training, and smaller, or as ONNX."""

from pathlib import Path
from typing import Annotated

import typer

from .. import tasks
from ..functional import Precision


def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="A .safetensors file that `unrolled train` wrote.")
    ],
    output: Annotated[
        Path,
        typer.Argument(
            help="The .safetensors or .onnx file to write; of a model that translates or writes "
            "captions NAME.onnx becomes NAME.encoder.onnx and NAME.decoder.onnx."
        ),
    ],
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Recurrent weights in 8 bits, a quarter of their size."),
    ] = False,
    state: Annotated[
        bool,
        typer.Option("--state", help="ONNX: states are inputs and outputs, for a text in parts."),
    ] = False,
    lengths: Annotated[
        bool, typer.Option("--lengths", help="ONNX: the lengths of sequences are an input.")
    ] = False,
) -> None:
    """Write the model of a checkpoint alone, to be used elsewhere."""
    precision: Precision = "int8" if int8 else "full"
    for path in tasks.export(checkpoint, output, precision=precision, state=state, lengths=lengths):
        print(f"exported   {path}, {path.stat().st_size:,} bytes")
