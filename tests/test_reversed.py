"""A layer that reads backwards is the second direction of a bidirectional one, alone."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from tolerances import assert_close, assert_same_bits
from unrolled import functional
from unrolled.layers import GRU, LSTM, Recurrent, Reversed, state_arrays

T, B, I, H = 9, 4, 3, 5  # noqa: E741


def make_pair(
    cell: str, rng: np.random.Generator, *, batch_first: bool
) -> tuple[Reversed[Any], Recurrent[Any]]:
    """A layer, and a bidirectional one with its parameters in the second direction."""
    options: dict[str, Any] = {"batch_first": batch_first, "rng": rng}
    backwards: Reversed[Any] = Reversed(Recurrent(cell, I, H, **options))
    both: Recurrent[Any] = Recurrent(cell, I, H, bidirectional=True, **options)
    for name, array in backwards.layer.parameters.items():
        both.parameters[f"{name}_reverse"][...] = array
    return backwards, both


@pytest.mark.parametrize("batch_first", [False, True], ids=["steps-first", "batch-first"])
@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@pytest.mark.parametrize("restarts", [False, True], ids=["", "resets"])
def test_the_second_direction_alone(
    cell: str, restarts: bool, ragged: bool, batch_first: bool, rng: np.random.Generator
) -> None:
    backwards, both = make_pair(cell, rng, batch_first=batch_first)
    shape = (B, T) if batch_first else (T, B)
    x, dy = (rng.standard_normal((*shape, n), np.float32) for n in (I, H))
    options = {
        "lengths": np.array([T, 0, 1, 6]) if ragged else None,
        "resets": rng.random(shape) < 0.3 if restarts else None,
    }
    y, final = backwards(x, **options)
    expected, both_final = both(x, **options)
    assert_same_bits(y, np.ascontiguousarray(expected[..., H:]))
    for one, two in zip(state_arrays(final), state_arrays(both_final), strict=True):
        assert_same_bits(one[0], two[1])

    (_, final), pullback = backwards.vjp(x, **options)
    dx, _ = pullback(dy)
    _, both_pullback = both.vjp(x, **options)
    expected_dx, _ = both_pullback(np.concatenate([np.zeros_like(dy), dy], axis=2))
    K = T * (I + 6 * H + B)
    assert_close(dx, expected_dx, K=2 * K, kind="gradient")
    for name, grad in backwards.layer.grads.items():
        assert_close(grad, both.grads[f"{name}_reverse"], K=2 * K, kind="gradient", what=name)


def test_tokens_that_are_looked_up(rng: np.random.Generator) -> None:
    backwards = Reversed(GRU(I, H, rng=rng))
    table, tokens = rng.standard_normal((4, I), np.float32), rng.integers(0, 4, (T, B))
    lengths = np.array([T, 2, 5, 0])
    lookup = functional.Lookup(tokens, table)
    y, _ = backwards(lookup, lengths=lengths)
    expected, _ = backwards(table[tokens], lengths=lengths)
    assert_close(y, expected, K=T * (I + H + 3), kind="forward")
    dy = rng.standard_normal(y.shape, np.float32)
    dtable, _ = backwards.vjp(lookup, lengths=lengths)[1](dy)
    dx, _ = backwards.vjp(table[tokens], lengths=lengths)[1](dy)
    expected_table = np.zeros_like(table)
    np.add.at(expected_table, tokens, dx)
    assert_close(dtable, expected_table, K=T * (I + 4 * H + B) + T * B, kind="gradient")


def test_a_state_goes_on_to_what_came_before(rng: np.random.Generator) -> None:
    backwards = Reversed(LSTM(I, H, rng=rng))
    x = rng.standard_normal((T, B, I), np.float32)
    y, final = backwards(x)
    late, state = backwards(x[4:])
    early, state = backwards(x[:4], state)
    assert_same_bits(np.concatenate([early, late]), y)
    assert_same_bits(list(state), list(final))


def test_copies(rng: np.random.Generator) -> None:
    backwards = Reversed(LSTM(I, H, rng=rng))
    again = pickle.loads(pickle.dumps(backwards))
    assert repr(again) == repr(backwards) == f"Reversed({backwards.layer!r})"
    x = rng.standard_normal((T, B, I), np.float32)
    assert_same_bits(again(x)[0], backwards(x)[0])


def test_errors(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=r"\[Reversed\] expected a layer of one direction"):
        Reversed(LSTM(I, H, bidirectional=True))
    backwards = Reversed(LSTM(I, H, rng=rng))
    x = np.zeros((T, B, I), np.float32)
    wrong: list[tuple[Any, Any]] = [
        (x[0, 0], None),
        (x[..., :1], None),
        (x, np.zeros(B + 1, np.int64)),
        (x, np.full(B, T + 1)),
        (x, np.full(B, -1)),
    ]
    for sequence, lengths in wrong:
        with pytest.raises(ValueError, match=r"\[(LSTM|lstm)\] expected"):
            backwards(sequence, lengths=lengths)
    with pytest.raises(TypeError, match="expected x as an array"):
        backwards([[1.0]])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="integer"):
        backwards(x, lengths=np.ones(B))
