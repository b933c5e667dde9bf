"""Cells and options that peers do not have, beside the plain LSTM in GFLOP/s.

    pytest benchmarks/bench_options.py --benchmark-columns=median,extra

A plain LSTM of the same shape runs in the same process; `of_lstm` is the part of its GFLOP/s that a
cell reaches. Cells without a recurrent product do little work for the memory that they touch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from unrolled import functional
from unrolled.layers import Recurrent

SHAPES = [(50, 32, 256), (25, 64, 1024)]


def _training(layer: Recurrent[Any], x: np.ndarray, dy: np.ndarray) -> Callable[[], object]:
    def run() -> object:
        layer.zero_grads()
        _, pullback = layer.vjp(x, rng=np.random.default_rng(0))
        return pullback(dy)

    return run


def _work(layer: Recurrent[Any], steps: int, batch: int, *, training: bool) -> float:
    """Floating-point operations of the products."""
    matrices = sum(p.size for p in layer.parameters.values() if p.ndim == 2)
    return 2.0 * steps * batch * matrices * (3 if training else 1)


def _rate(layer: Recurrent[Any], x: np.ndarray, dy: np.ndarray, *, training: bool) -> float:
    run = _training(layer, x, dy) if training else lambda: layer(x)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return _work(layer, *x.shape[:2], training=training) / sorted(times)[3]


OPTIONS: dict[str, Callable[[int], Recurrent[Any]]] = {
    info.name: (lambda name: lambda size: Recurrent(name, size, size))(info.name)
    for info in functional.cells()
}
OPTIONS["lstm projected to half"] = lambda size: Recurrent(
    "lstm_projected", size, size, proj_size=size // 2
)
OPTIONS["lstm with zoneout"] = lambda size: Recurrent("lstm", size, size, zoneout=0.1)


@pytest.mark.parametrize("training", [False, True], ids=["forward", "forward+backward"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "T{}-B{}-H{}".format(*s))
@pytest.mark.parametrize("option", OPTIONS)
def bench_option(
    benchmark: Any, option: str, shape: tuple[int, int, int], training: bool, threads: int
) -> None:
    functional.set_num_threads(threads)
    steps, batch, size = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, size), np.float32)
    layer, plain = OPTIONS[option](size), Recurrent("lstm", size, size)
    dy = np.ones_like(layer(x)[0])
    run = _training(layer, x, dy) if training else lambda: layer(x)
    benchmark.group = f"{shape} {'forward+backward' if training else 'forward'}"
    benchmark(run)
    if benchmark.stats is not None:  # absent under --benchmark-disable
        rate = _work(layer, steps, batch, training=training) / benchmark.stats["median"]
        base = _rate(plain, x, np.ones((steps, batch, size), np.float32), training=training)
        benchmark.extra_info["GFLOP/s"] = round(rate / 1e9, 1)
        benchmark.extra_info["of_lstm"] = round(rate / base, 2)
