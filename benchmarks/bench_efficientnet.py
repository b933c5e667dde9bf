#!/usr/bin/env python3
"""EfficientNet-Lite0, forwards and forwards with backwards: ours beside ONNX Runtime and torch.

    pip install "unrolled[onnx,peers]"
    python benchmarks/bench_efficientnet.py --threads 2       # 224 x 224
    python benchmarks/bench_efficientnet.py --size 80 160

Ours is `packed()`, ONNX Runtime runs what `onnx.export` writes of the same weights, and torch the
same layers, in the better one of its two memory formats. They run in turns; medians.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from unrolled import functional
from unrolled.bench._timing import measure
from unrolled.interop.onnx import export
from unrolled.models import EfficientNet
from unrolled.models._conv_norm import ConvNorm
from unrolled.models._mbconv import MBConv

BATCHES = (1, 8)


class Residual(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


def conv_norm(layer: ConvNorm, padding: tuple[int, int]) -> list[torch.nn.Module]:
    conv, norm = layer.conv, layer.norm
    (top, bottom), (left, right) = conv.windows.around(*padding)
    theirs = torch.nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.windows.kernel,
        conv.windows.stride,
        (min(top, bottom), min(left, right)),
        groups=conv.groups,
        bias=False,
    )
    theirs.weight.data = torch.tensor(conv.parameters["weight"])
    batch_norm = torch.nn.BatchNorm2d(conv.out_channels, norm.eps)
    batch_norm.load_state_dict(
        {name: torch.tensor(array) for name, array in norm.parameters.items()}, strict=False
    )
    modules: list[torch.nn.Module] = [theirs, batch_norm]
    if (top, left) != (bottom, right):
        modules.insert(0, torch.nn.ZeroPad2d((0, right - left, 0, bottom - top)))
    return modules + ([torch.nn.ReLU6()] if norm.activation == "relu6" else [])


def in_torch(model: EfficientNet, size: tuple[int, int]) -> torch.nn.Module:
    """The same network, for images of one size, since its padding depends on that."""
    modules: list[torch.nn.Module] = []
    for part in model._parts[:-1]:
        layers = part._layers if isinstance(part, MBConv) else (part,)
        inner: list[torch.nn.Module] = []
        for layer in layers:
            inner += conv_norm(layer, size)
            size = layer.conv.output_shape(*size)
        block = torch.nn.Sequential(*inner)
        modules.append(Residual(block) if getattr(part, "residual", False) else block)
    modules += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    return torch.nn.Sequential(*modules).eval()


def session(data: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def rate(name: str, runs: dict[str, Callable[[], Any]], batch: int, seconds: float) -> None:
    times = {each: time.median for each, time in measure(runs, seconds=seconds).items()}
    torch_times = [times.pop(each) for each in list(times) if each.startswith("torch")]
    frames = [batch / time for time in (*times.values(), min(torch_times))]
    ratios = [f"{frames[0] / other:8.2f}x" for other in frames[1:]]
    print(f"{name:24}" + "".join(f"{each:11.1f}" for each in frames) + "".join(ratios), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(224, 224), metavar=("H", "W"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=6.0, help="for each comparison")
    arguments = parser.parse_args()
    size, seconds = tuple(arguments.size), arguments.seconds
    model = EfficientNet(rng=np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export(model, path)
        data = path.read_bytes()
    peers = {
        "torch": in_torch(model, size),
        "torch, channels last": in_torch(model, size).to(memory_format=torch.channels_last),
    }
    functional.set_num_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    packed, peer = model.packed(), session(data, arguments.threads)
    print(f"{size[0]} x {size[1]}, {arguments.threads} threads, frames a second")
    print(f"{'':24}{'unrolled':>11}{'onnxrt':>11}{'torch':>11}{'ratios':>11}")
    for batch in BATCHES:
        images = np.random.default_rng(1).standard_normal((batch, *size, 3), np.float32)
        theirs = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        tensors = {name: as_tensor(name, images) for name in peers}
        runs: dict[str, Callable[[], Any]] = {
            "ours": lambda images=images: packed(images),
            "onnxruntime": lambda theirs=theirs: peer.run(None, {"images": theirs}),
        }
        for name, module in peers.items():
            runs[name] = lambda x=tensors[name], module=module: forward(module, x)
        expected = runs["onnxruntime"]()[0]
        np.testing.assert_allclose(runs["ours"](), expected, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(runs["torch"]().numpy(), expected, rtol=1e-3, atol=1e-3)
        rate(f"forward, batch {batch}", runs, batch, seconds)

    print(f"{'':24}{'unrolled':>11}{'torch':>11}")
    runs = {"ours": lambda: ours_both_ways(model, images)}
    for name, module in peers.items():
        runs[name] = lambda x=tensors[name], module=module: both_ways(module, x)
    rate(f"and backward, batch {batch}", runs, batch, seconds)


def as_tensor(name: str, images: np.ndarray) -> torch.Tensor:
    x = torch.tensor(images).permute(0, 3, 1, 2)
    return x if "last" in name else x.contiguous()


def forward(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return module(x)  # type: ignore[no-any-return]


def both_ways(module: torch.nn.Module, x: torch.Tensor) -> None:
    module.zero_grad()
    module(x).sum().backward()


def ours_both_ways(model: EfficientNet, images: np.ndarray) -> None:
    model.zero_grads()
    y, pullback = model.vjp(images)
    pullback(np.ones_like(y))


if __name__ == "__main__":
    main()
