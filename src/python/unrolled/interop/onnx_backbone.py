"""Any image network in an ONNX file as a frozen extractor of features.

    from unrolled.interop.onnx_backbone import OnnxBackbone

    backbone = OnnxBackbone("mobilenet.onnx", output="features")
    features = backbone(backbone.normalisation(pixels))     # (N, H, W, 3) of bytes to (N, F)

ONNX Runtime computes it. Needs the extra [onnx].
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from .. import functional
from .._extras import import_extra
from ..layers._types import Array
from ..video import Normalisation, imagenet_normalisation

#: Order of the axes of images and of what is computed from them.
Layout: TypeAlias = Literal["channels_first", "channels_last"]

#: Images that go through the network at once, where its batch is free: bounds the memory.
_BATCH = 16


class OnnxBackbone:
    """An ONNX network from images to features; it is not trained.

    What it computes is pooled to one row an image: (N, F) stays as it is, of (N, tokens, F) the
    mean over tokens is taken, of four axes, in the input's order, the mean over height and width.

    Shapes: N images, H and W, F features.

    Args:
        model: the file; its weights are in it, not beside it.
        normalisation: what the network was trained with; None: `imagenet_normalisation`.
        output: the value of the graph that is taken, an inner one too (which needs no more than its
            name); None: the last output.
        layout: order of the axes; None: read from the input's shape.

    Attributes:
        normalisation: makes pixels (N, H, W, 3) what `__call__` takes.
        size: (H, W) that the network insists on, or None: any.
        output_size: F.
        identity: sha256 of the file, the output and the normalisation, in hexadecimal: a cache of
            features belongs to it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no ONNX network that reads one array of images as float32, has no such
            output, or its layout cannot be told.
        ImportError: the extra [onnx] is not installed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        normalisation: Normalisation | None = None,
        output: str | None = None,
        layout: Layout | None = None,
    ) -> None:
        self._where = f"[OnnxBackbone] {os.fspath(model)}"
        data = Path(model).read_bytes()
        self.normalisation = normalisation or imagenet_normalisation()
        self._session = self._opened(data, output)
        outputs = self._session.get_outputs()
        chosen = next((each for each in outputs if each.name == output), outputs[-1])
        self._output = str(chosen.name)
        images, *others = self._session.get_inputs()
        if others or images.type != "tensor(float)" or len(images.shape) != 4:
            given = ", ".join(f"{each.name} {each.type} {each.shape}" for each in [images, *others])
            raise ValueError(
                f"{self._where}: expected one input of images as float32 with four axes, "
                f"got {given}"
            )
        self._input = str(images.name)
        self._layout = self._layout_of(images.shape, layout)
        sides = images.shape[2:] if self._layout == "channels_first" else images.shape[1:3]
        if isinstance(sides[0], int) != isinstance(sides[1], int):
            raise ValueError(f"{self._where}: one side of its images is free of {list(sides)}")
        self.size: tuple[int, int] | None = None
        if isinstance(sides[0], int):
            self.size = sides[0], sides[1]
        self._batch = images.shape[0] if isinstance(images.shape[0], int) else None
        identity = hashlib.sha256(data)
        read = (self._output, self._layout, self.normalisation.to_json())
        identity.update(json.dumps(read).encode())
        self.identity = identity.hexdigest()
        self.output_size = self._features()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.output_size} features, size={self.size})"

    def __call__(self, images: Array) -> Array:
        """Returns the features (N, F) of normalised images (N, H, W, 3) in float32.

        Raises:
            ValueError: another shape, or a size that the network does not take.
            TypeError: another dtype.
        """
        if images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(
                f"{self._where}: expected images of shape (N, H, W, 3), got {images.shape}"
            )
        if images.dtype != np.float32:
            raise TypeError(
                f"{self._where}: expected normalised images of dtype float32, got {images.dtype}"
            )
        if self.size is not None and images.shape[1:3] != self.size:
            raise ValueError(
                f"{self._where}: expected images of (H, W) = {self.size}, got {images.shape[1:3]}"
            )
        if not len(images):
            return np.empty((0, self.output_size), np.float32)
        step = self._batch or _BATCH
        return np.concatenate(
            [self._run(images[start : start + step]) for start in range(0, len(images), step)]
        )

    def _run(self, images: Array) -> Array:
        count = len(images)
        if self._batch is not None and count < self._batch:
            rest = np.zeros((self._batch - count, *images.shape[1:]), images.dtype)
            images = np.concatenate([images, rest])
        if self._layout == "channels_first":
            images = images.transpose(0, 3, 1, 2)
        values = np.ascontiguousarray(images)
        try:
            y = self._session.run([self._output], {self._input: values})[0]
        except _failures() as error:
            raise ValueError(
                f"{self._where} does not take images of {images.shape}: {error}"
            ) from error
        if y.ndim not in (2, 3, 4) or len(y) != len(images):
            raise ValueError(
                f"{self._where}: expected {self._output} as (N, F), (N, tokens, F) or with height "
                f"and width, got {y.shape} of {len(images)} images"
            )
        first = y.ndim == 4 and self._layout == "channels_first"
        pooled = y.mean(axis=tuple(range(1, y.ndim - 1)) if not first else (2, 3))
        result: Array = pooled[:count].astype(np.float32, copy=False)
        return result

    def _features(self) -> int:
        """F, of one image of zeros: shapes in files are often free."""
        height, width = self.size or (224, 224)
        return int(self._run(np.zeros((1, height, width, 3), np.float32)).shape[1])

    def _layout_of(self, shape: Sequence[Any], layout: Layout | None) -> Layout:
        colours: dict[Layout, Any] = {"channels_first": shape[1], "channels_last": shape[3]}
        if layout is None:
            named: list[Layout] = [each for each, size in colours.items() if size == 3]
            if len(named) != 1:
                raise ValueError(
                    f"{self._where}: the shape of its input {list(shape)} does not say where the "
                    "three colours are: give the layout"
                )
            return named[0]
        if layout not in colours:
            raise ValueError(f"{self._where}: expected a layout of {list(colours)}, got {layout!r}")
        if isinstance(colours[layout], int) and colours[layout] != 3:
            raise ValueError(f"{self._where}: its input {list(shape)} is not {layout}")
        return layout

    def _opened(self, data: bytes, output: str | None) -> Any:
        session = self._session_of(data)
        if output is None or output in [each.name for each in session.get_outputs()]:
            return session
        onnx = import_extra("onnx", "onnx")
        proto = onnx.load_model_from_string(data)
        inner = [name for node in proto.graph.node for name in node.output if name]
        if output not in inner:
            raise ValueError(
                f"{self._where}: no value is named {output!r}; the last ones are {inner[-8:]}"
            )
        proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
        return self._session_of(proto.SerializeToString())

    def _session_of(self, data: bytes) -> Any:
        runtime = import_extra("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = functional.get_num_threads()
        options.log_severity_level = 3  # its warnings of models are no news to their user
        try:
            return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except _failures() as error:
            raise ValueError(f"{self._where} is no model that runs: {error}") from error


def _failures() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: classes of its own, without a base."""
    state = import_extra("onnxruntime.capi.onnxruntime_pybind11_state", "onnx")
    kinds = [each for each in vars(state).values() if isinstance(each, type)]
    return tuple(each for each in kinds if issubclass(each, Exception))
