#!/usr/bin/env python3
"""Cells and options that peers do not have, beside the plain LSTM; two layers both ways and torch.

    python benchmarks/bench_options.py --threads 2
    python benchmarks/bench_options.py --parts options

Both sides of a row take turns. GFLOP/s count the products alone; `of the LSTM` is the part of its
GFLOP/s that a cell reaches, `of the plain layer` the part that a layer with an option does. Masked
steps are no work. Cells without a recurrent product do little work for the memory that they touch.
Layers beside the plain one run on one thread and their times are those of the CPU, which other
programs on the machine disturb least.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled import bench, functional
from unrolled._extras import import_extra
from unrolled.layers import LSTM, Recurrent

SHAPES = [(50, 32, 256), (25, 64, 1024)]
MODES = {"forward": False, "forward + BPTT": True}
PARTS = ("cells", "options", "torch")


def options() -> dict[str, Callable[[int], Recurrent[Any]]]:
    found: dict[str, Callable[[int], Recurrent[Any]]] = {
        info.name: (lambda name: lambda size: Recurrent(name, size, size))(info.name)
        for info in functional.cells()
        if info.name != "lstm"
    }
    found["lstm projected to half"] = lambda size: LSTM(size, size, proj_size=size // 2)
    found["lstm with zoneout"] = lambda size: LSTM(size, size, zoneout=0.1)
    return found


def no_arguments(steps: int, batch: int) -> dict[str, np.ndarray]:
    return {}


def random_mask(steps: int, batch: int) -> dict[str, np.ndarray]:
    """Half of all steps live, in any pattern."""
    return {"mask": np.random.default_rng(1).random((steps, batch)) < 0.5}


def random_resets(steps: int, batch: int) -> dict[str, np.ndarray]:
    return {"resets": np.random.default_rng(1).random((steps, batch)) < 0.1}


@dataclass(frozen=True)
class Option:
    """An option of a layer.

    Attributes:
        make: the layer with it, of I = H units.
        plain: the one without.
        arguments: of calls with it, for (T, B).
        modes: where it acts.
    """

    make: Callable[[int], Recurrent[Any]]
    plain: Callable[[int], Recurrent[Any]] = lambda size: LSTM(size, size)
    arguments: Callable[[int, int], Mapping[str, np.ndarray]] = no_arguments
    modes: tuple[str, ...] = tuple(MODES)


def clipping(size: int, clip: functional.GradientClip) -> Recurrent[Any]:
    layer = LSTM(size, size)
    layer.clip_gradient = clip
    return layer


def layer_options() -> dict[str, Option]:
    training = ("forward + BPTT",)
    return {
        "residual, 2 layers": Option(
            lambda size: LSTM(size, size, 2, residual=True), lambda size: LSTM(size, size, 2)
        ),
        "widths H and H/2": Option(
            lambda size: LSTM(size, (size, size // 2)), lambda size: LSTM(size, size, 2)
        ),
        'merge="sum", 2 layers': Option(
            lambda size: LSTM(size, size, 2, bidirectional=True, merge="sum"),
            lambda size: LSTM(size, size, 2, bidirectional=True),
        ),
        "mask, half of all steps": Option(lambda size: LSTM(size, size), arguments=random_mask),
        "resets, a tenth of all steps": Option(
            lambda size: LSTM(size, size), arguments=random_resets
        ),
        "learn_initial_state": Option(lambda size: LSTM(size, size, learn_initial_state=True)),
        "cell_clip=3": Option(lambda size: LSTM(size, size, cell_clip=3.0)),
        "gate_clip=3": Option(lambda size: LSTM(size, size, gate_clip=3.0)),
        "activations hard_sigmoid, softsign": Option(
            lambda size: LSTM(size, size, activations=("hard_sigmoid", "softsign", "softsign"))
        ),
        "recurrent_dropout=0.3": Option(
            lambda size: LSTM(size, size, recurrent_dropout=0.3), modes=training
        ),
        "weight_dropout=0.3": Option(
            lambda size: LSTM(size, size, weight_dropout=0.3), modes=training
        ),
        "clip_gradient by value": Option(lambda size: clipping(size, 1.0), modes=training),
        "clip_gradient by norm": Option(lambda size: clipping(size, ("norm", 1.0)), modes=training),
    }


def runner(
    layer: Recurrent[Any], x: np.ndarray, *, training: bool, **arguments: np.ndarray
) -> Callable[[], object]:
    if not training:
        return lambda: layer(x, **arguments)
    dy = np.ones_like(layer(x)[0])

    def run() -> object:
        layer.zero_grads()
        _, pullback = layer.vjp(x, rng=np.random.default_rng(0), **arguments)
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


def beside_the_plain_layer(seconds: float) -> None:
    print("\n| one thread, option | shape | mode | plain ms | ms | GFLOP/s | of the plain layer |")
    print("|---|---|---|---|---|---|---|")
    for steps, batch, size in SHAPES:
        x = np.random.default_rng(0).standard_normal((steps, batch, size), np.float32)
        for name, option in layer_options().items():
            plain, layer = option.plain(size), option.make(size)
            arguments = option.arguments(steps, batch)
            share = np.mean(arguments.get("mask", True))
            for mode in option.modes:
                training = MODES[mode]
                pair = {
                    "plain": runner(plain, x, training=training),
                    "with it": runner(layer, x, training=training, **arguments),
                }
                times = bench.measure(pair, seconds=seconds, min_rounds=3, clock=time.process_time)
                before, after = times["plain"], times["with it"]
                work = share * operations(layer, x, training=training)
                part = work / operations(plain, x, training=training)
                print(
                    f"| {name} | T{steps} B{batch} H{size} | {mode} "
                    f"| {before.median * 1e3:.2f} +-{before.spread:.0%} "
                    f"| {after.median * 1e3:.2f} +-{after.spread:.0%} "
                    f"| {work / after.median / 1e9:.0f} "
                    f"| {part * before.median / after.median:.2f} |",
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
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, help="which tables, default all"
    )
    chosen = parser.parse_args()
    functional.set_num_threads(chosen.threads)
    print(f"{functional.isa()}, {chosen.threads} threads, float32\n")
    if "cells" in chosen.parts:
        beside_the_lstm(chosen.seconds)
    if "options" in chosen.parts:
        functional.set_num_threads(1)
        beside_the_plain_layer(chosen.seconds)
        functional.set_num_threads(chosen.threads)
    if "torch" in chosen.parts:
        beside_torch(3 * chosen.seconds, chosen.threads)


if __name__ == "__main__":
    main()
