"""Every option of ONNX's recurrent operators, beside ONNX Runtime and beside plain loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import onnx_nodes as nodes
from tolerances import assert_close, assert_same_bits

onnx = pytest.importorskip("onnx", reason="onnx comes with the extra [onnx]")
from unrolled.interop import _onnx_run as onnx_run  # noqa: E402
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


# The same written as loops over rows, steps and units.


FUNCTIONS: dict[str, Callable[[float, float, float], float]] = {
    "Relu": lambda x, a, b: max(x, 0.0),
    "Tanh": lambda x, a, b: float(np.tanh(x)),
    "Sigmoid": lambda x, a, b: 1.0 / (1.0 + float(np.exp(-x))),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, b: x if x >= 0 else a * x,
    "ThresholdedRelu": lambda x, a, b: x if x >= a else 0.0,
    "ScaledTanh": lambda x, a, b: a * float(np.tanh(b * x)),
    "HardSigmoid": lambda x, a, b: min(max(a * x + b, 0.0), 1.0),
    "Elu": lambda x, a, b: x if x >= 0 else a * (float(np.exp(x)) - 1.0),
    "Softsign": lambda x, a, b: x / (1.0 + abs(x)),
    "Softplus": lambda x, a, b: float(np.log(1.0 + np.exp(x))),
}


def functions_of(op_type: str, directions: int, attributes: dict[str, Any]) -> list[Any]:
    """The functions of each direction; parameters are given for all or for none."""
    plain = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
    names = attributes.get("activations", plain[op_type] * directions)
    alphas = iter(attributes.get("activation_alpha", []))
    betas = iter(attributes.get("activation_beta", []))
    functions = [
        np.vectorize(lambda x, f=FUNCTIONS[name], a=a, b=b: f(x, a, b), otypes=[np.float64])
        for name in names
        for a in [next(alphas) if name in nodes.ALPHA else 0.0]
        for b in [next(betas) if name in nodes.BETA else 0.0]
    ]
    count = len(functions) // directions
    return [functions[d * count : (d + 1) * count] for d in range(directions)]


def step(op_type: str, functions: Any, attributes: Any, gates: Any, h: Any, c: Any) -> Any:
    """One row: `gates(g, h)` is W_g x + b_g + R_g h; `gates(g, h, r)` scales the product's part."""
    clip = attributes.get("clip", np.inf)
    f = lambda z: functions[0](np.clip(z, -clip, clip))  # noqa: E731
    if op_type == "RNN":
        return f(gates(0, h)), c
    g = lambda z: functions[1](np.clip(z, -clip, clip))  # noqa: E731
    if op_type == "GRU":
        z, r = f(gates(0, h)), f(gates(1, h))
        after = attributes.get("linear_before_reset", 0)
        candidate = g(gates(2, h, r) if after else gates(2, r * h))
        return (1 - z) * candidate + z * h, c
    peep = gates.peepholes
    i = f(gates(0, h) + peep[0] * c)
    forget = 1 - i if attributes.get("input_forget", 0) else f(gates(2, h) + peep[2] * c)
    c = forget * c + i * g(gates(3, h))
    return f(gates(1, h) + peep[1] * c) * functions[2](c), c


class Row:
    """What the gates of one row and step are computed from."""

    def __init__(self, arrays: dict[str, np.ndarray], d: int, x: np.ndarray) -> None:
        self.hidden = arrays["R"].shape[2]
        self.w, self.r = arrays["W"][d], arrays["R"][d]
        zeros = np.zeros(2 * len(self.w))
        self.wb, self.rb = np.split(arrays["B"][d] if "B" in arrays else zeros, 2)
        self.peepholes = np.split(arrays["P"][d] if "P" in arrays else np.zeros(3 * self.hidden), 3)
        self.x = x

    def __call__(self, gate: int, h: np.ndarray, scale: Any = 1.0) -> np.ndarray:
        rows = slice(gate * self.hidden, (gate + 1) * self.hidden)
        product = self.r[rows] @ h + self.rb[rows]
        return self.w[rows] @ self.x + self.wb[rows] + scale * product


def by_loops(op_type: str, arrays: dict[str, np.ndarray], **attributes: Any) -> list[np.ndarray]:
    """The outputs of a node in float64; with layout 0."""
    direction = attributes.get("direction", "forward")
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    steps, batch, _ = wide["X"].shape
    directions, _, hidden = wide["R"].shape
    lengths = arrays.get("sequence_lens", np.full(batch, steps))
    y = np.zeros((steps, directions, batch, hidden))
    last = np.zeros((2, directions, batch, hidden))
    for d, functions in enumerate(functions_of(op_type, directions, attributes)):
        for b in range(batch):
            states = [
                wide[name][d, b] if name in wide else np.zeros(hidden)
                for name in ("initial_h", "initial_c")
            ]
            order = range(lengths[b])
            for t in reversed(order) if direction == "reverse" or d else order:
                states = step(
                    op_type, functions, attributes, Row(wide, d, wide["X"][t, b]), *states
                )
                y[t, d, b] = states[0]
            last[:, d, b] = states
    return [y, *last[: nodes.STATES[op_type]]]


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


@pytest.mark.parametrize("op_type", OPERATORS)
def test_float16(op_type: str) -> None:
    """Computed in float32 and rounded once."""
    arrays = nodes.make_arrays(np.random.default_rng(0), op_type, 1, SIZES)
    small = {name: array.astype(np.float16) for name, array in arrays.items()}
    wide = {name: array.astype(np.float32) for name, array in small.items()}
    expected = [each.astype(np.float16) for each in ours(op_type, wide)]
    assert_same_bits(list(ours(op_type, small)), expected)


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("LSTM", {}),
        ("LSTM", {"peepholes": True}),
        ("LSTM", {"input_forget": 1}),
        ("GRU", {"linear_before_reset": 1}),
        ("RNN", {}),
        ("RNN", {"activations": ["Relu"] * 2}),
    ],
)
def test_what_a_cell_computes_runs_in_its_kernel(
    op_type: str, attributes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a cell computes this")

    monkeypatch.setattr(onnx_run, "run_equations", refuse)
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
    own = onnx_run.pack
    monkeypatch.setattr(onnx_run, "pack", lambda *given: packs.append(1) or own(*given))
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
        (None, {"activations": ["Sigmoid", "Tanh", "ScaledTanh"]}, "for ScaledTanh, which has no"),
        (
            None,
            {"activations": ["Elu", "Tanh", "Tanh"], "activation_alpha": [0.1, 0.2, 0.3]},
            "no more values than functions that take one",
        ),
        (None, {"clip": 0.0}, "expected clip > 0, got 0.0"),
        (None, {"clip": float("nan")}, "expected clip > 0, got nan"),
        (None, {"clip": 1}, "expected clip of type FLOAT"),
        (None, {"direction": "sideways"}, "expected a direction out of .* got 'sideways'"),
        (None, {"hidden_size": -1}, "expected hidden_size >= 1, got -1"),
        (None, {"hidden_size": 8}, r"\(1, 28, 3\).* with hidden_size 8, which do not fit"),
        (None, {"layout": 2}, "expected layout = 0 or 1, got 2"),
        (None, {"layout": 1, "opset": 13}, "a layout, which came with opset 14, in opset 13"),
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
