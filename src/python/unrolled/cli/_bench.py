"""The command `unrolled bench`."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def bench(
    suite: Annotated[
        str,
        typer.Argument(
            help="Which cases to measure: tiny, quick, peers, deepbench (DeepBench's list), "
            "streaming (step by step), ragged (different lengths), precision (bf16, int8), or "
            "scaling (longer, larger, busy machine)."
        ),
    ] = "quick",
    threads: Annotated[
        int | None, typer.Option(help="Threads of every library.", show_default=False)
    ] = None,
    cells: Annotated[
        str | None, typer.Option(help="Cells, separated by commas.", show_default=False)
    ] = None,
    only: Annotated[
        str, typer.Option(help="Cases whose text has this part.", show_default=False)
    ] = "",
    seconds: Annotated[
        float | None,
        typer.Option(help="Time for each case; a few rounds at least.", show_default=False),
    ] = None,
    peers: Annotated[bool, typer.Option(help="Measure installed peers too.")] = True,
    json: Annotated[
        Path | None, typer.Option(help="Write the report as JSON.", show_default=False)
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the report as Markdown.", show_default=False)
    ] = None,
    png: Annotated[
        Path | None, typer.Option(help="Write the report as a picture.", show_default=False)
    ] = None,
    roofline: Annotated[
        Path | None,
        typer.Option(help="Draw every case below the machine's limits.", show_default=False),
    ] = None,
) -> None:
    """Measure this library beside torch, onnxruntime and jax, where they are installed."""
    from .. import bench as benchmarks  # no other command needs it

    report = benchmarks.run(
        suite,
        threads=threads,
        cells=None if cells is None else cells.split(","),
        only=only,
        seconds=seconds,
        peers=peers,
        json=json,
        markdown=markdown,
        png=png,
        roofline=roofline,
        progress=_show_case,
    )
    print(report.text())


def _show_case(done: int, total: int, text: str) -> None:
    print(f"{done + 1:3d}/{total}  {text}", file=sys.stderr, flush=True)
