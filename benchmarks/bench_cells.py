"""The cells that peers have, too, forward and with gradients, ours beside each peer.

`unrolled bench` measures the same contenders in turns; here each one is a benchmark of its own, to
be saved and compared between versions:

    pytest benchmarks/bench_cells.py --benchmark-autosave
    pytest-benchmark compare
"""

from __future__ import annotations

from typing import Any

import pytest

from shapes import CHAR_LM_SHAPE, QUICK_SHAPES, Shape
from unrolled import bench


@pytest.mark.parametrize("contender", bench.ON_SEQUENCES, ids=lambda c: c.name)
@pytest.mark.parametrize("shape", [*QUICK_SHAPES, CHAR_LM_SHAPE], ids=str)
@pytest.mark.parametrize("mode", bench.MODES)
@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm", "gru"])
def bench_cell(
    benchmark: Any,
    cell: str,
    mode: str,
    shape: Shape,
    contender: type[bench.Contender],
    threads: int,
) -> None:
    problem = bench.LayerProblem.random(cell, mode, shape)
    try:
        ready = contender(problem, threads)
    except (ImportError, NotImplementedError, bench.UnavailableError) as error:
        pytest.skip(str(error))
    bench.check(problem, {contender.name: ready.outputs})
    benchmark.group = f"{cell} {mode} {shape}"
    bench.wait_until_quiet()
    benchmark(ready.run)
    if benchmark.stats is not None:  # absent under --benchmark-disable
        gflops = problem.work.operations / benchmark.stats["median"] / 1e9
        benchmark.extra_info["GFLOP/s"] = round(gflops, 1)
