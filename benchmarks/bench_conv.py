"""Convolutions: layers of EfficientNet-Lite0 at 224 x 224 and of a small network for mouths.

Ours beside torch, in its own layout and with channels last, and for inference ONNX Runtime. Its
sessions hold one convolution, so that they also pay for the way into its layout and back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from unrolled import bench
from unrolled.layers import Conv2d


@dataclass(frozen=True)
class Shape:
    """N images of H x W places, C channels; a square kernel of k, "same" padding."""

    N: int
    H: int
    W: int
    C: int
    outputs: int
    k: int
    stride: int = 1
    depthwise: bool = False

    def __str__(self) -> str:
        kind = "depthwise " if self.depthwise else ""
        step = f" / {self.stride}" if self.stride > 1 else ""
        return f"{kind}{self.k}x{self.k}{step}, {self.C}-{self.outputs}, {self.N}x{self.H}x{self.W}"

    @property
    def padding(self) -> int:
        return self.k // 2

    @property
    def groups(self) -> int:
        return self.C if self.depthwise else 1


_LITE0 = [
    (224, 3, 32, 3, 2, False),
    (112, 32, 32, 3, 1, True),
    (112, 32, 16, 1, 1, False),
    (112, 16, 96, 1, 1, False),
    (112, 96, 96, 3, 2, True),
    (56, 96, 24, 1, 1, False),
    (56, 144, 144, 5, 2, True),
    (28, 240, 40, 1, 1, False),
    (14, 480, 480, 5, 1, True),
    (14, 672, 112, 1, 1, False),
    (7, 1152, 1152, 5, 1, True),
    (7, 1152, 192, 1, 1, False),
    (7, 320, 1280, 1, 1, False),
]
SHAPES = [
    *(Shape(N, size, size, *sizes) for N in (1, 8) for size, *sizes in _LITE0),
    Shape(75, 48, 96, 5, 32, 3),
    Shape(75, 24, 48, 32, 64, 3),
    Shape(75, 12, 24, 64, 96, 3),
    Shape(300, 6, 12, 96, 128, 3),
]


def _arrays(s: Shape) -> tuple[np.ndarray, Conv2d, np.ndarray]:
    rng = np.random.default_rng(0)
    layer = Conv2d(s.C, s.outputs, s.k, s.stride, s.padding, groups=s.groups, rng=rng)
    x = rng.standard_normal((s.N, s.H, s.W, s.C), np.float32)
    return (
        x,
        layer,
        rng.standard_normal((s.N, *layer.output_shape(s.H, s.W), s.outputs), np.float32),
    )


def _ours(s: Shape, threads: int, training: bool) -> Callable[[], Any]:
    x, layer, dy = _arrays(s)
    packed = layer.packed()

    def train() -> Any:
        layer.zero_grads()
        return layer.vjp(x)[1](dy)

    return train if training else lambda: packed(x)


def _torch(s: Shape, threads: int, training: bool, layout: str) -> Callable[[], Any]:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(threads)
    x, layer, dy = _arrays(s)
    module = torch.nn.Conv2d(s.C, s.outputs, s.k, s.stride, s.padding, groups=s.groups)
    module.load_state_dict({name: torch.from_numpy(a) for name, a in layer.parameters.items()})
    form = getattr(torch, layout)
    module = module.to(memory_format=form)
    images, gradient = (
        torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=form) for a in (x, dy)
    )
    if not training:

        def infer() -> Any:
            with torch.inference_mode():
                return module(images).permute(0, 2, 3, 1)

        return infer
    images.requires_grad_()

    def train() -> Any:
        module.zero_grad()
        images.grad = None
        module(images).backward(gradient)
        return images.grad.permute(0, 2, 3, 1)

    return train


def _torch_default(s: Shape, threads: int, training: bool) -> Callable[[], Any]:
    return _torch(s, threads, training, "contiguous_format")


def _torch_channels_last(s: Shape, threads: int, training: bool) -> Callable[[], Any]:
    return _torch(s, threads, training, "channels_last")


def _onnxruntime(s: Shape, threads: int, training: bool) -> Callable[[], Any]:
    if training:
        pytest.skip("onnxruntime runs models, it does not train them")
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    x, layer, _ = _arrays(s)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node(
        "Conv",
        ["x", "weight", "bias"],
        ["y"],
        kernel_shape=[s.k, s.k],
        strides=[s.stride, s.stride],
        pads=[s.padding] * 4,
        group=s.groups,
    )
    graph = helper.make_graph(
        [node],
        "conv",
        [helper.make_tensor_value_info("x", kind, [s.N, s.C, s.H, s.W])],
        [helper.make_tensor_value_info("y", kind, None)],
        [onnx.numpy_helper.from_array(a.copy(), name) for name, a in layer.parameters.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(model.SerializeToString(), options)
    feed = {"x": np.ascontiguousarray(x.transpose(0, 3, 1, 2))}
    return lambda: session.run(None, feed)[0].transpose(0, 2, 3, 1)


@pytest.mark.parametrize("make", [_ours, _torch_default, _torch_channels_last, _onnxruntime])
@pytest.mark.parametrize("training", [False, True], ids=["forward", "with gradients"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def bench_conv(
    benchmark: Any, shape: Shape, training: bool, make: Callable[..., Any], threads: int
) -> None:
    run = make(shape, threads, training)
    truth, result = (np.asarray(f()) for f in (_ours(shape, threads, training), run))
    # Sums of this many products in float32 on both sides.
    taps = shape.k**2 * (shape.outputs if training else shape.C)
    bound = 2 * taps * np.finfo(np.float32).eps * max(1.0, float(np.abs(truth).max()))
    assert np.abs(result - truth).max() <= bound
    benchmark.group = f"{shape}, {'with gradients' if training else 'forward'}"
    bench.wait_until_quiet()
    benchmark(run)
