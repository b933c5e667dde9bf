"""Values of an ONNX model that are the same in every run."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._extras import import_extra
from ..layers._types import Array

#: The errors of computing with values of another kind or size than a model promises.
_WRONG = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def graphs_of(graph: Any) -> Iterator[Any]:
    """Yields a graph and all graphs inside its nodes, as the branches of an If."""
    yield graph
    for node in graph.node:
        for inner in _inner(node):
            yield from graphs_of(inner)


def _inner(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def array_of(tensor: Any, where: str) -> Any:
    """Returns the array of a constant, whose sizes and type are not trusted.

    Raises:
        ValueError: it is stored in another file, or its sizes are not those of its data.
    """
    onnx = import_extra("onnx", "onnx")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ValueError(
            f"{where}: {tensor.name} is stored in another file; give the result of onnx.load"
        )
    if any(size < 0 for size in tensor.dims):
        raise ValueError(f"{where}: {tensor.name} has the sizes {list(tensor.dims)}")
    try:
        return onnx.numpy_helper.to_array(tensor)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: {tensor.name} is damaged: {error}") from error


class Constants:
    """The constants of a model, and what it computes from them.

    Exporters write weights as initializers, as Constant nodes, or as slices and transposes of
    either; the nodes between are run by `onnx.reference`, once.

    Args:
        proto: an `onnx.ModelProto`.
    """

    def __init__(self, proto: Any) -> None:
        self._opsets = list(proto.opset_import)
        self._initializers: dict[str, Any] = {}
        self._nodes: dict[str, Any] = {}  # by the values that they write
        for graph in graphs_of(proto.graph):
            self._initializers.update({tensor.name: tensor for tensor in graph.initializer})
            self._nodes.update({name: node for node in graph.node for name in node.output if name})

    def known(self, name: str) -> bool:
        """Whether a value is stored in the model; what it computes is not looked through."""
        return name in self._initializers or (
            name in self._nodes and self._nodes[name].op_type == "Constant"
        )

    def value(self, name: str, where: str) -> Array:
        """Returns a float array by its name in the graph.

        Raises:
            ValueError: it depends on the model's inputs, or is no float array.
        """
        if name in self._initializers:
            result = array_of(self._initializers[name], where)
        else:
            result = self._computed(name, where)
        if result.dtype not in (np.float32, np.float64):
            raise ValueError(f"{where}: expected {name} as float32 or float64, got {result.dtype}")
        array: Array = result
        return array

    def _computed(self, name: str, where: str) -> Any:
        onnx, reference = (import_extra(each, "onnx") for each in ("onnx", "onnx.reference"))
        nodes, read = self._needed(name, where)
        graph = onnx.helper.make_graph(
            nodes,
            "constants",
            [],
            [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None)],
            [self._initializers[each] for each in read if each in self._initializers],
        )
        model = onnx.helper.make_model(graph, opset_imports=self._opsets)
        try:
            return reference.ReferenceEvaluator(model).run(None, {})[0]
        except _WRONG as error:
            raise ValueError(f"{where}: {name} cannot be computed: {error}") from error

    def _needed(self, name: str, where: str) -> tuple[list[Any], set[str]]:
        """The nodes that make a value, those that are read before those that read them."""
        ordered: list[Any] = []
        seen: set[str] = set()
        # A stack rather than recursion: graphs are deep. The second visit of a name puts its node
        # behind those that it reads.
        stack = [(name, False)]
        while stack:
            value, visited = stack.pop()
            if visited:
                ordered.append(self._nodes[value])
            elif value in self._nodes and value not in seen:
                seen.update(self._nodes[value].output)
                stack.append((value, True))
                stack += [(each, False) for each in _read_by(self._nodes[value])]
            elif value in self._initializers:
                seen.add(value)
            elif value not in seen:
                raise ValueError(f"{where}: {name} depends on {value}, which is no constant")
        return ordered, seen


def _read_by(node: Any) -> set[str]:
    """The values that a node reads, those that its inner graphs take from outside included."""
    names = {name for name in node.input if name}
    for graph in _inner(node):
        made = {tensor.name for tensor in graph.initializer} | {item.name for item in graph.input}
        made |= {name for each in graph.node for name in each.output}
        names |= {name for each in graph.node for name in _read_by(each)} - made
        names |= {item.name for item in graph.output} - made
    return names
