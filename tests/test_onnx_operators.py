"""Every option of ONNX's recurrent operators, beside ONNX Runtime and beside plain loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import onnx_nodes as nodes
from onnx_loops import by_loops
from tolerances import assert_close, assert_same_bits

onnx = pytest.importorskip("onnx", reason="onnx comes with the extra [onnx]")
from unrolled import functional  # noqa: E402
from unrolled.interop import onnx as interop  # noqa: E402
from unrolled.interop import onnx_backend as backend  # noqa: E402

SIZES = 5, 4, 3, 7  # T, B, I, H
OPERATORS = list(nodes.GATES)
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


@pytest.fixture
def runtime() -> Any:
    return pytest.importorskip("onnxruntime", reason="onnxruntime comes with the extra [peers]")


def ours(op_type: str, arrays: dict[str, np.ndarray], **attributes: Any) -> tuple[Any, ...]:
    model = nodes.make_model(onnx, op_type, arrays, **attributes)
    return backend.prepare(model).run({"X": arrays["X"]})


def compare(actual: Any, expected: Any, op_type: str, kind: str, sizes: Any = SIZES) -> None:
    assert len(actual) == len(expected)
    for what, one, other in zip(("Y", "Y_h", "Y_c"), actual, expected, strict=False):
        assert_close(one, other, K=nodes.roundings(sizes, op_type), kind=kind, what=what)


def drawn_options(rng: np.random.Generator, op_type: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Attributes, and what `make_arrays` takes, of any combination of options."""
    direction = str(rng.choice(list(DIRECTIONS)))
    attributes: dict[str, Any] = {"direction": direction}
    if rng.random() < 0.7:
        names: list[str] = []
        for _ in range(DIRECTIONS[direction]):  # unbounded gates would overflow
            names.append(str(rng.choice(nodes.BOUNDED)))
            names += [
                str(rng.choice(nodes.ACTIVATIONS)) for _ in range(nodes.FUNCTIONS[op_type] - 1)
            ]
        attributes |= nodes.parameters_of(rng, names)
    if rng.random() < 0.5:
        attributes["clip"] = nodes.single(rng.uniform(0.2, 2.0))
    if rng.random() < 0.5:
        option = {"LSTM": "input_forget", "GRU": "linear_before_reset"}.get(op_type)
        attributes |= {option: 1} if option else {}
    optional = ("B", "initial_h", "initial_c", "P")
    arrays: dict[str, Any] = {"without": tuple(n for n in optional if rng.random() < 0.4)}
    if rng.random() < 0.5:
        arrays["lengths"] = rng.integers(1, SIZES[0] + 1, SIZES[1])
    return attributes, arrays


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("op_type", OPERATORS)
def test_any_combination_beside_onnxruntime(op_type: str, seed: int, runtime: Any) -> None:
    rng = np.random.default_rng(seed)
    attributes, options = drawn_options(rng, op_type)
    arrays = nodes.make_arrays(rng, op_type, DIRECTIONS[attributes["direction"]], SIZES, **options)
    model = nodes.make_model(onnx, op_type, arrays, hidden_size=SIZES[3], **attributes)
    expected = nodes.run_runtime(runtime, model, {"X": arrays["X"]})
    compare(backend.prepare(model).run([arrays["X"]]), expected, op_type, "peer")


@pytest.mark.parametrize("name", nodes.ACTIVATIONS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_function_in_every_place(name: str, place: int, runtime: Any) -> None:
    rng = np.random.default_rng(place)
    names = ["Sigmoid", "Tanh", "Tanh"]
    names[place] = name
    sizes = 2, *SIZES[1:]
    arrays = nodes.make_arrays(rng, "LSTM", 1, sizes)
    attributes = nodes.parameters_of(rng, names)
    model = nodes.make_model(onnx, "LSTM", arrays, hidden_size=SIZES[3], **attributes)
    expected = nodes.run_runtime(runtime, model, {"X": arrays["X"]})
    compare(backend.prepare(model).run([arrays["X"]]), expected, "LSTM", "peer", sizes)


@pytest.mark.parametrize("given", [{}, {"activation_alpha": [0.3]}], ids=str)
@pytest.mark.parametrize("name", ["LeakyRelu", "HardSigmoid", "Elu", "elu"])
def test_parameters_that_are_left_out(name: str, given: dict[str, Any], runtime: Any) -> None:
    """Of all functions, or of the last ones."""
    arrays = nodes.make_arrays(np.random.default_rng(0), "GRU", 1, SIZES)
    attributes = {"activations": ["HardSigmoid", name], **given}
    model = nodes.make_model(onnx, "GRU", arrays, hidden_size=SIZES[3], **attributes)
    expected = nodes.run_runtime(runtime, model, {"X": arrays["X"]})
    compare(backend.prepare(model).run([arrays["X"]]), expected, "GRU", "peer")


@pytest.mark.parametrize("name", ["LeakyRelu", "ThresholdedRelu", "HardSigmoid", "Elu"])
def test_defaults_are_those_of_the_operator_of_the_same_name(name: str) -> None:
    """Also where ONNX Runtime has others: 0 for ThresholdedRelu."""
    defaults = {
        f"activation_{kind}": [attribute.default_value.f]
        for kind, attribute in onnx.defs.get_schema(name).attributes.items()
    }
    arrays = nodes.make_arrays(np.random.default_rng(0), "RNN", 1, SIZES)
    given = ours("RNN", arrays, activations=[name], **defaults)
    assert_same_bits(list(ours("RNN", arrays, activations=[name])), list(given))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op_type", OPERATORS)
def test_any_combination_beside_loops(op_type: str, dtype: Any, seed: int) -> None:
    """Also in float64 and batch-first, and with rows of no steps, which ONNX Runtime lacks."""
    rng = np.random.default_rng(1000 + seed)
    attributes, options = drawn_options(rng, op_type)
    if "lengths" in options:
        options["lengths"][0] = 0
    directions = DIRECTIONS[attributes["direction"]]
    arrays = nodes.make_arrays(rng, op_type, directions, SIZES, **options)
    arrays = {n: a if n == "sequence_lens" else a.astype(dtype) for n, a in arrays.items()}
    expected = by_loops(op_type, arrays, **attributes)
    actual = ours(op_type, arrays, **attributes)
    assert all(each.dtype == dtype for each in actual)
    compare(actual, expected, op_type, "forward")

    swapped = {
        name: array.swapaxes(0, 1) if name in ("X", "initial_h", "initial_c") else array
        for name, array in arrays.items()
    }
    y, *last = ours(op_type, swapped, **attributes, layout=1)
    assert_same_bits(y.transpose(1, 2, 0, 3), actual[0])
    assert_same_bits([each.swapaxes(0, 1) for each in last], list(actual[1:]))


@pytest.mark.parametrize("name", nodes.ACTIVATIONS)
def test_nan_stays_in_its_row(name: str) -> None:
    """Also among lengths, where a row's padding may hold anything."""
    rng = np.random.default_rng(0)
    arrays = nodes.make_arrays(rng, "GRU", 1, SIZES, lengths=[5, 5, 2, 5])
    attributes = nodes.parameters_of(rng, ["Sigmoid", name])
    clean = ours("GRU", arrays, **attributes)
    arrays["X"][3, 1], arrays["X"][3, 2] = np.nan, np.inf
    y, y_h = ours("GRU", arrays, **attributes)
    assert np.isnan(y[3:, 0, 1]).all()
    assert np.isnan(y_h[0, 1]).all()
    others = [0, 2, 3]
    assert_same_bits([y[:, :, others], y_h[:, others]], [each[..., others, :] for each in clean])


@pytest.mark.parametrize("name", ["FLOAT16", "BFLOAT16"])
@pytest.mark.parametrize("op_type", OPERATORS)
def test_narrow_numbers(op_type: str, name: str) -> None:
    """Computed in float32 and rounded once."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(getattr(onnx.TensorProto, name))
    arrays = nodes.make_arrays(np.random.default_rng(0), op_type, 1, SIZES)
    small = {name: array.astype(kind) for name, array in arrays.items()}
    wide = {name: array.astype(np.float32) for name, array in small.items()}
    expected = [each.astype(kind) for each in ours(op_type, wide)]
    given = [small[name] for name in nodes.INPUTS if name in small and name != "sequence_lens"]
    names = [name if name in small else "" for name in nodes.INPUTS]
    node = onnx.helper.make_node(op_type, names, ["Y", "Y_h", "Y_c"][: len(expected)])
    assert_same_bits(list(backend.run_node(node, given)), expected)


@pytest.mark.parametrize("op_type", OPERATORS)
@pytest.mark.parametrize("opset", [1, 6, 7, 13, 14, 17, 22])
def test_versions_of_onnx(opset: int, op_type: str) -> None:
    """The equations are the same in all of them, and so are the inputs."""
    arrays = nodes.make_arrays(np.random.default_rng(0), op_type, 2, SIZES)
    options: dict[str, Any] = {"direction": "bidirectional", "clip": 1.0}
    expected = ours(op_type, arrays, **options)
    names = [name if name in arrays else "" for name in nodes.INPUTS]
    if opset < 7:
        options["output_sequence"] = 1
    node = onnx.helper.make_node(op_type, names, ["Y", "Y_h", "Y_c"][: len(expected)], **options)
    given = [arrays[name] for name in names if name]
    assert_same_bits(list(backend.run_node(node, given, opset_version=opset)), list(expected))


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("LSTM", {}),
        ("LSTM", {"peepholes": True}),
        ("LSTM", {"input_forget": 1}),
        ("GRU", {"linear_before_reset": 1}),
        ("GRU", {}),
        ("RNN", {}),
        ("RNN", {"activations": ["Relu"] * 2}),
        ("LSTM", {"activations": ["HardSigmoid", "Elu", "Softsign"] * 2, "clip": 1.0}),
    ],
)
def test_a_node_and_its_layer_have_the_same_bits(op_type: str, attributes: dict[str, Any]) -> None:
    attributes = dict(attributes)
    without = () if attributes.pop("peepholes", False) else ("P",)
    arrays = nodes.make_arrays(np.random.default_rng(0), op_type, 2, SIZES, without=without)
    attributes = {"direction": "bidirectional", **attributes}
    y, *last = ours(op_type, arrays, **attributes)
    (node,) = interop.recurrent_nodes(nodes.make_model(onnx, op_type, arrays, **attributes))
    expected, state = node.layer(arrays["X"], node.state)
    steps, batch, _, hidden = SIZES
    assert_same_bits(y.swapaxes(1, 2).reshape(steps, batch, 2 * hidden), expected)
    assert_same_bits(last, list(state) if isinstance(state, tuple) else [state])


def test_weights_are_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    packs = []
    own = functional.pack
    monkeypatch.setattr(functional, "pack", lambda *a, **o: packs.append(1) or own(*a, **o))
    arrays = nodes.make_arrays(np.random.default_rng(0), "GRU", 1, SIZES)
    model = backend.prepare(nodes.make_model(onnx, "GRU", arrays, linear_before_reset=1))
    for scale in (1, 2):
        model.run([arrays["X"] * np.float32(scale)])
    assert len(packs) == 1


def test_weights_that_are_inputs_may_change() -> None:
    """The same array with other numbers is packed anew."""
    arrays = nodes.make_arrays(np.random.default_rng(0), "GRU", 1, SIZES)
    model = nodes.make_model(onnx, "GRU", arrays, linear_before_reset=1)
    tensor = next(each for each in model.graph.initializer if each.name == "W")
    kind = onnx.TensorProto.FLOAT
    model.graph.input.append(onnx.helper.make_tensor_value_info("W", kind, tensor.dims))
    model.graph.initializer.remove(tensor)
    prepared = backend.prepare(model)
    for _ in range(2):
        y = prepared.run([arrays["X"], arrays["W"]]).Y
        assert_same_bits(y, ours("GRU", arrays, linear_before_reset=1)[0])
        arrays["W"] *= np.float32(0.5)


def _missing(arrays: dict[str, np.ndarray]) -> None:
    del arrays["R"]


def _reshaped(name: str, shape: tuple[int, ...]) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = np.zeros(shape, arrays[name].dtype)

    return change


def _lengths(*lengths: Any) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["sequence_lens"] = np.array(lengths, np.int32)

    return change


@pytest.mark.parametrize(
    ("change", "attributes", "text"),
    [
        (None, {"activations": ["Sigmoid", "Tanh", "Gelu"]}, r"activations out of .*'Gelu'"),
        (None, {"activations": ["Sigmoid"]}, "expected 3 activations, 3 for each of 1 directions"),
        (None, {"activations": ["Sigmoid", "Tanh", "ScaledTanh"]}, "alpha for scaled_tanh"),
        (
            None,
            {"activations": ["Elu", "Tanh", "Tanh"], "activation_alpha": [0.1, 0.2, 0.3]},
            "no more values than functions that take one",
        ),
        (None, {"clip": 0.0}, "expected clip > 0, got 0.0"),
        (None, {"clip": float("nan")}, "expected clip > 0, got nan"),
        (None, {"clip": 1}, "expected clip of type FLOAT, got INT"),
        (None, {"direction": "sideways"}, "expected a direction out of .* got 'sideways'"),
        (None, {"hidden_size": -1}, "expected hidden_size >= 1, got -1"),
        (None, {"hidden_size": 8}, r"\(1, 28, 3\).* with hidden_size 8, which do not fit"),
        (None, {"layout": 2}, "expected layout = 0 or 1, got 2"),
        (None, {"layout": 1, "opset": 13}, "'layout', unknown for LSTM in opset 13"),
        (None, {"output_sequence": 1}, "'output_sequence', unknown for LSTM in opset 17"),
        (None, {"linear_before_reset": 1}, "'linear_before_reset', unknown for LSTM"),
        (None, {"colour": "red"}, "'colour', unknown for LSTM"),
        (_missing, {}, "expected the inputs X, W and R"),
        (_reshaped("R", (1, 28, 6)), {}, "which do not fit together"),
        (_reshaped("R", (1, 0, 0)), {}, "which do not fit together"),
        (_reshaped("R", ()), {}, "which do not fit together"),
        (_reshaped("W", (28, 3)), {}, "which do not fit together"),
        (_reshaped("W", (1, 28, 0)), {}, "which do not fit together"),
        (_reshaped("B", (1, 28)), {}, "which do not fit together"),
        (_reshaped("P", (1, 28)), {}, "which do not fit together"),
        (_reshaped("X", (5, 4, 2)), {}, "expected X with I = 3 numbers a step, got 2"),
        (_reshaped("X", (5, 3)), {}, "expected X with 3 axes"),
        (_reshaped("initial_h", (1, 3, 7)), {}, r"initial_h \(D, B, H\) = \(1, 4, 7\), got"),
        (_lengths(1, 2, 3), {}, r"sequence_lens of whole numbers \(B,\) = \(4,\)"),
        (_lengths(1, 2, 3, 6), {}, r"sequence_lens in 0\.\.5, got 1\.\.6"),
        (_lengths(1, 2, 3, -1), {}, r"sequence_lens in 0\.\.5, got -1\.\.3"),
    ],
)
def test_impossible_nodes(change: Any, attributes: dict[str, Any], text: str) -> None:
    arrays = nodes.make_arrays(np.random.default_rng(0), "LSTM", 1, SIZES)
    opset = attributes.pop("opset", 17)
    if change is not None:
        change(arrays)
    names = [name if name in arrays else "" for name in nodes.INPUTS]
    node = onnx.helper.make_node("LSTM", names, ["Y", "Y_h"], "left", **attributes)
    inputs = [arrays[name] for name in names if name]
    with pytest.raises(ValueError, match=rf"\[onnx\] LSTM left .*{text}"):
        backend.run_node(node, inputs, opset_version=opset)


def test_types_that_differ() -> None:
    arrays = nodes.make_arrays(np.random.default_rng(0), "RNN", 1, SIZES)
    node = onnx.helper.make_node("RNN", ["X", "W", "R"], ["Y"], "left")
    x, w, r = (arrays[name] for name in "XWR")
    for given in ((x, w.astype(np.float64), r), (x.astype(np.int64), w, r)):
        with pytest.raises(TypeError) as caught:
            backend.run_node(node, given)
        assert "[onnx] RNN left" in str(caught.value.__cause__)
