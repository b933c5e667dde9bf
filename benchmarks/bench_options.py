#!/usr/bin/env python3
"""Cells and options that peers do not have, beside the plain LSTM; two layers both ways and torch.

    python benchmarks/bench_options.py --threads 2

Both sides of a row take turns. GFLOP/s count the products alone; `of the LSTM` is the part of its
GFLOP/s that a cell reaches. Cells without a recurrent product do little work for the memory that
they touch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from unrolled import bench, functional
from unrolled._extras import import_extra
from unrolled.layers import LSTM, Recurrent

SHAPES = [(50, 32, 256), (25, 64, 1024)]
MODES = {"forward": False, "forward + BPTT": True}


def options() -> dict[str, Callable[[int], Recurrent[Any]]]:
    found: dict[str, Callable[[int], Recurrent[Any]]] = {
        info.name: (lambda name: lambda size: Recurrent(name, size, size))(info.name)
        for info in functional.cells()
        if info.name != "lstm"
    }
    found["lstm projected to half"] = lambda size: LSTM(size, size, proj_size=size // 2)
    found["lstm with zoneout"] = lambda size: LSTM(size, size, zoneout=0.1)
    return found


def runner(layer: Recurrent[Any], x: np.ndarray, *, training: bool) -> Callable[[], object]:
    if not training:
        return lambda: layer(x)
    dy = np.ones_like(layer(x)[0])

    def run() -> object:
        layer.zero_grads()
        _, pullback = layer.vjp(x, rng=np.random.default_rng(0))
        return pullback(dy)

    return run


def operations(layer: Recurrent[Any], x: np.ndarray, *, training: bool) -> float:
    """Floating-point operations of the products."""
    matrices = sum(p.size for p in layer.parameters.values() if p.ndim == 2)
    return 2.0 * x.shape[0] * x.shape[1] * matrices * (3 if training else 1)


def beside_the_lstm(seconds: float) -> None:
    print("| cell | shape | mode | ms | GFLOP/s | of the LSTM |\n|---|---|---|---|---|---|")
    for name, make in options().items():
        for steps, batch, size in SHAPES:
            x = np.random.default_rng(0).standard_normal((steps, batch, size), np.float32)
            layers = {"lstm": LSTM(size, size), name: make(size)}
            for mode, training in MODES.items():
                times = bench.measure(
                    {key: runner(layer, x, training=training) for key, layer in layers.items()},
                    seconds=seconds,
                )
                rate = {
                    key: operations(layer, x, training=training) / times[key].median / 1e9
                    for key, layer in layers.items()
                }
                print(
                    f"| {name} | T{steps} B{batch} H{size} | {mode} "
                    f"| {times[name].median * 1e3:.2f} +-{times[name].spread:.0%} "
                    f"| {rate[name]:.0f} | {rate[name] / rate['lstm']:.2f} |",
                    flush=True,
                )


def beside_torch(seconds: float, threads: int) -> None:
    torch: Any = import_extra("torch", "torch")
    torch.set_num_threads(threads)
    theirs = torch.nn.LSTM(256, 256, 2, bidirectional=True)
    ours = LSTM(256, 256, 2, bidirectional=True)
    ours.load_parameters({name: p.detach().numpy() for name, p in theirs.named_parameters()})
    x = np.random.default_rng(0).standard_normal((50, 32, 256), np.float32)
    tensor = torch.from_numpy(x).requires_grad_()

    def forward() -> Any:
        with torch.inference_mode():
            return theirs(tensor)[0]

    def training() -> Any:
        theirs.zero_grad()
        theirs(tensor)[0].sum().backward()

    assert np.allclose(forward().numpy(), ours(x)[0], atol=1e-5)
    print("\n| LSTM, 2 layers both ways, T50 B32 H256 | torch ms | ours ms | ratio |")
    print("|---|---|---|---|")
    for mode, peer in (("forward", forward), ("forward + BPTT", training)):
        own = runner(ours, x, training=MODES[mode])
        times = bench.measure({"torch": peer, "ours": own}, seconds=seconds)
        torch_ms, ours_ms = (times[key].median * 1e3 for key in ("torch", "ours"))
        print(f"| {mode} | {torch_ms:.2f} | {ours_ms:.2f} | {torch_ms / ours_ms:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=functional.get_num_threads())
    parser.add_argument("--seconds", type=float, default=2.0, help="of each pair")
    chosen = parser.parse_args()
    functional.set_num_threads(chosen.threads)
    print(f"{functional.isa()}, {chosen.threads} threads, float32\n")
    beside_the_lstm(chosen.seconds)
    beside_torch(3 * chosen.seconds, chosen.threads)


if __name__ == "__main__":
    main()
