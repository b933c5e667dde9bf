"""residual=True: the input of a layer after the first is added to its output, where they fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems import ragged_lengths
from stacks import as_tuple, assert_single_grads, check_steps, gradient_roundings, single_layers
from test_recurrent import check_stack_slopes, make_state
from tolerances import assert_close, assert_same_bits
from torch_stacks import assert_equals_torch
from unrolled import functional
from unrolled.layers import GRU, LSTM, RNN, Recurrent
from unrolled.training import gradient_flow

T, B, H = 6, 4, 7


def of_layer(state: Any, scans: slice) -> Any:
    arrays = tuple(np.ascontiguousarray(array[scans]) for array in as_tuple(state))
    return arrays[0] if len(arrays) == 1 else arrays


@pytest.mark.parametrize("inputs", [3, H], ids=["I", "I=H"])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("directions", [1, 2])
def test_layers_one_after_the_other(
    cell: str, dtype: Any, directions: int, ragged: bool, inputs: int, rng: np.random.Generator
) -> None:
    """Even where it would fit, nothing is added to the output of the first layer."""
    layer = Recurrent(
        cell, inputs, H, 3, bidirectional=directions == 2, residual=True, dtype=dtype, rng=rng
    )
    x = rng.standard_normal((T, B, inputs)).astype(dtype)
    dy = rng.standard_normal((T, B, directions * H)).astype(dtype)
    state, dstate = make_state(layer, B, rng), make_state(layer, B, rng)
    lengths = ragged_lengths(rng, T, B) if ragged else None
    (y, final), pullback = layer.vjp(x, state, lengths=lengths)
    dx, dinitial = pullback(dy, dstate)

    singles, pullbacks, between = single_layers(layer), [], x
    for k, single in enumerate(singles):
        scans = slice(k * directions, (k + 1) * directions)
        (own, last), back = single.vjp(between, of_layer(state, scans), lengths=lengths)
        assert_same_bits(of_layer(final, scans), last)
        between = own + between if k else own
        pullbacks.append(back)
    assert_same_bits(y, between)
    assert_same_bits(layer(x, state, lengths)[0], y)
    K, gradient = gradient_roundings(layer, T, B), dy
    for k in (2, 1, 0):
        scans = slice(k * directions, (k + 1) * directions)
        below, dbegin = pullbacks[k](gradient, of_layer(dstate, scans))
        gradient = below + gradient if k else below
        pairs = zip(as_tuple(of_layer(dinitial, scans)), as_tuple(dbegin), strict=True)
        for got, want in pairs:
            assert_close(got, want, K=K, kind="gradient")
    assert_close(dx, gradient, K=K, kind="gradient")
    assert_single_grads(layer, singles, K)


def test_only_where_the_widths_agree(rng: np.random.Generator) -> None:
    layer = GRU(5, (H, H, 4, 4), residual=True, rng=rng)
    x = rng.standard_normal((T, B, 5)).astype(np.float32)
    first, second, third, fourth = single_layers(layer)
    y1 = first(x)[0]
    y2 = second(y1)[0] + y1
    y3 = third(y2)[0]
    assert_same_bits(layer(x)[0], fourth(y3)[0] + y3)
    stream = layer.stream(B)
    assert_same_bits(np.stack([stream(x_t) for x_t in x]), layer(x)[0])
    # The sum of two directions is as wide as the layer below; side by side they are not.
    assert LSTM(5, (4, 4), bidirectional=True, merge="sum", residual=True).residual
    with pytest.raises(ValueError, match="residual"):
        LSTM(5, (4, 2), bidirectional=True, merge="sum", residual=True)
    assert LSTM(5, (4, 4), bidirectional=True, residual=True).residual


def test_streams(cell: str, isa: str, dtype: Any, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, 3, H, 3, residual=True, dtype=dtype, rng=rng)
    x = rng.standard_normal((T, B, 3)).astype(dtype)
    y, final = layer(x)
    stream = layer.stream(B)
    assert_same_bits(np.stack([stream(x_t) for x_t in x]), y)
    assert_same_bits(stream.state, final)
    assert_same_bits(stream.fork(1)(x[0, :1]), y[0, :1])


def test_step_by_step_training(cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, 3, H, 3, residual=True, dropout=0.4, dtype=np.float64, rng=rng)
    layer.dropout = 0.0
    check_steps(layer, rng.standard_normal((T, B, 3)), rng.standard_normal((T, B, H)))


def test_nothing_is_dropped_of_what_is_added(rng: np.random.Generator) -> None:
    """With weights of zero a layer's own output is zero, and what is added remains."""
    layer = GRU(3, H, 2, residual=True, dropout=0.5, rng=rng)
    for name, array in layer.parameters.items():
        if name.endswith("_l1"):
            array[...] = 0
    x, dy = rng.standard_normal((T, B, 3), np.float32), rng.standard_normal((T, B, H), np.float32)
    (y, _), pullback = layer.vjp(x, rng=np.random.default_rng(1))
    first = single_layers(layer)[0]
    (expected, _), first_pullback = first.vjp(x)
    assert_same_bits(y, expected)
    assert_same_bits(pullback(dy)[0], first_pullback(dy)[0])


def test_what_stands_after_the_end_of_a_row_is_ignored(rng: np.random.Generator) -> None:
    layer = LSTM(H, H, 2, residual=True, rng=rng)
    x, dy = rng.standard_normal((2, T, B, H), np.float32)
    lengths = np.array([6, 0, 3, 1])
    (y, _), pullback = layer.vjp(x, lengths=lengths)
    dx, _ = pullback(dy)
    dead = np.arange(T)[:, None] >= lengths
    assert not y[dead].any()
    assert not dx[dead].any()
    x[dead], dy[dead] = np.nan, np.nan
    grads = layer.flat.grads.copy()
    layer.zero_grads()
    (again, _), pullback = layer.vjp(x, lengths=lengths)
    assert_same_bits(again, y)
    assert_same_bits(pullback(dy)[0], dx)
    assert_same_bits(layer.flat.grads, grads)


def test_states_are_the_layers_own(rng: np.random.Generator) -> None:
    layer = GRU(3, H, 2, residual=True, rng=rng)
    x = rng.standard_normal((T, B, 3), np.float32)
    y, final = layer(x)
    h = layer.states(x)
    assert_same_bits(h[:, -1], final)
    assert_same_bits(h[1] + h[0], y)


def test_gradients_are_slopes(cell: str, rng: np.random.Generator) -> None:
    options: dict[str, Any] = {"residual": True, "dropout": 0.3, "dtype": np.float64, "rng": rng}
    check_stack_slopes(Recurrent(cell, 3, H, 3, **options), rng)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_torch(kind: Any, batch_first: bool, dtype: Any, rng: np.random.Generator) -> None:
    layer = kind(
        H, H, 3, bidirectional=True, residual=True, batch_first=batch_first, dtype=dtype, rng=rng
    )
    residual = (False, True, True)
    assert_equals_torch(layer, T, B, residual=residual, with_state=True)
    assert_equals_torch(layer, T, B, residual=residual, lengths=np.array([6, 0, 3, 1]))


def test_gradient_flow(rng: np.random.Generator) -> None:
    """A layer whose weights are zero hands on the whole gradient of its output."""
    layer = RNN(3, H, 2, residual=True, rng=rng)
    for name, array in layer.parameters.items():
        if name.endswith("_l1"):
            array[...] = 0
    x = rng.standard_normal((T, B, 3), np.float32)
    flow, alone = gradient_flow(layer, x)["h"], gradient_flow(single_layers(layer)[0], x)["h"]
    assert_close(flow[:1], alone, K=10 * T, kind="gradient", dtype="f4")


def test_tokens_that_are_looked_up(rng: np.random.Generator) -> None:
    layer = GRU(H, H, 2, residual=True, rng=rng)
    table, tokens = rng.standard_normal((4, H)).astype(np.float32), rng.integers(0, 4, (T, B))
    assert_same_bits(layer(functional.Lookup(tokens, table))[0], layer(table[tokens])[0])


def test_text_and_errors() -> None:
    assert "num_layers=2, residual=True" in repr(GRU(3, H, 2, residual=True))
    for arguments in ((H, H, 1), (3, (4, 5, 6))):
        with pytest.raises(ValueError, match=r"\[LSTM\] expected a layer after the first with as"):
            LSTM(*arguments, residual=True)
