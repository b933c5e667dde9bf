"""learn_initial_state=True: sequences begin with parameters, one vector a scan and state."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from problems import ragged_lengths, valid_state
from stacks import as_state, as_tuple, check_steps
from test_recurrent import check_slopes, make_state
from tolerances import assert_close, assert_same_bits
from torch_stacks import assert_equals_torch
from unrolled.layers import GRU, LSTM, RNN, Recurrent, Reversed
from unrolled.training import gradient_flow

T, B, I, H = 6, 4, 3, 7  # noqa: E741


def make(cell: str, rng: np.random.Generator, *, learn: bool = True, **options: Any) -> Any:
    """A layer whose learned states are drawn, and the same one without them."""
    options = {"num_layers": 2, **options}
    layer = Recurrent(cell, I, H, learn_initial_state=learn, rng=rng, **options)
    for name, array in layer.parameters.items():
        if name.startswith("initial_"):
            array[...] = valid_state(name.split("_")[1], rng.standard_normal(array.shape))
    plain = Recurrent(cell, I, H, **options, init="zeros")
    plain.load_parameters({name: layer.parameters[name] for name in plain.parameters})
    return layer, plain


def learned(layer: Recurrent[Any], batch: int) -> Any:
    """The learned states as a caller would give them."""
    names = [scan.initial for scan in layer._scans]
    columns = zip(*names, strict=True)
    return as_state(
        tuple(
            np.stack([np.tile(layer.parameters[name], (batch, 1)) for name in of]) for of in columns
        )
    )


def test_they_are_parameters_and_zero_at_first(cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, H, 2, bidirectional=True, learn_initial_state=True, rng=rng)
    plain = Recurrent(cell, I, H, 2, bidirectional=True, rng=rng)
    names = [name for name in layer.parameters if name not in plain.parameters]
    states = layer._state_names
    expected = [f"initial_{s}_l{k}{d}" for k in (0, 1) for d in ("", "_reverse") for s in states]
    assert names == expected
    for name in names:
        assert layer.parameters[name].shape == (H,)
        assert not layer.parameters[name].any()
        assert layer.flat.slices[name].start >= layer.flat.vectors.start  # no weight decay
    plain.load_parameters({name: layer.parameters[name] for name in plain.parameters})
    x = rng.standard_normal((T, B, I), np.float32)
    assert_same_bits(layer(x)[0], plain(x)[0])


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
def test_a_call_begins_with_them(
    cell: str, dtype: Any, directions: int, ragged: bool, rng: np.random.Generator
) -> None:
    layer, plain = make(cell, rng, bidirectional=directions == 2, dtype=dtype)
    x = rng.standard_normal((T, B, I)).astype(dtype)
    dy = rng.standard_normal((T, B, directions * H)).astype(dtype)
    lengths, dstate = ragged_lengths(rng, T, B) if ragged else None, make_state(layer, B, rng)
    begin = learned(layer, B)
    (y, final), pullback = layer.vjp(x, lengths=lengths)
    dx, dinitial = pullback(dy, dstate)
    (wanted, wanted_final), plain_pullback = plain.vjp(x, begin, lengths=lengths)
    wanted_dx, wanted_dinitial = plain_pullback(dy, dstate)
    assert_same_bits(y, wanted)
    assert_same_bits(final, wanted_final)
    assert_same_bits(layer(x, None, lengths)[0], wanted)
    assert_same_bits(dx, wanted_dx)
    assert_same_bits(dinitial, wanted_dinitial)
    for k, scan in enumerate(layer._scans):
        for name, d in zip(scan.initial, as_tuple(dinitial), strict=True):
            assert_close(layer.grads[name], d[k].sum(axis=0), K=B, kind="gradient", what=name)
    for name, gradient in plain.grads.items():
        assert_same_bits(layer.grads[name], gradient, name)


def test_a_given_state_takes_their_place(cell: str, rng: np.random.Generator) -> None:
    layer, plain = make(cell, rng)
    x, state = rng.standard_normal((T, B, I), np.float32), make_state(layer, B, rng)
    dy = rng.standard_normal((T, B, H), np.float32)
    assert_same_bits(layer(x, state), plain(x, state))
    layer.vjp(x, state)[1](dy)
    for scan in layer._scans:
        assert not any(layer.grads[name].any() for name in scan.initial)


def test_streams_begin_with_them(cell: str, isa: str, rng: np.random.Generator) -> None:
    layer, _ = make(cell, rng)
    x = rng.standard_normal((T, B, I), np.float32)
    y, final = layer(x)
    stream = layer.stream(B)
    assert_same_bits(stream.state, learned(layer, B))
    assert_same_bits(np.stack([stream(x_t) for x_t in x]), y)
    assert_same_bits(stream.state, final)
    stream.reset()
    assert_same_bits(stream(x[0]), y[0])
    assert_same_bits(stream.fork()(x[0]), y[0])
    stream.state = None
    assert_same_bits(stream(x[0]), y[0])
    for name in layer._scans[0].initial:  # a snapshot, as the weights
        layer.parameters[name][...] = 0
    stream.reset()
    assert_same_bits(stream(x[0]), y[0])


def test_step_by_step_training(rng: np.random.Generator) -> None:
    layer, _ = make("lstm", rng, dtype=np.float64)
    check_steps(layer, rng.standard_normal((T, B, I)), rng.standard_normal((T, B, H)))


def test_gradients_are_slopes(cell: str, rng: np.random.Generator) -> None:
    layer, _ = make(cell, rng, bidirectional=True, dropout=0.3, dtype=np.float64)
    x, dy = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, 2 * H))
    lengths = np.array([6, 0, 3, 1])

    def run() -> Any:
        return layer.vjp(x, lengths=lengths, rng=np.random.default_rng(8))

    run()[1](dy)
    check_slopes(layer, lambda: float((run()[0][0] * dy).sum()), [])


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_torch(kind: Any, batch_first: bool, dtype: Any, rng: np.random.Generator) -> None:
    layer = kind(
        I,
        (H, 5),
        bidirectional=True,
        learn_initial_state=True,
        batch_first=batch_first,
        dtype=dtype,
        rng=rng,
    )
    for scan in layer._scans:
        for name in scan.initial:
            layer.parameters[name][...] = rng.standard_normal(layer.parameters[name].shape)
    assert_equals_torch(layer, T, B)
    assert_equals_torch(layer, T, B, lengths=np.array([6, 0, 3, 1]))
    assert_equals_torch(layer, T, B, with_state=True)


def test_copies_and_files(rng: np.random.Generator, tmp_path: Path) -> None:
    layer, _ = make("gru", rng)
    x = rng.standard_normal((T, B, I), np.float32)
    again = pickle.loads(pickle.dumps(layer))
    assert_same_bits(again(x), layer(x))
    np.savez(tmp_path / "layer.npz", **layer.parameters)
    other = Recurrent("gru", I, H, 2, learn_initial_state=True, init="zeros")
    with np.load(tmp_path / "layer.npz") as arrays:
        other.load_parameters(dict(arrays))
    assert_same_bits(other(x), layer(x))
    assert "learn_initial_state=True" in repr(layer)


def test_a_layer_that_reads_backwards(rng: np.random.Generator) -> None:
    layer, plain = make("gru", rng)
    begin = learned(layer, B)
    x = rng.standard_normal((T, B, I), np.float32)
    assert_same_bits(Reversed(layer)(x), Reversed(plain)(x, begin))


def test_gradient_flow(rng: np.random.Generator) -> None:
    layer, plain = make("lstm", rng)
    x = rng.standard_normal((T, B, I), np.float32)
    flow, expected = gradient_flow(layer, x), gradient_flow(plain, x, None, learned(layer, B))
    for name in flow:
        assert_same_bits(flow[name], expected[name])


class Listener:
    """How many additions to each gradient were told of, and came."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.came: list[str] = []

    def expected(self, names: Any) -> None:
        self.told += names

    def added(self, names: Any) -> None:
        self.came += names


def test_gradients_are_told_of(rng: np.random.Generator) -> None:
    layer, _ = make("lstm", rng)
    x, dy = rng.standard_normal((T, B, I), np.float32), rng.standard_normal((T, B, H), np.float32)
    for state, names in ((None, {*layer.parameters}), (make_state(layer, B, rng), None)):
        listener = Listener()
        layer.listen(listener)
        _, pullback = layer.vjp(x, state)
        pullback(dy)
        own = names or {name for name in layer.parameters if not name.startswith("initial_")}
        assert {*listener.told} == own
        assert sorted(listener.came) == sorted(listener.told)


def test_resets_are_refused(rng: np.random.Generator) -> None:
    layer, _ = make("gru", rng)
    x, resets = np.zeros((T, B, I), np.float32), np.zeros((T, B), bool)
    for call in (layer, layer.vjp, layer.states):
        with pytest.raises(ValueError, match="expected no resets with learn_initial_state=True"):
            call(x, resets=resets)
