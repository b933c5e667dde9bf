"""A stream gives, one step at a time, the bits that the layer gives over the whole sequence."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from stacks import as_tuple
from tolerances import assert_same_bits
from unrolled import functional
from unrolled.layers import GRU, LSTM, Recurrent

T, B, I, H = 6, 3, 5, 9  # noqa: E741

#: Units of layers of megabytes.
WIDE = 241


def draw(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("batch", [1, B, 17])
@pytest.mark.parametrize("layers", [1, 3])
def test_stream_equals_sequence(
    cell: str, isa: str, dtype: Any, layers: int, batch: int, rng: np.random.Generator
) -> None:
    layer = Recurrent(cell, I, H, layers, dtype=dtype, rng=rng)
    x = draw(rng, dtype, T, batch, I)
    y, final = layer(x)
    stream = layer.stream(batch)
    outputs = [stream(x_t) for x_t in x]
    assert_same_bits(np.stack(outputs), y)
    assert_same_bits(stream.state, final)


@pytest.mark.parametrize("team", [1, 2])
@pytest.mark.parametrize("batch", [1, B])
def test_stream_of_weights_that_exceed_a_cache(
    cell: str, isa: str, dtype: Any, batch: int, team: int, rng: np.random.Generator, threads: None
) -> None:
    # Every other step of it goes through the weights the other way round.
    functional.set_num_threads(team)
    layer = Recurrent(cell, I, WIDE, 3, dtype=dtype, rng=rng)
    x = draw(rng, dtype, T, batch, I)
    y, final = layer(x)
    stream = layer.stream(batch)
    assert_same_bits(np.stack([stream(x_t) for x_t in x]), y)
    assert_same_bits(stream.state, final)
    stream.reset()
    assert_same_bits(np.stack([stream(x_t) for x_t in x[:3]]), y[:3])


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_stream_of_narrow_weights_that_exceed_a_cache(
    narrow_cell: str, precision: functional.Precision, isa: str, rng: np.random.Generator
) -> None:
    layer = Recurrent(narrow_cell, I, 2 * WIDE, 2, rng=rng)
    x = draw(rng, np.float32, T, B, I)
    with layer.in_precision(precision):
        y, _ = layer(x)
        stream = layer.stream(B)
        assert_same_bits(np.stack([stream(x_t) for x_t in x]), y)


def test_state_can_be_taken_and_put_back(cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, H, 2, rng=rng)
    x = draw(rng, np.float32, T, B, I)
    stream = layer.stream(B)
    for x_t in x[:3]:
        stream(x_t)
    state = stream.state
    expected = [stream(x_t) for x_t in x[3:]]

    other = layer.stream(B)
    other.state = state
    assert_same_bits([other(x_t) for x_t in x[3:]], expected)
    stream.state = state
    for part in as_tuple(state):
        part[...] = np.nan  # a copy went in, so this is nobody's state any more
    assert_same_bits([stream(x_t) for x_t in x[3:]], expected)

    stream.reset()
    assert not any(part.any() for part in as_tuple(stream.state))
    other.state = None
    assert_same_bits(stream(x[0]), other(x[0]))
    assert_same_bits(stream(x[1]), layer(x[:2])[0][1])


def test_weights_are_a_snapshot(rng: np.random.Generator) -> None:
    layer = LSTM(I, H, rng=rng)
    x = draw(rng, np.float32, 1, B, I)
    before = layer(x)[0]
    stream = layer.stream(B)
    layer.flat.values[:] *= 2
    assert_same_bits(stream(x[0]), before[0])
    assert_same_bits(stream.fork(B)(x[0]), before[0])
    assert_same_bits(layer.stream(B)(x[0]), layer(x)[0][0])


def test_streams_are_independent(rng: np.random.Generator) -> None:
    layer = GRU(I, H, 2, rng=rng)
    x, other = draw(rng, np.float32, T, 1, I), draw(rng, np.float32, T, B, I)
    first = layer.stream()
    second = first.fork(B)
    assert (first.batch, second.batch, first.fork().batch) == (1, B, 1)
    outputs = [(first(a), second(b)) for a, b in zip(x, other, strict=True)]
    assert_same_bits(np.stack([a for a, _ in outputs]), layer(x)[0])
    assert_same_bits(np.stack([b for _, b in outputs]), layer(other)[0])


def test_output_is_new_unless_given(rng: np.random.Generator) -> None:
    layer = GRU(I, H, 2, rng=rng)
    x = draw(rng, np.float32, 2, B, I)
    stream = layer.stream(B)
    first = stream(x[0])
    kept = first.copy()
    out = np.empty((B, H), np.float32)
    assert stream(x[1], out=out) is out
    assert_same_bits(first, kept)
    assert_same_bits(out, layer(x)[0][1])


def test_a_step_into_a_given_array_allocates_nothing(rng: np.random.Generator) -> None:
    hidden = 512  # so that an array is much larger than Python's own small objects
    stream = LSTM(I, hidden, 2, rng=rng).stream(B)
    x, out = draw(rng, np.float32, B, I), np.empty((B, hidden), np.float32)
    array_bytes = out.nbytes
    stream(x, out=out)
    tracemalloc.start()  # NumPy reports its arrays there
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(50):
            stream(x, out=out)
        after, peak = tracemalloc.get_traced_memory()
        assert peak - before < array_bytes
        assert after - before < array_bytes
        stream(x)
        assert tracemalloc.get_traced_memory()[1] - before >= array_bytes  # this one made an array
    finally:
        tracemalloc.stop()


def test_input_may_be_a_slice(rng: np.random.Generator) -> None:
    layer = GRU(I, H, rng=rng)
    x = draw(rng, np.float32, B, T, I)
    stream = layer.stream(B)
    outputs = [stream(x[:, t]) for t in range(T)]
    assert_same_bits(np.stack(outputs), layer(np.ascontiguousarray(x.swapaxes(0, 1)))[0])
    with pytest.raises(ValueError, match="unit stride along its last axis"):
        stream(np.zeros((I, B), np.float32).T)


def test_errors(rng: np.random.Generator) -> None:
    stream = LSTM(I, H, rng=rng).stream(B)
    with pytest.raises(ValueError, match=r"x_t of shape \(B, I\) = \(3, 5\), got \(5,\)"):
        stream(np.zeros(I, np.float32))
    with pytest.raises(TypeError, match="x_t of dtype float32, got float64"):
        stream(np.zeros((B, I)))
    with pytest.raises(ValueError, match=r"out of shape \(B, H\) = \(3, 9\)"):
        stream(np.zeros((B, I), np.float32), out=np.zeros((1, H), np.float32))
    square, same = LSTM(H, H, rng=rng).stream(B), np.zeros((B, H), np.float32)
    with pytest.raises(ValueError, match="out to be another array than x_t"):
        square(same, out=same)
    with pytest.raises(TypeError, match="expected x_t as an array, got list"):
        stream([[0.0]])  # type: ignore[arg-type]
    read_only = np.zeros((B, H), np.float32)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="out to be writable"):
        stream(np.zeros((B, I), np.float32), out=read_only)
    with pytest.raises(ValueError, match=r"state h of shape .* = \(1, 3, 9\), got \(1, 1, 9\)"):
        stream.state = (np.zeros((1, 1, H), np.float32), np.zeros((1, B, H), np.float32))
    with pytest.raises(ValueError, match="expected batch >= 1, got 0"):
        stream.fork(0)
    with pytest.raises(ValueError, match=r"\[GRU\] a bidirectional layer cannot stream"):
        GRU(I, H, bidirectional=True).stream()
