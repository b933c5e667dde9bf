#!/usr/bin/env python3
"""Layers of `unrolled.interop.jax` beside the same layers as `lax.scan`, both under jit.

    pip install "unrolled[jax]"
    python benchmarks/bench_jax_interop.py --threads 2

A forward pass is the layer's output. With gradients it is the output and the gradients of x and of
the parameters for a given dy. Both take turns in the same run, and their outputs are compared
before. Medians, their ratio and that of the fastest calls, which a busy machine moves least; as a
table in Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from ratios import print_header, print_row
from unrolled import bench, functional
from unrolled.bench._jax import _scan, load_jax
from unrolled.interop import jax as fast

SHAPES = [(50, 32, 512), (50, 32, 256), (100, 64, 128), (50, 1, 256)]  # T, B, H; I = H
CELLS = ("lstm", "gru", "rnn_tanh")


def arrays(cell: str, steps: int, batch: int, hidden: int) -> list[np.ndarray]:
    """x, the four parameters and dy."""
    rng = np.random.default_rng(0)
    rows = len(functional.cell_info(cell).gates) * hidden

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    return [
        normal(steps, batch, hidden),
        normal(rows, hidden, scale=hidden**-0.5),
        normal(rows, hidden, scale=0.7 * hidden**-0.5),
        normal(rows, scale=0.5),
        normal(rows, scale=0.5),
        normal(steps, batch, hidden),
    ]


def ours(cell: str) -> Callable[..., Any]:
    """The layer as a function of (x, weight_ih, weight_hh, bias_ih, bias_hh)."""
    layer = {"lstm": fast.lstm, "gru": fast.gru, "rnn_tanh": fast.rnn}[cell]
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return lambda x, *weights: layer(dict(zip(names, weights, strict=True)), x)[0]


def runs(jax: Any, cell: str, inputs: list[Any], *, training: bool) -> dict[str, Callable[[], Any]]:
    *args, dy = inputs
    functions = {"jax": _scan(jax, cell, transposed=not training), "ours": ours(cell)}

    def run(name: str, function: Callable[..., Any]) -> Callable[[], Any]:
        def train(*args: Any) -> Any:
            y, pullback = jax.vjp(function, *args)
            return (y, *pullback(dy))

        given = args
        if name == "jax" and not training:  # transposed beforehand, its faster way
            given = [args[0], args[1].T.copy(), args[2].T.copy(), *args[3:]]
        program = jax.jit(train if training else function)
        return lambda: jax.block_until_ready(program(*given))

    return {name: run(name, function) for name, function in functions.items()}


def compare(found: dict[str, Callable[[], Any]], what: str) -> None:
    expected, *others = (
        [np.asarray(a) for a in (y if isinstance(y, tuple) else (y,))]
        for y in (run() for run in found.values())
    )
    for other in others:
        for actual, right in zip(other, expected, strict=True):
            scale = max(1.0, float(np.abs(right).max()))
            if not np.abs(actual - right).max() <= 1e-3 * scale:
                raise AssertionError(f"{what}: outputs differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=functional.get_num_threads())
    parser.add_argument("--seconds", type=float, default=6.0, help="of each case")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    options = parser.parse_args()
    functional.set_num_threads(options.threads)
    jax = load_jax(options.threads)
    print(f"jax {jax.__version__}, {functional.isa()}, {options.threads} threads; ms\n")
    print_header("lax.scan", "ours")
    for cell in CELLS:
        for steps, batch, hidden in SHAPES:
            for training in (False, True):
                kind = "forward and gradients" if training else "forward"
                name = f"{cell}, {kind}, T={steps}, B={batch}, H={hidden}"
                if options.only not in name:
                    continue
                inputs = [jax.numpy.asarray(a) for a in arrays(cell, steps, batch, hidden)]
                found = runs(jax, cell, inputs, training=training)
                compare(found, name)
                times = bench.measure(found, seconds=options.seconds)
                print_row(name, times["jax"], times["ours"])


if __name__ == "__main__":
    main()
