"""An ONNX model as it is written: inputs, nodes, constants, outputs."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from .._extras import import_extra
from ..layers._types import Array

#: Sizes of an array; a letter for a size that is free.
Shape: TypeAlias = Sequence["int | str"]

_OPSET, _IR_VERSION = 17, 8


class Graph:
    """Nodes are added in the order in which they run; values are known by their names.

    Args:
        name: of the model.
        dtype: of all numbers that are not whole.
    """

    def __init__(self, name: str, dtype: np.dtype[Any]) -> None:
        self._onnx = import_extra("onnx", "onnx")
        self.dtype = dtype
        self._name = name
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._count = 0

    def input(self, name: str, shape: Shape, *, whole: bool = False) -> str:
        """An input; `whole` are numbers as int64."""
        self._inputs.append(self._value(name, shape, whole))
        return name

    def output(self, value: str, name: str, shape: Shape, *, whole: bool = False) -> None:
        """Makes a value an output of this name."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._value(name, shape, whole))

    def constant(self, value: Any, name: str = "") -> str:
        """A constant: whole numbers as int64, all others in the graph's dtype."""
        array = np.asarray(value)
        kind = np.int64 if array.dtype.kind in "iu" else self.dtype
        name = name or f"constant_{len(self._constants)}"
        data = np.ascontiguousarray(array, kind).reshape(array.shape)
        self._constants[name] = self._onnx.numpy_helper.from_array(data, name)
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output, whose name is returned."""
        return self.nodes(operator, inputs, 1, **attributes)[0]

    def nodes(
        self, operator: str, inputs: Iterable[str], outputs: int, **attributes: Any
    ) -> list[str]:
        """A node with several outputs."""
        self._count += 1
        stem = f"{operator.lower()}_{self._count}"
        names = [stem if outputs == 1 else f"{stem}_{place}" for place in range(outputs)]
        self._nodes.append(
            self._onnx.helper.make_node(operator, list(inputs), names, stem, **attributes)
        )
        return names

    def to_float(self, value: str) -> str:
        """Whole numbers as those of the graph's dtype."""
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(self.dtype)
        return self.node("Cast", value, to=kind)

    def to_int32(self, value: str) -> str:
        """Whole numbers as ONNX wants lengths."""
        return self.node("Cast", value, to=self._onnx.TensorProto.INT32)

    def size(self, value: str, axis: int) -> str:
        """The size of an axis, as an array of one number."""
        return self.node("Shape", value, start=axis, end=axis + 1)

    def squeeze(self, value: str, axis: int) -> str:
        """Without an axis of size 1."""
        return self.node("Squeeze", value, self.constant([axis]))

    def unsqueeze(self, value: str, axis: int) -> str:
        """With a new axis of size 1."""
        return self.node("Unsqueeze", value, self.constant([axis]))

    def reshape(self, value: str, *sizes: int) -> str:
        """In another shape; 0 keeps the size that the axis has, -1 is what is left."""
        return self.node("Reshape", value, self.constant(sizes))

    def slice(self, value: str, axis: int, begin: int, end: str | int, step: int = 1) -> str:
        """A part of an axis; negative places count from the end."""
        stop = end if isinstance(end, str) else self.constant([end])
        return self.node(
            "Slice", value, self.constant([begin]), stop, self.constant([axis]),
            self.constant([step]),
        )  # fmt: skip

    def range(self, count: str) -> str:
        """The whole numbers below a count, which is an array of one number."""
        end = self.squeeze(count, 0)
        return self.node("Range", self.constant(0), end, self.constant(1))

    def data(self) -> bytes:
        """The model in ONNX's format."""
        helper = self._onnx.helper
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, list(self._constants.values())
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="unrolled",
        )
        data: bytes = model.SerializeToString()
        return data

    def _value(self, name: str, shape: Shape, whole: bool) -> Any:
        helper = self._onnx.helper
        dtype = np.dtype(np.int64) if whole else self.dtype
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        return helper.make_tensor_value_info(name, kind, list(shape))


def weights(graph: Graph, owner: str, name: str, array: Array) -> str:
    """A parameter as a constant under the name that it has in the model."""
    return graph.constant(array, f"{owner}.{name}" if owner else name)
