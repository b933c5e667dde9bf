"""An ONNX network gives its features, whatever its layout, batch and output; others are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tolerances import assert_close
from unrolled.models import EfficientNet
from unrolled.video import Normalisation

onnx = pytest.importorskip("onnx", reason='pip install "unrolled[onnx]"')
onnxruntime = pytest.importorskip("onnxruntime", reason='pip install "unrolled[onnx]"')

from unrolled.interop.onnx import export  # noqa: E402
from unrolled.interop.onnx_backbone import OnnxBackbone  # noqa: E402

F = 5
WEIGHT = np.random.default_rng(1).standard_normal((F, 3, 1, 1)).astype(np.float32)
NORMALISATION = Normalisation(np.float32([10, 20, 30]), np.float32([2, 4, 8]))


def saved(
    path: Path,
    shape: tuple[Any, ...] = ("n", 3, "h", "w"),
    *,
    last: str = "relu",
) -> Path:
    """One convolution of 1 x 1 and a relu; `last` "flat": means, "tokens": (N, HW, F)."""
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    first = shape[3] == 3
    nodes = [node("Transpose", ["images"], ["x"], perm=[0, 3, 1, 2])] if first else []
    nodes += [
        node("Conv", ["x" if first else "images", "weight"], ["conv"]),
        node("Relu", ["conv"], ["channels"]),
    ]
    if last == "relu":
        back = [0, 2, 3, 1] if first else [0, 1, 2, 3]
        nodes.append(node("Transpose", ["channels"], ["y"], perm=back))
    elif last == "flat":
        nodes.append(node("ReduceMean", ["channels"], ["y"], axes=[2, 3], keepdims=0))
    else:
        nodes += [
            node("Reshape", ["channels", "flattened"], ["rows"]),
            node("Transpose", ["rows"], ["y"], perm=[0, 2, 1]),
        ]
    return written(
        path,
        nodes,
        value("images", onnx.TensorProto.FLOAT, shape),
        value("y", onnx.TensorProto.FLOAT, None),
        weight=WEIGHT,
        flattened=np.array([0, 0, -1]),
    )


def written(path: Path, nodes: list[Any], x: Any, y: Any, **constants: np.ndarray) -> Path:
    values = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = onnx.helper.make_graph(nodes, "backbone", [x], [y], values)
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def expected(images: np.ndarray, *, relu: bool = True) -> np.ndarray:
    channels = images.astype(np.float64) @ WEIGHT[:, :, 0, 0].T.astype(np.float64)
    return (np.maximum(channels, 0) if relu else channels).mean(axis=(1, 2))


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((5, 4, 6, 3)).astype(np.float32)


@pytest.mark.parametrize("last", ["relu", "flat", "tokens"])
@pytest.mark.parametrize(
    "shape",
    [("n", 3, "h", "w"), ("n", "h", "w", 3), (1, 3, 4, 6), (2, 4, 6, 3)],
    ids=str,
)
def test_every_layout_and_batch(
    shape: tuple[Any, ...], last: str, images: np.ndarray, tmp_path: Path
) -> None:
    backbone = OnnxBackbone(saved(tmp_path / "m.onnx", shape, last=last))
    assert backbone.size == ((4, 6) if isinstance(shape[2], int) else None)
    assert backbone.output_size == F
    y = backbone(images)
    assert y.dtype == np.float32
    assert_close(y, expected(images), K=3 + 24, kind="peer")
    assert backbone(images[:0]).shape == (0, F)


def test_an_inner_value(images: np.ndarray, tmp_path: Path) -> None:
    backbone = OnnxBackbone(saved(tmp_path / "m.onnx", last="flat"), output="conv")
    assert_close(backbone(images), expected(images, relu=False), K=27, kind="peer")


def test_many_images_and_one_are_the_same(rng: np.random.Generator, tmp_path: Path) -> None:
    backbone = OnnxBackbone(saved(tmp_path / "m.onnx"))
    images = rng.standard_normal((19, 3, 3, 3)).astype(np.float32)
    assert_close(
        backbone(images), np.concatenate([backbone(each[None]) for each in images]), K=12,
        kind="peer",
    )  # fmt: skip


def test_its_normalisation_makes_what_it_reads(rng: np.random.Generator, tmp_path: Path) -> None:
    pixels = rng.integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    backbone = OnnxBackbone(saved(tmp_path / "m.onnx"), normalisation=NORMALISATION)
    y = backbone(backbone.normalisation(pixels))
    assert_close(y, expected((pixels - np.float64([10, 20, 30])) / [2, 4, 8]), K=15, kind="peer")


def test_identity_is_of_all_that_features_depend_on(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx")
    other = saved(tmp_path / "other.onnx", last="flat")
    backbones = [
        OnnxBackbone(path),
        OnnxBackbone(path, normalisation=NORMALISATION),
        OnnxBackbone(path, output="conv"),
        OnnxBackbone(other),
    ]
    assert len({each.identity for each in backbones}) == 4
    copied = tmp_path / "copied.onnx"
    copied.write_bytes(path.read_bytes())
    assert OnnxBackbone(copied).identity == backbones[0].identity


def test_images_that_do_not_fit(images: np.ndarray, tmp_path: Path) -> None:
    backbone = OnnxBackbone(saved(tmp_path / "m.onnx", (1, 3, 4, 6)))
    with pytest.raises(ValueError, match=r"\(H, W\) = \(4, 6\), got \(3, 6\)"):
        backbone(images[:, :3])
    with pytest.raises(ValueError, match=r"\(N, H, W, 3\), got \(4, 6, 3\)"):
        backbone(images[0])
    with pytest.raises(TypeError, match="float32, got float64"):
        backbone(images.astype(np.float64))


def test_models_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(FileNotFoundError):
        OnnxBackbone(path)
    path.write_bytes(b"no model")
    with pytest.raises(ValueError, match="is no model that runs"):
        OnnxBackbone(path)
    with pytest.raises(ValueError, match=r"no value is named 'z'; the last ones are .*conv"):
        OnnxBackbone(saved(path), output="z")
    with pytest.raises(ValueError, match="give the layout"):
        OnnxBackbone(saved(path, (1, 3, 9, 3)))
    assert OnnxBackbone(saved(path, ("n", "c", "h", "w")), layout="channels_first").size is None
    with pytest.raises(ValueError, match="is not channels_last"):
        OnnxBackbone(saved(path, (1, 3, 9, 9)), layout="channels_last")
    with pytest.raises(ValueError, match="expected a layout of"):
        OnnxBackbone(saved(path), layout="first")  # type: ignore[arg-type]
    for kind, shape in ((onnx.TensorProto.DOUBLE, (1, 3, 9, 9)), (onnx.TensorProto.FLOAT, (1, 3))):
        x, y = (onnx.helper.make_tensor_value_info(name, kind, shape) for name in "xy")
        with pytest.raises(ValueError, match="float32 with four axes"):
            OnnxBackbone(written(path, [onnx.helper.make_node("Relu", ["x"], ["y"])], x, y))


@pytest.mark.parametrize("first", [0, 2])
def test_an_exported_network_is_itself(
    first: int, rng: np.random.Generator, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"width": 0.1, "depth": 0.6, "stem": 4, "features": 7, "classes": 5}
    model = EfficientNet(**options, first=first, rng=rng)
    for array in model.parameters.values():
        if array.ndim == 1:  # norms that do something
            array[:] = rng.uniform(0.5, 1.0, array.shape)
    export(model, tmp_path / "m.onnx")
    images = rng.standard_normal((3, 37, 30, model.channels)).astype(np.float32)
    K = sum(each[0].size for each in model.parameters.values() if each.ndim > 1)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    features, logits = session.run(None, {"images": images.transpose(0, 3, 1, 2)})
    assert_close(model(images), features, K=K, kind="peer")
    assert_close(model.logits(images), logits, K=K, kind="peer")
    if first == 0:
        backbone = OnnxBackbone(tmp_path / "m.onnx", output="features")
        assert_close(backbone(images), model(images), K=K, kind="peer")
