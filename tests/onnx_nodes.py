"""Models of one recurrent node with random weights, and what ONNX Runtime makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")

#: Functions by the parameters that they have.
ALPHA = ("Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu")
BETA = ("Affine", "ScaledTanh", "HardSigmoid")
BOUNDED = ("Sigmoid", "Tanh", "HardSigmoid", "ScaledTanh", "Softsign")
ACTIVATIONS = (*BOUNDED, "Relu", "Affine", "LeakyRelu", "ThresholdedRelu", "Elu", "Softplus")


def make_arrays(
    rng: np.random.Generator,
    op_type: str,
    directions: int,
    sizes: tuple[int, int, int, int],
    *,
    without: tuple[str, ...] = (),
    lengths: Any = None,
) -> dict[str, np.ndarray]:
    """Random inputs of a node by name, of order 1; sizes T, B, I, H."""
    steps, batch, inputs, hidden = sizes
    rows = GATES[op_type] * hidden
    shapes = {
        "X": (steps, batch, inputs),
        "W": (directions, rows, inputs),
        "R": (directions, rows, hidden),
        "B": (directions, 2 * rows),
        "initial_h": (directions, batch, hidden),
    }
    if op_type == "LSTM":
        shapes |= {"initial_c": (directions, batch, hidden), "P": (directions, 3 * hidden)}
    arrays = {
        name: rng.standard_normal(shape, np.float32) / (2 if name in "RPB" else 1)
        for name, shape in shapes.items()
        if name not in without
    }
    if lengths is not None:
        arrays["sequence_lens"] = np.asarray(lengths, np.int32)
    return arrays


def single(value: float) -> float:
    """The value as an attribute holds it."""
    return float(np.float32(value))


def parameters_of(rng: np.random.Generator, names: list[str]) -> dict[str, Any]:
    """The attributes of activations with values for all parameters."""
    attributes: dict[str, Any] = {"activations": names}
    for kind, takers in (("alpha", ALPHA), ("beta", BETA)):
        if values := [single(rng.uniform(0.2, 0.9)) for name in names if name in takers]:
            attributes[f"activation_{kind}"] = values
    return attributes


def make_model(
    onnx: Any, op_type: str, arrays: dict[str, np.ndarray], *, opset: int = 17, **attributes: Any
) -> Any:
    """A model of one node that reads X, everything else being a constant."""
    helper = onnx.helper
    names = [name if name in arrays else "" for name in INPUTS]
    while not names[-1]:
        names.pop()
    outputs = ("Y", "Y_h", "Y_c")[: 1 + STATES[op_type]]
    kind = helper.np_dtype_to_tensor_dtype(arrays["X"].dtype)
    letters = {"Y": ("T", "D", "B", "H"), "Y_h": ("D", "B", "H"), "Y_c": ("D", "B", "H")}
    if attributes.get("layout"):
        letters = {"Y": ("B", "T", "D", "H"), "Y_h": ("B", "D", "H"), "Y_c": ("B", "D", "H")}
    graph = helper.make_graph(
        [helper.make_node(op_type, names, outputs, "node", **attributes)],
        "graph",
        [helper.make_tensor_value_info("X", kind, ("a", "b", arrays["X"].shape[2]))],
        [helper.make_tensor_value_info(name, kind, letters[name]) for name in outputs],
        [
            onnx.numpy_helper.from_array(array, name)
            for name, array in arrays.items()
            if name != "X"
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run_runtime(onnxruntime: Any, model: Any, feed: dict[str, Any]) -> list[Any]:
    """The outputs of a model, or of its bytes, in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def roundings(sizes: tuple[int, int, int, int], op_type: str) -> int:
    """K of `tolerances.assert_close` for the sizes T, B, I, H of a node."""
    steps, _, inputs, hidden = sizes
    return steps * (inputs + hidden + GATES[op_type])
