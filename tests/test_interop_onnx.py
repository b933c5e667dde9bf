"""Recurrent nodes of an ONNX model become layers that give the same numbers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tolerances import assert_close
from unrolled import functional
from unrolled.interop import onnx as interop
from unrolled.interop._onnx_operators import OPERATORS

onnx = pytest.importorskip("onnx", reason="onnx comes with the extra [onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime comes with the extra [peers]")

T, B, I, H = 7, 3, 5, 6  # noqa: E741


def run(model: Any, **feed: Any) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feed)


#: A node that says nothing special is one of these cells.
CELLS = [cell for cell in OPERATORS if not functional.cell_info(cell).functions]


def make_node_model(
    cell: str,
    directions: int,
    *,
    bias: bool = True,
    layout: int = 0,
    rng: np.random.Generator | None = None,
    change: Callable[[Any, dict[str, np.ndarray]], None] = lambda node, constants: None,
    **more: Any,
) -> Any:
    """A model of one node with random weights."""
    rng = np.random.default_rng(0) if rng is None else rng
    operator = OPERATORS[cell]
    rows = len(operator.order) * H
    constants = {
        "w": rng.standard_normal((directions, rows, I), np.float32),
        "r": rng.standard_normal((directions, rows, H), np.float32) / 3,
    }
    if bias:
        constants["b"] = rng.standard_normal((directions, 2 * rows), np.float32)
    if operator.units:
        constants["p"] = rng.standard_normal((directions, 3 * H), np.float32)
    attributes = operator.attributes(directions)
    if directions == 2:
        attributes["direction"] = "bidirectional"
    names = ["x", "w", "r", "b" if bias else ""] + ["", "", "", "p"] * bool(operator.units)
    node = onnx.helper.make_node(
        operator.op_type, names, ["y"], hidden_size=H, layout=layout,
        **(attributes | more),
    )  # fmt: skip
    change(node, constants)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [value("x", onnx.TensorProto.FLOAT, None)],
        [value("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_a_node_is_a_layer(cell: str, directions: int, bias: bool, tmp_path: Path) -> None:
    model = make_node_model(cell, directions, bias=bias)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    x = np.random.default_rng(1).standard_normal((T, B, I), np.float32)
    (expected,) = run(model, x=x)  # (T, D, B, H)
    for given in (model, path, str(path), path.read_bytes()):
        (node,) = interop.recurrent_nodes(given)
        assert (node.x, node.y, node.operator) == ("x", "y", OPERATORS[cell].op_type)
        y, _ = node.layer(x)
        assert_close(
            y.reshape(T, B, directions, H).swapaxes(1, 2),
            expected,
            K=2 * T * (I + H),
            kind="forward",
        )


def test_batch_first() -> None:
    (node,) = interop.recurrent_nodes(make_node_model("lstm", 1, layout=1))
    assert node.layer.batch_first


@pytest.mark.parametrize("cell", CELLS)
def test_reverse_alone(cell: str) -> None:
    def change(node: Any, constants: dict[str, np.ndarray]) -> None:
        node.input.extend(["", "lengths"][len(node.input) - 3 :])
        constants["lengths"] = np.array([T, 2, 1], np.int32)

    bias = cell != "lstm_peephole"  # whose inputs go on behind the lengths
    model = make_node_model(cell, 1, direction="reverse", **({"change": change} if bias else {}))
    (node,) = interop.recurrent_nodes(model)
    x = np.random.default_rng(1).standard_normal((T, B, I), np.float32)
    y, _ = node.layer(x, lengths=np.array([T, 2, 1]) if bias else None)
    (expected,) = run(model, x=x)
    assert_close(y, expected[:, 0], K=2 * T * (I + H), kind="forward")


def test_orders_undo_each_other() -> None:
    for operator in OPERATORS.values():
        rows = np.arange((len(operator.order) - operator.order.count(None)) * 2.0)
        np.testing.assert_array_equal(operator.from_onnx(operator.to_onnx(rows)), rows)


def test_weights_that_the_model_computes() -> None:
    """As exporters write them: cut, put together and given a direction, inside a branch."""
    model = make_node_model("gru", 1)
    plain = interop.recurrent_nodes(model)[0].layer
    graph, helper = model.graph, onnx.helper
    node = graph.node[0]
    weights = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    first, rest = np.split(weights["w"][0], [5])
    inner = [
        helper.make_node("Constant", [], ["rest"], value=onnx.numpy_helper.from_array(rest)),
        helper.make_node("Concat", ["first", "rest"], ["whole"], axis=0),
        helper.make_node("Unsqueeze", ["whole", "axis"], ["w2"]),
    ]
    node.input[1] = "w2"
    value = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    branch = helper.make_graph([*inner, node], "branch", [], [value])
    outer = helper.make_node("If", ["yes"], ["z"], then_branch=branch, else_branch=branch)
    constants = {"first": first, "axis": np.array([0]), "yes": np.array(True)}
    constants |= {name: weights[name] for name in ("r", "b")}
    nested = helper.make_model(
        helper.make_graph(
            [outer],
            "g",
            list(graph.input),
            [helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
        ),
        opset_imports=list(model.opset_import),
        ir_version=8,
    )
    nodes = interop.recurrent_nodes(nested)
    assert len(nodes) == 2  # both branches
    for each in nodes:
        np.testing.assert_array_equal(each.layer.flat.values, plain.flat.values)


def test_states_and_lengths() -> None:
    """Values of the graph by name, and constant states as the layer takes them."""
    first = np.random.default_rng(2).standard_normal((2, B, H), np.float32)

    def change(node: Any, constants: dict[str, np.ndarray]) -> None:
        node.input.extend(["lengths", "h", "c"])
        node.output.extend(["", "last"])
        constants.update(h=first, c=first + 1, lengths=np.array([T, 2, 1], np.int32))

    model = make_node_model("lstm", 2, change=change)
    (node,) = interop.recurrent_nodes(model)
    assert (node.lengths, node.initial, node.final) == ("lengths", ("h", "c"), ("", "last"))
    x = np.random.default_rng(1).standard_normal((T, B, I), np.float32)
    y, _ = node.layer(x, node.state, np.array([T, 2, 1]))
    (expected,) = run(model, x=x)
    ours = y.reshape(T, B, 2, H).swapaxes(1, 2)
    assert_close(ours, expected, K=2 * T * (I + H), kind="forward")

    def swapped(node: Any, constants: dict[str, np.ndarray]) -> None:
        change(node, constants)
        constants.update(h=first.swapaxes(0, 1).copy(), c=first.swapaxes(0, 1) + 1)

    (node,) = interop.recurrent_nodes(make_node_model("lstm", 2, layout=1, change=swapped))
    np.testing.assert_array_equal(node.state, (first, first + 1))
    model.graph.node[0].input[6] = ""  # one of two
    np.testing.assert_array_equal(interop.recurrent_nodes(model)[0].state, (first, 0 * first))
    (node,) = interop.recurrent_nodes(make_node_model("lstm", 2))
    assert (node.lengths, node.initial, node.final) == ("", ("", ""), ("", ""))
    assert node.state is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda weight: weight.dims.__setitem__(0, -1), r"w has the sizes \[-1, "),
        (lambda weight: weight.dims.__setitem__(0, 10**12), "w is damaged"),
        (lambda weight: setattr(weight, "data_type", 99), "w is damaged"),
        (lambda weight: setattr(weight, "data_location", 1), "w is stored in another file"),
        (lambda weight: weight.ClearField("raw_data"), "w is damaged"),
    ],
)
def test_sizes_that_lie(change: Callable[[Any], None], text: str) -> None:
    model = make_node_model("gru", 1)
    change(next(each for each in model.graph.initializer if each.name == "w"))
    with pytest.raises(ValueError, match=rf"\[onnx\] GRU y: {text}"):
        interop.recurrent_nodes(model)


def _cut(model: Any, operator: str, *inputs: str, **attributes: Any) -> Any:
    """The model with a matrix that another node makes of the one that it had."""
    made = onnx.helper.make_node(operator, [*inputs], ["made"], **attributes)
    model.graph.node.insert(0, made)
    model.graph.node[1].input[1] = "made"
    return model


@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes(seed: int) -> None:
    """What a file says is not trusted: an error that is told, or other numbers."""
    rng = np.random.default_rng(seed)
    data = make_node_model("lstm_peephole", 1).SerializeToString()
    refused = 0
    for _ in range(100):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data) - 3, 3):
            if rng.random() < 0.5:
                damaged[place] = rng.integers(0, 256)
            else:
                del damaged[place]
        try:
            interop.recurrent_nodes(bytes(damaged))
        except ValueError:
            refused += 1
    assert refused > 50


def test_constants_that_cannot_be_computed() -> None:
    models = [
        _cut(make_node_model("gru", 1), "Reshape", "w", "r"),
        _cut(make_node_model("gru", 1), "Nonsense", "w"),
        _cut(make_node_model("gru", 1), "Transpose", "w", perm=[0, 1, 7]),
        _cut(make_node_model("gru", 1), "Identity", "made"),
    ]
    for model in models:
        with pytest.raises(ValueError, match=r"\[onnx\] GRU y: made cannot be computed"):
            interop.recurrent_nodes(model)


def test_it_can_be_trained() -> None:
    (node,) = interop.recurrent_nodes(make_node_model("lstm", 2))
    layer = node.layer
    x = np.random.default_rng(1).standard_normal((T, B, I), np.float32)
    (y, _), pullback = layer.vjp(x)
    pullback(np.ones_like(y))
    assert np.isfinite(layer.flat.grads).all()
    assert layer.flat.grads.any()


def _peephole(node: Any, constants: dict[str, np.ndarray]) -> None:
    node.input.extend(["", "", "", "p"])
    constants["p"] = np.zeros((1, 3 * H), np.float32)


def _few_peepholes(node: Any, constants: dict[str, np.ndarray]) -> None:
    constants["p"] = constants["p"][:, :-1]


def _no_matrix(node: Any, constants: dict[str, np.ndarray]) -> None:
    del node.input[2:]


def _elsewhere(node: Any, constants: dict[str, np.ndarray]) -> None:
    node.attribute[0].name = "size"


def _from_outside(node: Any, constants: dict[str, np.ndarray]) -> None:
    node.input[1] = "x"


def _too_few_rows(node: Any, constants: dict[str, np.ndarray]) -> None:
    constants["r"] = constants["r"][:, :-1]


@pytest.mark.parametrize(
    ("cell", "options", "text"),
    [
        ("lstm", {"direction": "sideways"}, "got 'sideways'"),
        ("lstm", {"clip": -1.0}, "expected clip > 0"),
        ("rnn_tanh", {"activations": ["Gelu"]}, r"got \['Gelu'\]"),
        ("lstm_peephole", {"change": _few_peepholes}, "do not fit together"),
        ("lstm", {"change": _no_matrix}, "expected the inputs X, W and R"),
        ("lstm", {"change": _elsewhere}, "has an attribute 'size', unknown for LSTM"),
        ("lstm", {"change": _from_outside}, "depends on x, which is no constant"),
        ("lstm", {"change": _too_few_rows}, "do not fit together"),
        ("lstm", {"hidden_size": H + 1}, "do not fit together"),
    ],
)
def test_what_no_layer_does(cell: str, options: dict[str, Any], text: str) -> None:
    given = {k: v for k, v in options.items() if k != "hidden_size"}
    model = make_node_model(cell, 1, **given)
    if "hidden_size" in options:
        attribute = next(a for a in model.graph.node[0].attribute if a.name == "hidden_size")
        attribute.i = options["hidden_size"]
    with pytest.raises(ValueError, match=text):
        interop.recurrent_nodes(model)


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("lstm", {"clip": 0.5}),
        ("lstm", {"input_forget": 1, "change": _peephole}),
        ("lstm", {"activations": ["HardSigmoid", "Tanh", "Relu"], "clip": 1.0}),
        ("lstm_peephole", {"activations": ["Sigmoid", "Softsign", "ScaledTanh"],
                           "activation_alpha": [0.9], "activation_beta": [0.5]}),
        ("gru", {"clip": 0.5}),
        ("gru_reset_before", {"activations": ["HardSigmoid", "Elu"], "activation_alpha": [0.3]}),
        ("rnn_tanh", {"activations": ["LeakyRelu"], "activation_alpha": [0.3], "clip": 1.0}),
    ],
)  # fmt: skip
def test_functions_of_gates(cell: str, options: dict[str, Any], tmp_path: Path) -> None:
    """A layer has them, and so has the node that it becomes."""
    model = make_node_model(cell, 1, **options)
    (node,) = interop.recurrent_nodes(model)
    x = np.random.default_rng(1).standard_normal((T, B, I), np.float32)
    (expected,) = run(model, x=x)
    y, _ = node.layer(x)
    assert_close(y, expected[:, 0], K=2 * T * (I + H), kind="forward")
    interop.export(node.layer, tmp_path / "again.onnx")
    (again,) = interop.recurrent_nodes(tmp_path / "again.onnx")
    assert again.layer.cell == node.layer.cell
    np.testing.assert_array_equal(again.layer(x)[0], y)


def test_functions_that_differ_by_direction() -> None:
    names = ["Sigmoid", "Tanh", "Sigmoid", "Elu"]
    model = make_node_model("gru", 2, activations=names)
    with pytest.raises(ValueError, match="differ by direction"):
        interop.recurrent_nodes(model)


@pytest.mark.parametrize("data", [b"", b"\x00\x01nothing", b"\x08\x08" * 30], ids=repr)
def test_no_model(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="is no ONNX model"):
        interop.recurrent_nodes(path)
    with pytest.raises(FileNotFoundError):
        interop.recurrent_nodes(tmp_path / "absent.onnx")


def test_voice_activity_of_real_speech() -> None:
    """Silero's LSTM on a minute of speech, within the whole model and as a layer."""
    vad = pytest.importorskip("silero_vad", reason="silero_vad is not installed")
    soundfile = pytest.importorskip("soundfile", reason="soundfile comes with the extra [speech]")
    if "UNROLLED_DATA" not in os.environ:
        pytest.skip("UNROLLED_DATA names no folder of data")
    sound = Path(os.environ["UNROLLED_DATA"]) / "speech" / "silero" / "test.wav"
    if not sound.is_file():
        pytest.skip(f"there is no {sound}")
    model = onnx.load(Path(vad.__file__).parent / "data" / "silero_vad_16k_sequence.onnx")
    (node,) = interop.recurrent_nodes(model)
    samples, _ = soundfile.read(sound, dtype="float32")
    windows = silero_windows(samples)
    expected, x = run_silero(model, node, windows)
    y, _ = node.layer(x)
    assert np.abs(y - expected).max() <= 1e-5


def silero_windows(samples: np.ndarray) -> np.ndarray:
    """Windows (T, 576) of 512 samples at 16 kHz, with the 64 before them."""
    count = len(samples) // 512
    padded = np.concatenate([np.zeros(64, np.float32), samples[: count * 512]])
    return np.stack([padded[512 * t : 512 * t + 576] for t in range(count)])


def run_silero(model: Any, node: Any, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outputs (T, 1, H) of the model's LSTM, and what it reads, (T, 1, I)."""
    value = onnx.helper.make_tensor_value_info
    for name in (node.x, node.y):
        model.graph.output.append(value(name, onnx.TensorProto.FLOAT, None))
    zeros = np.zeros((1, 1, node.layer.hidden_size), np.float32)
    x, y = run(model, input=windows, h=zeros, c=zeros)[-2:]
    return y[:, 0], x
