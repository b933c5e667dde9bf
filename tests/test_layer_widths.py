"""hidden_size as a sequence: each layer of a stack has a width of its own."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from problems import ragged_lengths
from stacks import (
    as_tuple,
    assert_single_grads,
    check_steps,
    gradient_roundings,
    single_layers,
)
from test_recurrent import check_stack_slopes, make_state
from tolerances import assert_close, assert_same_bits
from torch_stacks import assert_equals_torch
from unrolled import functional
from unrolled.layers import GRU, LSTM, RNN, Recurrent
from unrolled.training import gradient_flow

T, B, I = 6, 4, 3  # noqa: E741
WIDTHS = (9, 5, 17)


def make(cell: str, rng: np.random.Generator, **options: Any) -> Recurrent[Any]:
    return Recurrent(cell, I, WIDTHS, rng=rng, **options)


def of_layer(state: Any, k: int) -> Any:
    """What is a layer's own of a state (D, B, H_1 + ... + H_L)."""
    arrays = tuple(
        np.ascontiguousarray(np.split(array, np.cumsum(WIDTHS)[:-1], 2)[k])
        for array in as_tuple(state)
    )
    return arrays[0] if len(arrays) == 1 else arrays


@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("directions", [1, 2])
def test_layers_one_after_the_other(
    cell: str, dtype: Any, directions: int, ragged: bool, rng: np.random.Generator
) -> None:
    layer = make(cell, rng, bidirectional=directions == 2, dtype=dtype)
    assert (layer.hidden_sizes, layer.num_layers) == (WIDTHS, 3)
    assert (layer.hidden_size, layer.output_size) == (17, directions * 17)
    state, dstate = make_state(layer, B, rng), make_state(layer, B, rng)
    assert all(array.shape == (directions, B, sum(WIDTHS)) for array in as_tuple(state))
    x = rng.standard_normal((T, B, I)).astype(dtype)
    dy = rng.standard_normal((T, B, layer.output_size)).astype(dtype)
    lengths = ragged_lengths(rng, T, B) if ragged else None
    (y, final), pullback = layer.vjp(x, state, lengths=lengths)
    dx, dinitial = pullback(dy, dstate)

    singles, pullbacks, between = single_layers(layer), [], x
    for k, single in enumerate(singles):
        (between, last), back = single.vjp(between, of_layer(state, k), lengths=lengths)
        assert_same_bits(of_layer(final, k), last)
        pullbacks.append(back)
    assert_same_bits(y, between)
    K, gradient = gradient_roundings(layer, T, B), dy
    for k in (2, 1, 0):
        gradient, dbegin = pullbacks[k](gradient, of_layer(dstate, k))
        for got, want in zip(as_tuple(of_layer(dinitial, k)), as_tuple(dbegin), strict=True):
            assert_close(got, want, K=K, kind="gradient")
    assert_close(dx, gradient, K=K, kind="gradient")
    assert_single_grads(layer, singles, K)
    assert_same_bits(layer(x, state, lengths)[0], y)


def test_streams(cell: str, isa: str, rng: np.random.Generator) -> None:
    layer = make(cell, rng)
    x = rng.standard_normal((T, B, I), np.float32)
    y, final = layer(x)
    stream = layer.stream(B)
    assert_same_bits(np.stack([stream(x_t) for x_t in x]), y)
    assert_same_bits(stream.state, final)
    again = stream.fork()
    again.state = layer(x[:2])[1]
    assert_same_bits(again(x[2]), y[2])


def test_step_by_step_training(cell: str, rng: np.random.Generator) -> None:
    layer = make(cell, rng, dtype=np.float64)
    check_steps(layer, rng.standard_normal((T, B, I)), rng.standard_normal((T, B, 17)))


def test_gradients_are_slopes(cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, (7, 4), dropout=0.3, dtype=np.float64, rng=rng)
    check_stack_slopes(layer, rng)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_torch(kind: Any, batch_first: bool, dtype: Any, rng: np.random.Generator) -> None:
    layer = kind(I, WIDTHS, bidirectional=True, batch_first=batch_first, dtype=dtype, rng=rng)
    assert_equals_torch(layer, T, B, with_state=True)
    assert_equals_torch(layer, T, B, lengths=np.array([6, 0, 3, 1]))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_torch_with_a_projection(rng: np.random.Generator) -> None:
    layer = LSTM(I, (9, 5), proj_size=4, rng=rng)
    assert [shape[2] for shape in layer._shapes(B)] == [8, 14]
    assert_equals_torch(layer, T, B, with_state=True)


def test_states_after_every_step(rng: np.random.Generator) -> None:
    layer = make("lstm", rng, bidirectional=True, batch_first=True)
    x = rng.standard_normal((B, T, I)).astype(np.float32)
    h, c = layer.states(x)
    assert h.shape == c.shape == (2, B, T, sum(WIDTHS))
    y, (last_h, last_c) = layer(x)
    assert_same_bits(h[0, :, -1], last_h[0])
    assert_same_bits(c[1, :, 0], last_c[1])
    assert_same_bits(np.concatenate([*h[..., -17:]], axis=2), y)


def test_memory_and_gradient_flow(rng: np.random.Generator) -> None:
    layer, singles = make("gru", rng), single_layers(make("gru", rng))
    assert layer.memory(T, B).saved == sum(single.memory(T, B).saved for single in singles)
    x = rng.standard_normal((T, B, I)).astype(np.float32)
    flow = gradient_flow(layer, x)["h"]
    assert flow.shape == (3, T + 1)
    assert flow[2, T] == pytest.approx(1.0)
    last = single_layers(layer)[2]
    between = single_layers(layer)[1](single_layers(layer)[0](x)[0])[0]
    assert_close(flow[2:], gradient_flow(last, between)["h"], K=10 * T, kind="gradient", dtype="f4")


def test_a_width_that_is_the_same_everywhere_is_a_number(rng: np.random.Generator) -> None:
    layer = LSTM(I, [5, 5], rng=np.random.default_rng(1))
    plain = LSTM(I, 5, 2, rng=np.random.default_rng(1))
    assert repr(layer) == repr(plain)
    x = rng.standard_normal((T, B, I)).astype(np.float32)
    y, state = layer(x)
    assert_same_bits((y, state), plain(x))
    assert state[0].shape == (2, B, 5)
    assert GRU(I, (5,)).hidden_sizes == (5,)
    assert GRU(I, (5, 6), 2).num_layers == 2


def test_copies_and_parameters(rng: np.random.Generator) -> None:
    layer = make("lstm", rng)
    assert repr(layer) == "Recurrent('lstm', 3, (9, 5, 17), dtype=float32)"
    again = pickle.loads(pickle.dumps(layer))
    x = rng.standard_normal((T, B, I)).astype(np.float32)
    assert_same_bits(again(x), layer(x))
    shapes = {name: layer.parameters[name].shape for name in ("weight_ih_l1", "weight_hh_l2")}
    assert shapes == {"weight_ih_l1": (20, 9), "weight_hh_l2": (68, 17)}


def test_tokens_that_are_looked_up(rng: np.random.Generator) -> None:
    layer = make("gru", rng, bidirectional=True)
    table, tokens = rng.standard_normal((4, I)).astype(np.float32), rng.integers(0, 4, (T, B))
    y, _ = layer(functional.Lookup(tokens, table))
    assert_same_bits(y, layer(table[tokens])[0])


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"\[LSTM\] .*each of num_layers=3 layers, got 2"):
        LSTM(I, (5, 6), 3)
    with pytest.raises(ValueError, match=r"\[GRU\] .*got 0"):
        GRU(I, ())
    with pytest.raises(ValueError, match=r"\[GRU\] expected hidden_size >= 1, got 0"):
        GRU(I, (5, 0))
    with pytest.raises(ValueError, match=r"hidden_size - 1 = 4, got 5"):
        LSTM(I, (9, 5), proj_size=5)
    x, h = np.zeros((T, B, I), np.float32), np.zeros((2, B, 5), np.float32)
    with pytest.raises(ValueError, match=r"\(directions, B, sum of H\) = \(1, 4, 11\), got"):
        GRU(I, (5, 6))(x, h)
