"""Recurrent layers compute what the specification says, in every arrangement, both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from problems import ragged_lengths, valid_state
from stacks import (
    as_state,
    as_tuple,
    forward_roundings,
    gradient_roundings,
    reference_stack,
)
from tolerances import assert_close, assert_same_bits, assert_slope, slope_along
from unrolled import functional
from unrolled.layers import GRU, LSTM, RNN, Layer, Recurrent

T, B, I, H = 5, 4, 3, 7  # noqa: E741

STACKS = {
    "one": {},
    "two": {"num_layers": 2},
    "three-nobias": {"num_layers": 3, "bias": False},
    "both-ways": {"bidirectional": True},
    "two-both-ways": {"num_layers": 2, "bidirectional": True},
}


def normal(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def make_state(layer: Recurrent[Any], batch: int, rng: np.random.Generator) -> Any:
    states = zip(functional.cell_info(layer.cell).states, layer._shapes(batch), strict=True)
    return as_state(tuple(valid_state(s, normal(rng, layer.dtype, *shape)) for s, shape in states))


def check_slopes(
    layer: Layer, value: Callable[[], float], inputs: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    """Compares `layer.grads` and the (array, gradient) of each input with central differences."""
    rng = np.random.default_rng(3)
    pairs = [(layer.parameters[name], layer.grads[name]) for name in layer.parameters]
    for array, gradient in pairs + inputs:
        direction = rng.standard_normal(array.shape)
        slope = slope_along(value, array, direction)
        terms = gradient * direction
        scale = float(np.abs(terms).sum()) + 2 * abs(value())
        assert_slope(float(terms.sum()), slope, scale)


def check_stack_slopes(layer: Recurrent[Any], rng: np.random.Generator) -> None:
    """Gradients of parameters, inputs and states, over ragged rows with resets, are slopes."""
    x, state = normal(rng, np.float64, T, B, I), make_state(layer, B, rng)
    dy, dstate = normal(rng, np.float64, T, B, layer.output_size), make_state(layer, B, rng)
    lengths, resets = ragged_lengths(rng, T, B), rng.random((T, B)) < 0.2

    def run() -> Any:
        # The same seed each time, so that the same is dropped.
        return layer.vjp(x, state, lengths=lengths, resets=resets, rng=np.random.default_rng(8))

    def value() -> float:
        (y, final), _ = run()
        products = [f * d for f, d in zip(as_tuple(final), as_tuple(dstate), strict=True)]
        return float((y * dy).sum() + sum(p.sum() for p in products))

    dx, dinitial = run()[1](dy, dstate)
    inputs = [(x, dx), *zip(as_tuple(state), as_tuple(dinitial), strict=True)]
    check_slopes(layer, value, inputs)


@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS)
def test_stack_equals_specification(
    cell: str, options: dict, ragged: bool, dtype: Any, rng: np.random.Generator
) -> None:
    layer = Recurrent(cell, I, H, **options, dtype=dtype, rng=rng, init="torch")
    x, state = normal(rng, dtype, T, B, I), make_state(layer, B, rng)
    dy, dstate = normal(rng, dtype, T, B, layer.output_size), make_state(layer, B, rng)
    lengths = ragged_lengths(rng, T, B) if ragged else None

    expected = reference_stack(layer, x, state, lengths=lengths, dy=dy, dstate=dstate)
    (y, final), pullback = layer.vjp(x, state, lengths=lengths)
    dx, dinitial = pullback(dy, dstate)

    forward, backward = forward_roundings(layer, T), gradient_roundings(layer, T, B)
    assert_close(y, expected["y"], K=forward, kind="forward", what="y")
    assert_close(dx, expected["dx"], K=backward, kind="gradient", what="dx")
    for got, want in zip(as_tuple(final), expected["state"], strict=True):
        assert_close(got, want, K=forward, kind="forward", what="state")
    for got, want in zip(as_tuple(dinitial), expected["dstate"], strict=True):
        assert_close(got, want, K=backward, kind="gradient", what="dstate")
    assert set(layer.grads) == set(expected["grads"])
    for name, want in expected["grads"].items():
        assert_close(layer.grads[name], want, K=backward, kind="gradient", what=name)

    inference, final_again = layer(x, state, lengths)
    assert_same_bits(inference, y)
    assert_same_bits(final_again, final)


def test_resets_equal_specification(cell: str, dtype: Any, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, H, 2, dtype=dtype, rng=rng)
    x, resets = normal(rng, dtype, T, B, I), rng.random((T, B)) < 0.4
    lengths = ragged_lengths(rng, T, B)
    dy = normal(rng, dtype, T, B, H)
    expected = reference_stack(layer, x, lengths=lengths, resets=resets, dy=dy)
    (y, _), pullback = layer.vjp(x, lengths=lengths, resets=resets)
    dx, _ = pullback(dy)
    assert_close(y, expected["y"], K=forward_roundings(layer, T), kind="forward", what="y")
    backward = gradient_roundings(layer, T, B)
    assert_close(dx, expected["dx"], K=backward, kind="gradient", what="dx")
    for name, want in expected["grads"].items():
        assert_close(layer.grads[name], want, K=backward, kind="gradient", what=name)


@pytest.mark.parametrize("directions", [1, 2])
def test_packed_sequences_do_not_see_each_other(
    cell: str, directions: int, rng: np.random.Generator
) -> None:
    """Two sequences in one row with a reset between give the bits of each by itself."""
    layer = Recurrent(cell, I, H, 2, bidirectional=directions == 2, rng=rng)
    first, second = normal(rng, np.float32, 3, 1, I), normal(rng, np.float32, 4, 1, I)
    padding = np.full((2, 1, I), 9.0, np.float32)
    resets = np.zeros((9, 1), bool)
    resets[[3, 7]] = True  # step 7 is beyond the end, so its reset counts for nothing
    row = np.concatenate([first, second, padding])
    y, _ = layer(row, lengths=np.array([7]), resets=resets)
    assert_same_bits(y[:3], layer(first)[0])
    assert_same_bits(y[3:7], layer(second)[0])
    assert not y[7:].any()


@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS)
def test_batch_first_is_a_transposition(cell: str, options: dict, rng: np.random.Generator) -> None:
    plain = Recurrent(cell, I, H, **options, rng=rng)
    swapped = Recurrent(cell, I, H, **options, batch_first=True, init="zeros")
    swapped.load_parameters(plain.parameters)
    x, state = normal(rng, np.float32, T, B, I), make_state(plain, B, rng)
    dy, dstate = normal(rng, np.float32, T, B, plain.output_size), make_state(plain, B, rng)
    lengths, resets = ragged_lengths(rng, T, B), rng.random((T, B)) < 0.3

    def turned(a: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(a.swapaxes(0, 1))

    (y, final), pullback = plain.vjp(x, state, lengths=lengths, resets=resets)
    dx, dinitial = pullback(dy, dstate)
    (y2, final2), pullback2 = swapped.vjp(turned(x), state, lengths=lengths, resets=turned(resets))
    dx2, dinitial2 = pullback2(turned(dy), dstate)

    assert y2.flags.c_contiguous
    assert dx2.flags.c_contiguous
    assert_same_bits(y2, turned(y), "y")
    assert_same_bits(final2, final, "state")
    assert_same_bits(dx2, turned(dx), "dx")
    assert_same_bits(dinitial2, dinitial, "dstate")
    assert_same_bits(swapped.flat.grads, plain.flat.grads, "grads")


@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS)
def test_gradients_are_slopes(cell: str, options: dict, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, H, **options, dropout=0.3, dtype=np.float64, rng=rng)
    check_stack_slopes(layer, rng)


@pytest.mark.parametrize("rows", [3, 50], ids=["few-rows", "many-rows"])
@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("batch_first", [False, True], ids=["time-first", "batch-first"])
def test_lookup_equals_gathered_input(
    cell: str, options: dict, batch_first: bool, rows: int, dtype: Any, rng: np.random.Generator
) -> None:
    layer = Recurrent(cell, I, H, **options, batch_first=batch_first, dtype=dtype, rng=rng)
    table, lengths = normal(rng, dtype, rows, I), ragged_lengths(rng, T, B)
    tokens = rng.integers(0, rows, (B, T) if batch_first else (T, B))
    dy = normal(rng, dtype, *tokens.shape, layer.output_size)

    (y, final), pullback = layer.vjp(table[tokens], lengths=lengths)
    dx, dinitial = pullback(dy)
    expected = np.zeros((rows, I))
    np.add.at(expected, tokens, dx)
    grads = {name: grad.copy() for name, grad in layer.grads.items()}
    layer.zero_grads()

    lookup = functional.Lookup(tokens, table)
    (y2, final2), pullback2 = layer.vjp(lookup, lengths=lengths)
    dtable, dinitial2 = pullback2(dy)
    assert_same_bits(y2, y, "y")
    assert_same_bits(final2, final, "state")
    assert_same_bits(layer(lookup, None, lengths)[0], y, "y of inference")
    assert_same_bits(dinitial2, dinitial, "dstate")
    K = gradient_roundings(layer, T, B)
    assert_close(dtable, expected, K=K, kind="gradient", what="dtable")
    for name, want in grads.items():
        assert_close(layer.grads[name], want, K=K, kind="gradient", what=name)
    assert pullback2(dy, needs_dx=False)[0] is None


def test_parts_equal_the_whole(cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, H, 2, rng=rng)
    x = normal(rng, np.float32, T, B, I)
    whole, final = layer(x)
    first, state = layer(x[:2])
    second, state = layer(x[2:], state)
    assert_same_bits(np.concatenate([first, second]), whole)
    assert_same_bits(state, final)


def test_pullbacks_add_up(cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, H, 2, bidirectional=True, dtype=np.float64, rng=rng)
    x, dy = normal(rng, np.float64, T, B, I), normal(rng, np.float64, T, B, 2 * H)
    _, pullback = layer.vjp(x)
    dx, _ = pullback(dy)
    once = layer.flat.grads.copy()
    again, _ = pullback(dy)
    assert_same_bits(again, dx)
    assert_close(layer.flat.grads, 2 * once, K=1, kind="elementwise")


def test_pullback_of_a_part(cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, H, 2, rng=rng)
    x, dy, dstate = normal(rng, np.float32, T, B, I), normal(rng, np.float32, T, B, H), None
    _, pullback = layer.vjp(x)
    pullback(dy, dstate)
    with_dx = layer.flat.grads.copy()
    layer.zero_grads()
    dx, _ = pullback(dy, needs_dx=False)
    assert dx is None
    assert_same_bits(layer.flat.grads, with_dx)

    dstate = make_state(layer, B, rng)
    dx, dinitial = pullback(None, dstate)
    dx0, dinitial0 = pullback(np.zeros_like(dy), dstate)
    assert_same_bits(dx, dx0)
    assert_same_bits(dinitial, dinitial0)


def test_weights_are_read_at_each_call(cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, H, rng=rng)
    x, dy = normal(rng, np.float32, T, B, I), normal(rng, np.float32, T, B, H)
    before, _ = layer(x)
    _, pullback = layer.vjp(x)
    dx, _ = pullback(dy)
    layer.parameters["weight_ih_l0"][...] *= 0.5
    assert np.any(layer(x)[0] != before)
    assert_same_bits(pullback(dy)[0], dx, "a pullback keeps the weights of its vjp")


def test_dropout_between_layers_is_for_training(rng: np.random.Generator) -> None:
    layer = GRU(I, H, 2, dropout=0.5, rng=rng)
    plain = GRU(I, H, 2, init="zeros")
    plain.load_parameters(layer.parameters)
    x = normal(rng, np.float32, T, B, I)
    assert_same_bits(layer(x)[0], plain(x)[0])
    (y, _), _ = layer.vjp(x, rng=np.random.default_rng(1))
    (same, _), _ = layer.vjp(x, rng=np.random.default_rng(1))
    (other, _), _ = layer.vjp(x, rng=np.random.default_rng(2))
    assert_same_bits(y, same)
    assert np.any(y != other)
    with pytest.raises(ValueError, match=r"\[GRU\] dropout=0.5 needs rng"):
        layer.vjp(x)


def test_thin_layers_are_the_cells_of_their_name(rng: np.random.Generator) -> None:
    layers: list[Recurrent[Any]] = [
        LSTM(I, H),
        GRU(I, H),
        RNN(I, H),
        RNN(I, H, nonlinearity="relu"),
        RNN(I, H, 2, "relu", False, True, 0.25, True),
    ]
    assert [layer.cell for layer in layers] == ["lstm", "gru", "rnn_tanh", "rnn_relu", "rnn_relu"]
    last = layers[-1]
    assert repr(last) == (
        "RNN(3, 7, num_layers=2, bidirectional=True, bias=False, batch_first=True, dropout=0.25, "
        "dtype=float32)"
    )
    x = normal(rng, np.float32, T, B, I)
    for layer in layers[:4]:
        y, state = layer(x)
        assert y.shape == (T, B, H)
        assert isinstance(state, tuple) == (layer.cell == "lstm")
        assert_same_bits(as_tuple(state)[0][0], y[-1])


def test_empty_sequences(cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, H, 2, bidirectional=True, rng=rng)
    state = make_state(layer, B, rng)
    (y, final), pullback = layer.vjp(np.zeros((0, B, I), np.float32), state)
    assert y.shape == (0, B, 2 * H)
    assert_same_bits(final, state)
    dstate = make_state(layer, B, rng)
    dx, dinitial = pullback(y, dstate)
    assert dx.shape == (0, B, I)
    assert_same_bits(dinitial, dstate)
    assert not layer.flat.grads.any()


X = np.zeros((T, B, I), np.float32)
STATE = np.zeros((1, B, H), np.float32)

BAD_CALLS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "unbatched": (
        lambda: LSTM(I, H)(X[0]),
        ValueError,
        r"\[LSTM\] expected x of shape \(T, B, I\) = \(T, B, 3\), got \(4, 3\).*x\[:, None\]",
    ),
    "unbatched-batch-first": (
        lambda: GRU(I, H, batch_first=True)(X[0]),
        ValueError,
        r"\[GRU\] expected x of shape \(B, T, I\) = \(B, T, 3\), got \(4, 3\).*x\[None\]",
    ),
    "input size": (lambda: RNN(I + 1, H)(X), ValueError, r"\(T, B, 4\), got \(5, 4, 3\)"),
    "x dtype": (lambda: LSTM(I, H)(X.astype(np.float64)), TypeError, "expected x of dtype float32"),
    "x list": (lambda: LSTM(I, H)(X.tolist()), TypeError, "expected x as an array, got list"),
    "lookup size": (
        lambda: GRU(I, H)(functional.Lookup(np.zeros((T, B), np.int64), X[0, :, :2])),
        ValueError,
        r"expected x of shape \(T, B, I\) = \(T, B, 3\), got \(5, 4, 2\)",
    ),
    "lookup dtype": (
        lambda: GRU(I, H, dtype=np.float64)(functional.Lookup(np.zeros((T, B), int), X[0])),
        TypeError,
        "expected x of dtype float64, got float32",
    ),
    "lookup range": (
        lambda: GRU(I, H)(functional.Lookup(np.full((T, B), B), X[0])),
        ValueError,
        r"expected tokens in 0 \.\. 3, got 4",
    ),
    "state shape": (
        lambda: LSTM(I, H)(X, (STATE, STATE[:, :2])),
        ValueError,
        r"\[LSTM\] expected state c of shape \(layers\*directions, B, H\) = \(1, 4, 7\), "
        r"got \(1, 2, 7\)",
    ),
    "state form": (lambda: LSTM(I, H)(X, STATE), TypeError, r"as a tuple \(h, c\), got ndarray"),
    "state count": (lambda: LSTM(I, H)(X, (STATE,)), TypeError, r"\(h, c\), got 1 entries"),
    "state tuple": (lambda: GRU(I, H)(X, (STATE,)), TypeError, "got tuple"),
    "state dtype": (
        lambda: GRU(I, H)(X, STATE.astype(np.float64)),
        TypeError,
        "expected state h of dtype float32, got float64",
    ),
    "dy shape": (
        lambda: LSTM(I, H).vjp(X)[1](np.zeros((T, B, H + 1), np.float32)),
        ValueError,
        r"expected dy of shape \(T, B, D\*H\) = \(5, 4, 7\), got \(5, 4, 8\)",
    ),
    "dstate": (
        lambda: GRU(I, H).vjp(X)[1](None, STATE[:, 1:]),
        ValueError,
        r"expected state dh of shape .* got \(1, 3, 7\)",
    ),
    "lengths": (lambda: GRU(I, H)(X, lengths=np.array([1, 2, 3, T + 1])), ValueError, "lengths"),
    "resets": (lambda: GRU(I, H)(X, resets=np.zeros((B, T), bool)), ValueError, "resets"),
    "size": (lambda: LSTM(0, H), ValueError, r"\[LSTM\] expected input_size >= 1, got 0"),
    "float size": (lambda: LSTM(I, 2.5), TypeError, "float"),
    "dropout": (
        lambda: GRU(I, H, 2, dropout=1.0),
        ValueError,
        "0 <= dropout < 1, got 1.0",
    ),
    "dtype": (lambda: GRU(I, H, dtype=np.float16), TypeError, "float32 or float64, got float16"),
    "nonlinearity": (
        lambda: RNN(I, H, nonlinearity="sin"),
        ValueError,
        "a function out of .* got 'sin'",
    ),
    "cell": (lambda: Recurrent("perceptron", I, H), ValueError, "perceptron"),
}


@pytest.mark.parametrize(("call", "error", "text"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_calls_have_a_clear_error(
    call: Callable[[], Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        call()
