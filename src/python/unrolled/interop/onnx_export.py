"""Networks for images as ONNX models.

    from unrolled.interop.onnx_export import export_onnx

    export_onnx(network.model, "network.onnx")      # and OnnxBackbone("network.onnx") reads it

Needs the extra [onnx].
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from .._extras import import_extra
from ..layers._types import Array
from ..models import EfficientNet
from ..models._conv_norm import ConvNorm
from ..models._mbconv import MBConv

_OPSET, _IR_VERSION = 17, 8


def export_onnx(model: EfficientNet, path: str | os.PathLike[str]) -> None:
    """Writes a network for inference, with its norms within its convolutions.

    The model reads `images` (N, C, H, W), as ONNX has them, and writes `features` (N, F) and, if
    there is a classifier, `logits` (N, V).

    Raises:
        ImportError: the extra [onnx] is not installed.
    """
    graph = _Graph(np.dtype(model.dtype))
    x = "images"
    for number, part in enumerate(model._parts[:-1]):
        if isinstance(part, MBConv):
            y = x
            for place, layer in enumerate(part._layers):
                y = graph.conv(f"part{number}.{place}", layer, y)
            x = graph.node("Add", [y, x], f"part{number}.sum") if part.residual else y
        else:
            x = graph.conv(f"part{number}", part, x)
    x = graph.node("GlobalAveragePool", [x], "mean")
    outputs = {graph.node("Flatten", [x], "features"): model.output_size}
    if model.classifier is not None:
        weight, bias = (model.classifier.parameters[name] for name in ("weight", "bias"))
        names = [graph.constant("classifier.weight", weight), graph.constant("bias", bias)]
        logits = graph.node("Gemm", ["features", *names], "logits", transB=1)
        outputs[logits] = model.classifier.output_size
    Path(path).write_bytes(graph.model(("N", model.channels, "H", "W"), outputs))


class _Graph:
    """Nodes and constants as they are added."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._onnx = import_extra("onnx", "onnx")
        self._dtype = dtype
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        limits = (("zero", 0), ("six", 6))
        self._limits = [self.constant(name, np.array(value, dtype)) for name, value in limits]

    def constant(self, name: str, value: Array) -> str:
        array = np.ascontiguousarray(value, self._dtype).reshape(value.shape)
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [output], **attributes))
        return output

    def conv(self, name: str, layer: ConvNorm, x: str) -> str:
        """A convolution with its norm, and the activation where there is one."""
        scale, shift = layer.norm.scale_and_shift()
        weight = layer.conv.parameters["weight"] * scale[:, None, None, None]
        constants = [
            self.constant(f"{name}.weight", weight),
            self.constant(f"{name}.bias", shift),
        ]
        windows = layer.conv.windows
        y = self.node(
            "Conv",
            [x, *constants],
            name,
            auto_pad="SAME_UPPER",
            kernel_shape=windows.kernel,
            strides=windows.stride,
            group=layer.conv.groups,
        )
        if layer.norm.activation == "none":
            return y
        return self.node("Clip", [y, *self._limits], f"{name}.relu6")

    def model(self, shape: tuple[Any, ...], outputs: dict[str, int]) -> bytes:
        helper = self._onnx.helper
        kind = helper.np_dtype_to_tensor_dtype(self._dtype)
        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info("images", kind, shape)],
            [helper.make_tensor_value_info(name, kind, ("N", n)) for name, n in outputs.items()],
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        data: bytes = model.SerializeToString()
        return data
