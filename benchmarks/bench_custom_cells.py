#!/usr/bin/env python3
"""A GRU written as equations beside the built-in one, in turns, forward and with gradients.

    pip install "unrolled[cells]"
    python benchmarks/bench_custom_cells.py --threads 2

GFLOP/s of both from the medians, and the share of the built-in cell's speed that the derived one
reaches: 1.00 where derivation costs nothing.
"""

from __future__ import annotations

import argparse
from typing import Any

import unrolled
from shapes import QUICK_SHAPES
from unrolled import bench, functional
from unrolled.bench._timing import measure
from unrolled.cells import sigmoid, tanh


@unrolled.cell(gates=("r", "z", "n"))
def derived_gru(x: Any, u: Any, s: Any) -> dict[str, Any]:
    r = sigmoid(x.r + u.r)
    z = sigmoid(x.z + u.z)
    n = tanh(x.n + r * u.n)
    return {"h": (1 - z) * n + z * s.h}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=functional.get_num_threads())
    parser.add_argument("--seconds", type=float, default=2.0, help="of each pair")
    options = parser.parse_args()
    derived_gru.compile()
    shares = []
    print(f"{'':40}{'gru':>10}{'derived':>10}{'share':>8}")
    for mode in (bench.FORWARD, bench.TRAINING):
        for shape in QUICK_SHAPES:
            problems = [bench.LayerProblem.random(c, mode, shape) for c in ("gru", "derived_gru")]
            runs = {p.cell: bench.Ours(p, options.threads).run for p in problems}
            timings = measure(runs, seconds=options.seconds)
            speeds = [p.work.operations / timings[p.cell].median / 1e9 for p in problems]
            shares.append(speeds[1] / speeds[0])
            print(
                f"{mode + ' ' + str(shape):40}{speeds[0]:10.1f}{speeds[1]:10.1f}{shares[-1]:8.2f}"
            )
    print(f"{'geometric mean':60}{bench.geometric_mean(shares):8.2f}")


if __name__ == "__main__":
    main()
