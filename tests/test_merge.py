"""merge="sum": the outputs of two directions are added; everything else is as side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems import ragged_lengths
from stacks import assert_single_grads, gradient_roundings, single_layers
from test_recurrent import check_stack_slopes, make_state
from tolerances import assert_close, assert_same_bits
from torch_stacks import assert_equals_torch
from unrolled.layers import GRU, LSTM, RNN, Recurrent

T, B, I, H = 6, 4, 3, 7  # noqa: E741
BOTH: dict[str, Any] = {"bidirectional": True, "merge": "sum"}


@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
def test_a_layer_is_the_sum_of_its_directions(
    cell: str, dtype: Any, ragged: bool, rng: np.random.Generator
) -> None:
    layer = Recurrent(cell, I, H, **BOTH, dtype=dtype, rng=rng)
    assert layer.output_size == H
    beside = single_layers(layer)[0]
    x, dy = (rng.standard_normal((T, B, n)).astype(dtype) for n in (I, H))
    state, dstate = make_state(layer, B, rng), make_state(layer, B, rng)
    lengths = ragged_lengths(rng, T, B) if ragged else None
    (y, final), pullback = layer.vjp(x, state, lengths=lengths)
    (both, both_final), both_pullback = beside.vjp(x, state, lengths=lengths)
    assert_same_bits(y, both[..., :H] + both[..., H:])
    assert_same_bits(final, both_final)
    assert_same_bits(layer(x, state, lengths)[0], y)
    dx, dinitial = pullback(dy, dstate)
    both_dx, both_dinitial = both_pullback(np.concatenate([dy, dy], axis=2), dstate)
    assert_same_bits(dx, both_dx)
    assert_same_bits(dinitial, both_dinitial)
    for name, gradient in beside.grads.items():
        assert_same_bits(layer.grads[name], gradient, name)


def test_the_layer_above_reads_the_sum(cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, H, 2, **BOTH, dtype=np.float64, rng=rng)
    assert layer.parameters["weight_ih_l1"].shape[1] == H
    first, second = single_layers(layer)
    x, dy = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, H))
    (halves, _), first_pullback = first.vjp(x)
    between = halves[..., :H] + halves[..., H:]
    (halves, _), second_pullback = second.vjp(between)
    (y, _), pullback = layer.vjp(x)
    assert_same_bits(y, halves[..., :H] + halves[..., H:])
    dx, _ = pullback(dy)
    dbetween, _ = second_pullback(np.concatenate([dy, dy], axis=2))
    expected, _ = first_pullback(np.concatenate([dbetween, dbetween], axis=2))
    K = gradient_roundings(layer, T, B)
    assert_close(dx, expected, K=K, kind="gradient")
    assert_single_grads(layer, [first, second], K)


def test_states_after_every_step_are_those_of_the_directions(rng: np.random.Generator) -> None:
    layer = LSTM(I, H, **BOTH, rng=rng)
    x = rng.standard_normal((T, B, I), np.float32)
    h, c = layer.states(x)
    beside = single_layers(layer)[0]
    expected = beside.states(x)
    assert_same_bits((h, c), expected)
    assert_same_bits(h[0] + h[1], layer(x)[0])


def test_gradients_are_slopes(cell: str, rng: np.random.Generator) -> None:
    check_stack_slopes(
        Recurrent(cell, I, H, 2, **BOTH, dropout=0.3, dtype=np.float64, rng=rng), rng
    )


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_torch(kind: Any, batch_first: bool, dtype: Any, rng: np.random.Generator) -> None:
    layer = kind(I, H, 2, **BOTH, batch_first=batch_first, dtype=dtype, rng=rng)
    assert_equals_torch(layer, T, B, with_state=True)
    assert_equals_torch(layer, T, B, lengths=np.array([6, 0, 3, 1]))


def test_text_and_memory() -> None:
    layer = GRU(I, H, 2, **BOTH)
    assert "bidirectional=True, merge='sum'" in repr(layer)
    assert "merge" not in repr(GRU(I, H, 2, bidirectional=True))
    # Half of what lies between the two layers.
    assert 2 * layer.memory(T, B).between == GRU(I, H, 2, bidirectional=True).memory(T, B).between


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"\[LSTM\] expected merge to be concat or sum, got 'ave'"):
        LSTM(I, H, bidirectional=True, merge="ave")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[GRU\] expected bidirectional=True with merge='sum'"):
        GRU(I, H, merge="sum")
    x = np.zeros((T, B, I), np.float32)
    with pytest.raises(ValueError, match=r"dy of shape \(T, B, H\) = \(6, 4, 7\)"):
        LSTM(I, H, **BOTH).vjp(x)[1](np.zeros((T, B, 2 * H), np.float32))
