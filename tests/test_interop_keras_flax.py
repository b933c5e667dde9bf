"""Layers with Keras's weights and Flax's parameters compute what Keras and Flax say they compute.

The equations here are those of the two libraries' documentation, on their layouts, in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerances import assert_close
from unrolled.functional import GateFunction
from unrolled.interop.flax import from_flax
from unrolled.interop.keras import from_keras

B, T, I, H = 3, 5, 4, 6  # noqa: E741
COUNTS = {"lstm": 4, "gru": 3, "gru_reset_before": 3, "rnn_tanh": 1, "rnn_relu": 1}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def run(
    step: Any, x: np.ndarray, states: int, *, backwards: bool = False, hidden: int = H
) -> np.ndarray:
    """Outputs (B, T, H) of `step(x_t, states) -> states`, the first of which is the output."""
    state = tuple(np.zeros((B, hidden)) for _ in range(states))
    y = np.zeros((B, T, hidden))
    for t in reversed(range(T)) if backwards else range(T):
        state = step(x[:, t], state)
        y[:, t] = state[0]
    return y


def keras_step(
    cell: str, weights: list[np.ndarray], gate: Any = sigmoid, act: Any = np.tanh
) -> Any:
    kernel, recurrent, *bias = weights
    gates = COUNTS[cell]
    H = len(recurrent)
    b, rb = np.zeros(gates * H), np.zeros(gates * H)
    if bias:
        b, rb = bias[0] if cell == "gru" else (bias[0], rb)

    def step(x: np.ndarray, state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        h = state[0]
        of_x = np.split(x @ kernel + b, gates, axis=1)
        of_h = np.split(h @ recurrent + rb, gates, axis=1)
        if cell == "lstm":
            i, f, candidate, o = (p + q for p, q in zip(of_x, of_h, strict=True))
            c = gate(f) * state[1] + gate(i) * act(candidate)
            return gate(o) * act(c), c
        if cell == "gru_reset_before":
            z, r = gate(of_x[0] + of_h[0]), gate(of_x[1] + of_h[1])
            product = (r * h) @ recurrent[:, 2 * H :]
            return (z * h + (1 - z) * act(of_x[2] + product),)
        if cell == "gru":
            z, r = gate(of_x[0] + of_h[0]), gate(of_x[1] + of_h[1])
            return (z * h + (1 - z) * act(of_x[2] + r * of_h[2]),)
        total = of_x[0] + of_h[0]
        return (act(total) if cell == "rnn_tanh" else np.maximum(total, 0),)

    return step


def keras_weights(
    cell: str,
    rng: np.random.Generator,
    *,
    bias: bool = True,
    inputs: int = I,
    hidden: int = H,
) -> list[np.ndarray]:
    width = COUNTS[cell] * hidden
    shapes = [(inputs, width), (hidden, width), (2, width) if cell == "gru" else (width,)]
    return [rng.standard_normal(shape) / 2 for shape in shapes[: 3 if bias else 2]]


def assert_outputs(got: np.ndarray, wanted: np.ndarray) -> None:
    """Of two layers at most, the upper one of which reads up to 2*H."""
    assert_close(got, wanted, K=2 * 2 * T * (2 * H + H + 4), kind="forward", what="y")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", COUNTS)
def test_keras(cell: str, bias: bool, rng: np.random.Generator) -> None:
    weights = keras_weights(cell, rng, bias=bias)
    x = rng.standard_normal((B, T, I))
    if cell == "gru_reset_before":
        layer = from_keras(weights, "gru", reset_after=False)
    else:
        layer = from_keras(weights, cell)
    assert layer.bias == bias
    assert_outputs(layer(x)[0], run(keras_step(cell, weights), x, 1 + (cell == "lstm")))


def test_keras_in_both_directions(rng: np.random.Generator) -> None:
    forward, backward = keras_weights("gru", rng), keras_weights("gru", rng)
    x = rng.standard_normal((B, T, I))
    y, _ = from_keras([*forward, *backward], "gru", bidirectional=True)(x)
    assert_outputs(y[..., :H], run(keras_step("gru", forward), x, 1))
    assert_outputs(y[..., H:], run(keras_step("gru", backward), x, 1, backwards=True))


def test_keras_adds_both_directions(rng: np.random.Generator) -> None:
    forward, backward = keras_weights("lstm", rng), keras_weights("lstm", rng)
    x = rng.standard_normal((B, T, I))
    layer = from_keras([*forward, *backward], "lstm", bidirectional=True, merge_mode="sum")
    expected = run(keras_step("lstm", forward), x, 2)
    expected += run(keras_step("lstm", backward), x, 2, backwards=True)
    assert_outputs(layer(x)[0], expected)
    with pytest.raises(ValueError, match="expected merge to be concat or sum, got 'ave'"):
        from_keras([*forward, *backward], "lstm", bidirectional=True, merge_mode="ave")  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_keras_of_layers_that_read_each_other(cell: str, rng: np.random.Generator) -> None:
    """As StackedRNNCells, or several layers; the upper one narrower."""
    lower, upper = keras_weights(cell, rng), keras_weights(cell, rng, inputs=H, hidden=H - 1)
    x = rng.standard_normal((B, T, I))
    states = 1 + (cell == "lstm")
    between = run(keras_step(cell, lower), x, states)
    layer = from_keras([*lower, *upper], cell, num_layers=2)
    assert layer.hidden_sizes == (H, H - 1)
    assert_outputs(layer(x)[0], run(keras_step(cell, upper), between, states, hidden=H - 1))


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_keras_of_bidirectional_layers_that_read_each_other(
    merge: Any, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((B, T, I))
    width = 2 * H if merge == "concat" else H
    layers = [[keras_weights("gru", rng, inputs=n) for _ in "fb"] for n in (I, width)]
    wanted = x
    for forward, backward in layers:
        both = [
            run(keras_step("gru", forward), wanted, 1),
            run(keras_step("gru", backward), wanted, 1, backwards=True),
        ]
        wanted = np.concatenate(both, axis=2) if merge == "concat" else both[0] + both[1]
    weights = [array for layer in layers for direction in layer for array in direction]
    layer = from_keras(weights, "gru", num_layers=2, bidirectional=True, merge_mode=merge)
    assert_outputs(layer(x)[0], wanted)


def third_sigmoid(x: np.ndarray) -> np.ndarray:
    """hard_sigmoid of Keras 3 and of JAX."""
    return np.clip(x + 3, 0, 6) / 6


def softsign(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.abs(x))


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before", "rnn_tanh"])
def test_keras_with_other_activations(cell: str, rng: np.random.Generator) -> None:
    weights = keras_weights(cell, rng)
    layer = from_keras(
        weights,
        "gru" if cell == "gru_reset_before" else cell,
        reset_after=cell != "gru_reset_before",
        activation="softsign",
        recurrent_activation=GateFunction("hard_sigmoid", 1 / 6, 0.5),
    )
    x = rng.standard_normal((B, T, I))
    step = keras_step(cell, weights, third_sigmoid, softsign)
    assert_outputs(layer(x)[0], run(step, x, 1 + (cell == "lstm")))


def test_keras_without_an_activation(rng: np.random.Generator) -> None:
    weights = keras_weights("rnn_tanh", rng)
    x = rng.standard_normal((B, T, I))
    step = keras_step("rnn_tanh", weights, act=lambda total: total)
    assert_outputs(from_keras(weights, "rnn_tanh", activation="linear")(x)[0], run(step, x, 1))


@pytest.mark.parametrize("name", ["hard_sigmoid", "leaky_relu"])
def test_keras_does_not_guess_a_version(name: str, rng: np.random.Generator) -> None:
    weights = keras_weights("gru", rng)
    for where in ("activation", "recurrent_activation"):
        with pytest.raises(ValueError, match=f"expected {name} with its parameters"):
            from_keras(weights, "gru", **{where: name})


def test_keras_says_when_the_bias_is_that_of_the_other_gru(rng: np.random.Generator) -> None:
    after, before = keras_weights("gru", rng), keras_weights("gru_reset_before", rng)
    with pytest.raises(ValueError, match=r"reset_after=False to be \(3\*H,\), got \(2, 18\)"):
        from_keras(after, "gru", reset_after=False)
    with pytest.raises(ValueError, match=r"reset_after=True to be \(2, 3\*H\), got \(18,\)"):
        from_keras(before, "gru")


def test_keras_refuses_what_does_not_fit(rng: np.random.Generator) -> None:
    weights = keras_weights("gru", rng)
    with pytest.raises(ValueError, match="expected cell to be one of"):
        from_keras(weights, "conv_lstm")
    with pytest.raises(ValueError, match="expected 4 arrays, or 6"):
        from_keras(weights, "gru", bidirectional=True)
    with pytest.raises(ValueError, match="expected num_layers >= 1, got 0"):
        from_keras(weights, "gru", num_layers=0)
    with pytest.raises(ValueError, match=r"kernel \(I, G\*H\) = \(6, 18\) of layer 1 with G = 3"):
        from_keras([*weights, *weights], "gru", num_layers=2)
    with pytest.raises(ValueError, match=r"kernel \(I, G\*H\) = \(4, 24\) with G = 4 gates"):
        from_keras(weights, "lstm")
    with pytest.raises(TypeError, match="expected one dtype"):
        from_keras([weights[0].astype(np.float32), *weights[1:]], "gru")


def dense(rng: np.random.Generator, inputs: int, outputs: int, *, bias: bool) -> dict[str, Any]:
    tree = {"kernel": rng.standard_normal((inputs, outputs)) / 2}
    return {**tree, "bias": rng.standard_normal(outputs) / 2} if bias else tree


def apply(tree: dict[str, Any], x: np.ndarray) -> np.ndarray:
    return x @ tree["kernel"] + tree.get("bias", 0.0)


def flax_lstm(
    rng: np.random.Generator, gate: Any = sigmoid, act: Any = np.tanh
) -> tuple[dict[str, Any], Any]:
    tree = {f"i{gate}": dense(rng, I, H, bias=False) for gate in "ifgo"}
    tree |= {f"h{gate}": dense(rng, H, H, bias=True) for gate in "ifgo"}

    def step(x: np.ndarray, state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        h, c = state
        i, f, g, o = (apply(tree["i" + k], x) + apply(tree["h" + k], h) for k in "ifgo")
        c = gate(f) * c + gate(i) * act(g)
        return gate(o) * act(c), c

    return tree, step


def flax_gru(
    rng: np.random.Generator, gate: Any = sigmoid, act: Any = np.tanh
) -> tuple[dict[str, Any], Any]:
    tree = {f"i{gate}": dense(rng, I, H, bias=True) for gate in "rzn"}
    tree |= {f"h{gate}": dense(rng, H, H, bias=gate == "n") for gate in "rzn"}

    def step(x: np.ndarray, state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        (h,) = state
        r, z = (gate(apply(tree["i" + k], x) + apply(tree["h" + k], h)) for k in "rz")
        n = act(apply(tree["in"], x) + r * apply(tree["hn"], h))
        return ((1 - z) * n + z * h,)

    return tree, step


def flax_mgu(rng: np.random.Generator, *, reset: bool = True) -> tuple[dict[str, Any], Any]:
    tree = {f"i{gate}": dense(rng, I, H, bias=True) for gate in "fn"}
    tree |= {"hf": dense(rng, H, H, bias=False), "hn": dense(rng, H, H, bias=reset)}

    def step(x: np.ndarray, state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        (h,) = state
        f = sigmoid(apply(tree["if"], x) + apply(tree["hf"], h))
        n = np.tanh(apply(tree["in"], x) + (f if reset else 1) * apply(tree["hn"], h))
        return ((1 - f) * n + f * h,)

    return tree, step


def flax_mgu_without_reset(rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
    return flax_mgu(rng, reset=False)


def flax_simple(rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
    tree = {"i": dense(rng, I, H, bias=True), "h": dense(rng, H, H, bias=False)}
    return tree, simple_step(tree)


def simple_step(tree: dict[str, Any]) -> Any:
    return lambda x, state: (np.tanh(apply(tree["i"], x) + apply(tree["h"], state[0])),)


FLAX = [
    (flax_lstm, 2),
    (flax_gru, 1),
    (flax_mgu, 1),
    (flax_mgu_without_reset, 1),
    (flax_simple, 1),
]


@pytest.mark.parametrize(("make", "states"), FLAX)
def test_flax(make: Any, states: int, rng: np.random.Generator) -> None:
    tree, step = make(rng)
    x = rng.standard_normal((B, T, I))
    assert_outputs(from_flax(tree)(x)[0], run(step, x, states))
    other, back = make(rng)
    y, _ = from_flax(tree, other)(x)
    assert_outputs(y[..., :H], run(step, x, states))
    assert_outputs(y[..., H:], run(back, x, states, backwards=True))


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_flax_of_bidirectional(merge: Any, rng: np.random.Generator) -> None:
    (tree, step), (other, back) = flax_gru(rng), flax_gru(rng)
    x = rng.standard_normal((B, T, I))
    both = {"forward_rnn": {"cell": tree}, "backward_rnn": {"cell": other}}
    parts = run(step, x, 1), run(back, x, 1, backwards=True)
    wanted = np.concatenate(parts, axis=2) if merge == "concat" else parts[0] + parts[1]
    assert_outputs(from_flax(both, merge=merge)(x)[0], wanted)


def test_flax_of_layers_that_read_each_other(rng: np.random.Generator) -> None:
    """As the RNNs of a Sequential; the second one wider."""
    x = rng.standard_normal((B, T, I))
    lower = {"i": dense(rng, I, H, bias=True), "h": dense(rng, H, H, bias=False)}
    upper = {"i": dense(rng, H, H + 1, bias=True), "h": dense(rng, H + 1, H + 1, bias=False)}
    between = run(simple_step(lower), x, 1)
    layer = from_flax([{"cell": lower}, {"cell": upper}])
    assert layer.hidden_sizes == (H, H + 1)
    assert_outputs(layer(x)[0], run(simple_step(upper), between, 1, hidden=H + 1))


def test_flax_of_nnx(rng: np.random.Generator) -> None:
    """The same numbers under the names of nnx, where gates may stand side by side."""
    x = rng.standard_normal((B, T, I))
    tree, step = flax_lstm(rng)
    wanted = run(step, x, 2)
    renamed = {"if_" if name == "if" else name: value for name, value in tree.items()}
    assert_outputs(from_flax(renamed)(x)[0], wanted)
    joined = {
        f"dense_{side}": {
            part: np.concatenate([tree[side + gate][part] for gate in "ifgo"], axis=-1)
            for part in tree[side + "i"]
        }
        for side in "ih"
    }
    assert_outputs(from_flax(joined)(x)[0], wanted)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("nnx", [False, True])
def test_flax_of_a_simple_cell_with_options(
    residual: bool, nnx: bool, rng: np.random.Generator
) -> None:
    tree, _ = flax_simple(rng)
    x = rng.standard_normal((B, T, I))
    given = {f"dense_{name}": part for name, part in tree.items()} if nnx else tree
    layer = from_flax(given, activation_fn="relu", residual=residual)

    def step(x: np.ndarray, state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        total = apply(tree["i"], x) + apply(tree["h"], state[0])
        return (np.maximum(total + residual * state[0], 0),)

    assert_outputs(layer(x)[0], run(step, x, 1))


@pytest.mark.parametrize(("make", "states"), [(flax_lstm, 2), (flax_gru, 1)])
def test_flax_with_other_activations(make: Any, states: int, rng: np.random.Generator) -> None:
    tree, step = make(rng, third_sigmoid, softsign)
    x = rng.standard_normal((B, T, I))
    layer = from_flax(tree, gate_fn="hard_sigmoid", activation_fn="softsign")
    assert_outputs(layer(x)[0], run(step, x, states))


def test_flax_opens_no_gate_but_a_sigmoid(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="expected gate_fn sigmoid without reset_gate"):
        from_flax(flax_mgu_without_reset(rng)[0], gate_fn="hard_sigmoid")


def test_flax_refuses_other_trees(rng: np.random.Generator) -> None:
    lstm, gru = flax_lstm(rng)[0], flax_gru(rng)[0]
    with pytest.raises(ValueError, match="parameters of an LSTM, GRU, MGU or simple cell"):
        from_flax({"kernel": {}, "bias": {}})
    with pytest.raises(ValueError, match="out of sigmoid, tanh, relu"):
        from_flax(flax_simple(rng)[0], activation_fn="gelu")
    with pytest.raises(ValueError, match="cells of one kind, got lstm and gru"):
        from_flax(lstm, gru)
    with pytest.raises(ValueError, match="expected reverse beside one cell alone"):
        from_flax([lstm, lstm], lstm)
    with pytest.raises(ValueError, match="all have one direction, or all two"):
        from_flax([lstm, {"forward_rnn": lstm, "backward_rnn": lstm}])
    with pytest.raises(ValueError, match="residual=False of gru: only a SimpleCell has it"):
        from_flax(gru, residual=True)
    with pytest.raises(ValueError, match="expected merge to be concat or sum, got 'mul'"):
        from_flax(gru, gru, merge="mul")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected kernel \(I, G\*H\) = \(4, 0\)"):
        from_flax({"dense_i": gru["ir"], "dense_h": {"kernel": np.zeros(3)}})
    with pytest.raises(ValueError, match="all have one direction, or all two"):
        from_flax([])
    lstm["hi"]["kernel"] = lstm["hi"]["kernel"][:, :2]
    with pytest.raises(ValueError, match="recurrent kernel"):
        from_flax(lstm)
