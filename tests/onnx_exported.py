"""A layer or model as an ONNX file, and what ONNX Runtime makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from onnx_nodes import run_runtime
from unrolled.interop.onnx import export
from unrolled.layers import Layer


class Exported:
    """A model as a file, checked, and run in ONNX Runtime by the names of its outputs."""

    def __init__(self, model: Layer, folder: Path, **options: Any) -> None:
        import onnx

        self.path = folder / "model.onnx"
        export(model, self.path, **options)
        self.proto = onnx.load(self.path)
        onnx.checker.check_model(self.proto, full_check=True)
        self.inputs = [each.name for each in self.proto.graph.input]
        self.outputs = [each.name for each in self.proto.graph.output]

    def __call__(self, **feed: np.ndarray) -> dict[str, np.ndarray]:
        import onnxruntime

        assert sorted(feed) == sorted(self.inputs)
        results = run_runtime(onnxruntime, self.proto, feed)
        return dict(zip(self.outputs, results, strict=True))
