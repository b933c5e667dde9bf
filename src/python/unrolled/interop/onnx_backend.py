"""ONNX's interface for backends: whole models, with the recurrent nodes on this package's kernels.

    from unrolled.interop import onnx_backend

    session = onnx_backend.prepare(onnx.load("model.onnx"))
    outputs = session.run([x])                       # or {"x": x}; once prepared, many times
    y, y_h = onnx_backend.run_node(node, [x, w, r])

The operators LSTM, GRU and RNN are complete: directions, activations with alpha and beta, clip,
layout, lengths, initial states, peepholes, coupled gates, both GRUs. All other operators
are those of `onnx.reference`, which is complete and not fast. Needs the extra [onnx].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._extras import import_extra
from ..layers._types import Array
from ._onnx_constants import array_of, graphs_of
from ._onnx_node import name_of
from ._onnx_operators import STATES
from ._onnx_run import NodeRunner

_onnx = import_extra("onnx", "onnx")
_base: Any = import_extra("onnx.backend.base", "onnx")
_reference = import_extra("onnx.reference", "onnx")
_OpRun: Any = import_extra("onnx.reference.op_run", "onnx").OpRun
_Backend: Any = _base.Backend
_BackendRep: Any = _base.BackendRep


class _Recurrent(_OpRun):  # type: ignore[misc]
    """A recurrent node among those of `onnx.reference`."""

    op_domain = ""

    #: Names of values that are the same in every run.
    constants: frozenset[str] = frozenset()

    def __init__(self, node: Any, run_params: Mapping[str, Any]) -> None:
        weights = {name for place, name in enumerate(node.input) if place in (1, 2, 3, 7) and name}
        self._runner = NodeRunner(
            node, run_params["opsets"][""], constant=weights <= self.constants
        )
        super().__init__(_with_named_outputs(node), run_params)

    def _run(self, *inputs: Array | None, **attributes: Any) -> tuple[Array, ...]:
        return self._runner(*inputs)[: len(self.onnx_node.output)]


def _operators(model: Any) -> list[type[_Recurrent]]:
    """The recurrent operators, as classes of their names, for one model."""
    graphs = list(graphs_of(model.graph))
    constants = {tensor.name for graph in graphs for tensor in graph.initializer}
    constants -= {each.name for graph in graphs for each in graph.input}  # which may be given
    own = {"constants": frozenset(constants)}
    return [type(name, (_Recurrent,), own) for name in STATES]


class UnrolledRep(_BackendRep):  # type: ignore[misc]
    """A model that is ready to run."""

    def __init__(self, model: Any) -> None:
        self._evaluator = _reference.ReferenceEvaluator(model, new_ops=_operators(model))
        given = {tensor.name for tensor in model.graph.initializer}
        self._inputs = [each for each in self._evaluator.input_names if each not in given]
        self._outputs = list(self._evaluator.output_names)

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Returns the model's outputs.

        Args:
            inputs: one array for each input of the model, in its order, or a mapping by name.

        Raises:
            ValueError: inputs are missing or too many, or do not fit a recurrent node.
        """
        if not isinstance(inputs, Mapping):
            arrays = _listed(inputs)
            if len(arrays) != len(self._inputs):
                raise ValueError(f"[onnx] expected the inputs {self._inputs}, got {len(arrays)}")
            inputs = dict(zip(self._inputs, arrays, strict=True))
        if missing := [name for name in self._inputs if name not in inputs]:
            raise ValueError(f"[onnx] expected the inputs {self._inputs}, got none for {missing}")
        results = self._evaluator.run(None, dict(inputs))
        named = _base.namedtupledict("Outputs", self._outputs)
        outputs: tuple[Any, ...] = named(*results)
        return outputs


class UnrolledBackend(_Backend):  # type: ignore[misc]
    """`onnx.backend.base.Backend` on the CPU."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> UnrolledRep:
        """Returns a model ready to run.

        Raises:
            ValueError: it is no correct model, a node has impossible attributes, or the device is
                another one.
        """
        if not cls.supports_device(device):
            raise ValueError(f"[onnx] expected the device CPU, got {device}")
        _check(model)
        return UnrolledRep(model)

    @classmethod
    def run_node(
        cls,
        node: Any,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        *,
        opset_version: int | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Returns the outputs of one node.

        Args:
            node: an `onnx.NodeProto`.
            inputs: an array for each input that the node names.
            device: "CPU".
            outputs_info: not needed.
            opset_version: of the node's operator; None: the newest that is known.
        """
        opset = opset_version or _onnx.defs.onnx_opset_version()
        arrays = [np.asarray(each) for each in _listed(inputs)]
        names = list(dict.fromkeys(name for name in node.input if name))
        if len(arrays) != len(names):
            raise ValueError(f"{name_of(node)} expected {len(names)} inputs, got {len(arrays)}")
        helper = _onnx.helper
        values = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in zip(names, arrays, strict=True)
        ]
        outputs = [
            helper.make_tensor_value_info(name, _onnx.TensorProto.UNDEFINED, None)
            for name in node.output
            if name
        ]
        graph = helper.make_graph([node], "node", values, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        return UnrolledRep(model).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether models can run there: on the CPU alone."""
        return device.partition(":")[0].upper() == "CPU"


def _with_named_outputs(node: Any) -> Any:
    """A copy in which no output is "", by which later nodes say that an input is missing."""
    named = _onnx.NodeProto()
    named.CopyFrom(node)
    for place, name in enumerate(node.output):
        named.output[place] = name or f"{name_of(node)} unread {place}"
    return named


def _check(model: Any) -> None:
    """Raises ValueError if it is no correct model; `onnx.checker` does not look at all of it."""
    try:
        _onnx.checker.check_model(model)
    except _onnx.checker.ValidationError as error:
        raise ValueError(f"[onnx] it is no correct model: {error}") from error
    for graph in graphs_of(model.graph):
        for tensor in graph.initializer:
            array_of(tensor, "[onnx] it is no correct model")


def _listed(inputs: Any) -> list[Any]:
    return [inputs] if isinstance(inputs, np.ndarray) else list(inputs)


is_compatible = UnrolledBackend.is_compatible
prepare = UnrolledBackend.prepare
run_model = UnrolledBackend.run_model
run_node = UnrolledBackend.run_node
supports_device = UnrolledBackend.supports_device
