"""Models of other libraries, damaged: ONNX's, and torch's files."""

from __future__ import annotations

import io
import tempfile
import traceback
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from native.source import FLOATS, INTEGERS, Source
from unrolled.interop import onnx as interop
from unrolled.interop import onnx_backend
from unrolled.interop.torch_file import read_state_dict

_I, _H = 3, 4
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_NAMES = ("Sigmoid", "Tanh", "Relu", "Affine", "HardSigmoid", "Elu", "Softplus", "Gelu")


def _node(source: Source) -> Any:
    """A model of one recurrent node whose W is a constant, or sliced out of one."""
    op_type = source.choice(sorted(_GATES))
    rows = _GATES[op_type] * _H
    directions = source.integer(1, 2)
    rng = np.random.default_rng(0)
    shapes = {"wide": (directions, rows, _I + 1), "R": (directions, rows, _H),
              "B": (directions, 2 * rows), "P": (directions, 3 * _H)}  # fmt: skip
    constants = {
        name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }
    constants |= {"W": constants["wide"][..., :_I].copy(), "from": np.array([0]),
                  "to": np.array([_I]), "axis": np.array([2])}  # fmt: skip
    w, nodes = "W", []
    if source.one_in(3):
        w = "cut"
        nodes = [onnx.helper.make_node("Slice", ["wide", "from", "to", "axis"], ["cut"])]
    names = ["X", w, "R", source.choice(("B", "")), "", "", "", "P"]
    attributes: dict[str, Any] = {"hidden_size": _H}
    if directions == 2:
        attributes["direction"] = "bidirectional"
    if source.one_in(2):
        count = {"LSTM": 3, "GRU": 2, "RNN": 1}[op_type] * directions
        attributes["activations"] = [source.choice(_NAMES) for _ in range(count)]
    if source.one_in(3):
        attributes["clip"] = float(source.choice(FLOATS))
    names = names if op_type == "LSTM" and source.one_in(2) else names[:4]
    nodes.append(onnx.helper.make_node(op_type, names, ["Y"], **attributes))
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [value("X", onnx.TensorProto.FLOAT, ("T", "B", _I))],
        [value("Y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = source.choice((17, 22, 14, 7))
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])


def _change(source: Source, model: Any) -> None:
    """One thing of the graph becomes another of its kind."""
    what = source.integer(0, 4)
    node = source.choice(list(model.graph.node))
    tensor = source.choice(list(model.graph.initializer))
    if what == 0 and node.input:
        names = [*(each.name for each in model.graph.initializer), "X", "Y", "nowhere", ""]
        node.input[source.integer(0, len(node.input) - 1)] = source.choice(names)
    elif what == 1 and node.attribute:
        attribute = source.choice(list(node.attribute))
        attribute.i = source.choice([n for n in INTEGERS if -(2**63) <= n < 2**63])
        attribute.f = source.choice([f for f in FLOATS if abs(f) < 1e38 or f != f])
        attribute.s = source.bytes(4)
        attribute.type = source.integer(0, 12)
    elif what == 2 and tensor.dims:
        sizes = [n for n in INTEGERS if -(2**63) <= n < 2**63]
        tensor.dims[source.integer(0, len(tensor.dims) - 1)] = source.choice(sizes)
    elif what == 3:
        tensor.data_type = source.integer(0, 24)
    elif what == 4:
        model.opset_import[0].version = source.integer(0, 40)


def fuzz_onnx(source: Source) -> None:
    """What is no model is a ValueError; what becomes a layer runs, and the backend agrees."""
    model = _node(source)
    for _ in range(source.integer(0, 2)):
        _change(source, model)
    data = model.SerializeToString()
    if source.one_in(2):
        data = source.damaged(data)
    try:
        nodes = interop.recurrent_nodes(data)
    except ValueError:
        return
    for node in nodes:
        layer = getattr(node.layer, "layer", node.layer)
        if layer.input_size > 64 or layer.hidden_size > 64:
            continue
        x = np.ones((2, 2, layer.input_size), layer.dtype)
        node.layer(x)
    try:
        whole = onnx_backend.prepare(onnx.load_model_from_string(data))
        whole.run([np.ones((2, 2, _I), np.float32)])
    except (ValueError, TypeError):
        return
    except Exception as error:  # of onnx.reference, which runs all other nodes
        if "unrolled" in Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts:
            raise


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="unrolled-fuzz-"))


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _pickle() -> bytes:
    """{"weight": a tensor (2, 3)}, as torch.save writes it."""
    storage = (
        b"(X\x07\x00\x00\x00storage" + _global("torch", "FloatStorage")
        + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ"
    )  # fmt: skip
    tensor = (
        _global("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + b"K\x00K\x02K\x03\x86"
        + b"K\x03K\x01\x86\x89" + _global("collections", "OrderedDict") + b")RtR"
    )  # fmt: skip
    return b"\x80\x02}X\x06\x00\x00\x00weight" + tensor + b"s."


def fuzz_torch_file(source: Source) -> None:
    """What is no file of tensors is a ValueError; nothing of it runs."""
    described = _pickle()
    if source.one_in(2):
        described = source.damaged(described)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", described)
        archive.writestr("archive/data/0", np.arange(6, dtype=np.float32).tobytes())
        archive.writestr("archive/byteorder", source.choice(("little", "big")))
    data = file.getvalue()
    path = _folder() / "changed.pth"
    path.write_bytes(source.damaged(data) if source.one_in(2) else data)
    try:
        arrays = read_state_dict(path)
    except ValueError:
        return
    for array in arrays.values():
        assert array.size * array.itemsize <= 2**20 or 0 in array.strides
        array.sum()
