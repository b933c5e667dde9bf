#!/usr/bin/env python3
"""A torch model before and after `unrolled.interop.torch.replace`.

    pip install "unrolled[torch]"
    python benchmarks/bench_torch_interop.py --threads 2

An update is the forward pass of a recurrent layer, a mean of squares, the backward pass and SGD. A
ragged batch is a packed sequence of 64 rows of at most 100 steps, 48% filled. A step is one call on
one token in inference mode, the state carried on. Both take turns in the same run, and their
outputs are compared before. Medians, their ratio and that of the fastest calls, which a busy
machine moves least; as a table in Markdown.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from ratios import print_header, print_row
from unrolled import bench, functional
from unrolled._extras import import_extra
from unrolled.interop import torch as fast

torch: Any = import_extra("torch", "torch")

CELLS = ("LSTM", "GRU", "RNN")
Case = tuple[str, Any, Callable[[Any], Callable[[], Any]]]


def update(x: Any) -> Callable[[Any], Callable[[], Any]]:
    def start(layer: Any) -> Callable[[], Any]:
        optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)

        def run() -> Any:
            optimizer.zero_grad()
            y = layer(x)[0]
            y = y.data if isinstance(y, torch.nn.utils.rnn.PackedSequence) else y
            loss = y.square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return run

    return start


def inference(x: Any) -> Callable[[Any], Callable[[], Any]]:
    def start(layer: Any) -> Callable[[], Any]:
        def run() -> Any:
            with torch.inference_mode():
                y = layer(x)[0]
            return y.data if isinstance(y, torch.nn.utils.rnn.PackedSequence) else y

        return run

    return start


def step(x: Any) -> Callable[[Any], Callable[[], Any]]:
    def start(layer: Any) -> Callable[[], Any]:
        state: Any = None

        def run() -> Any:
            nonlocal state
            with torch.inference_mode():
                y, state = layer(x, state)
            return y

        return run

    return start


def cases() -> list[Case]:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return torch.from_numpy(rng.standard_normal(shape, np.float32))

    lengths = torch.from_numpy(np.linspace(1, 95, 64).astype(np.int64))
    lengths[0] = 100
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        normal(100, 64, 256), lengths, enforce_sorted=False
    )
    found: list[Case] = []
    for cell in CELLS:
        layer = getattr(torch.nn, cell)
        named = {
            "update, 2 x 512, B=32, T=50": (layer(512, 512, 2), update(normal(50, 32, 512))),
            "update, packed, 256, B=64": (layer(256, 256), update(packed)),
            "inference, packed, 256, B=64": (layer(256, 256), inference(packed)),
            "a step, 256, B=1": (layer(256, 256), step(normal(1, 1, 256))),
            "a step, 2 x 512, B=1": (layer(512, 512, 2), step(normal(1, 1, 512))),
        }
        found += [(f"{cell}, {name}", *case) for name, case in named.items()]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=functional.get_num_threads())
    parser.add_argument("--seconds", type=float, default=6.0, help="of each case")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {functional.isa()}, {options.threads} threads; ms\n")
    print_header("torch", "replaced")
    for name, layer, start in cases():
        if options.only not in name:
            continue
        ours = copy.deepcopy(layer)
        assert fast.replace(ours) == 1
        runs = {"torch": start(layer), "ours": start(ours)}
        torch.testing.assert_close(runs["ours"](), runs["torch"](), rtol=1e-3, atol=1e-5)
        times = bench.measure(runs, seconds=options.seconds)
        print_row(name, times["torch"], times["ours"])


if __name__ == "__main__":
    main()
