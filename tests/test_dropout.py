"""Dropout of every kind drops what it says, the same on the way back, and nothing in inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems import ragged_lengths
from stacks import as_tuple
from test_recurrent import STACKS, check_stack_slopes, make_state, normal
from test_threads import same_for_every_team
from tolerances import assert_close, assert_same_bits
from unrolled import functional
from unrolled.layers import GRU, LSTM, RNN, Dropout, Embedding, Recurrent, SoftmaxHead

T, B, I, H, V, E = 6, 4, 3, 7, 11, 5  # noqa: E741


def assert_share(dropped: np.ndarray, p: float) -> None:
    """The share that was dropped, within five standard deviations of the binomial law."""
    assert abs(dropped.mean() - p) < 5 * np.sqrt(p * (1 - p) / dropped.size)


def recorded_weights(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """A list that grows by the recurrent weights of every scan packed from now on."""
    seen: list[np.ndarray] = []
    pack = functional.pack

    def recording(cell: str, w_ih: np.ndarray, w_hh: np.ndarray, *rest: Any, **options: Any) -> Any:
        seen.append(w_hh.copy())
        return pack(cell, w_ih, w_hh, *rest, **options)

    monkeypatch.setattr(functional, "pack", recording)
    return seen


# Variational dropout of activations.


@pytest.mark.parametrize("shape", [(T, B, H), (1, 3, 65), (9, 1), (0, B, H), (T, 0, H)], ids=str)
def test_variational_drops_the_same_in_every_step(
    isa: str, dtype: type, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    x = normal(rng, dtype, *shape)
    y = functional.dropout(x, 0.4, seed=3, offset=5, variational=True)
    assert y.dtype == dtype
    assert y.shape == shape
    for step, dropped in zip(x, y, strict=True):
        assert_same_bits(abs(dropped), abs(functional.dropout(step, 0.4, seed=3, offset=5)))


@pytest.mark.parametrize("variational", [False, True])
def test_dropout_is_its_own_transpose(variational: bool, rng: np.random.Generator) -> None:
    layer = Dropout(0.4, variational=variational)
    x, w = (normal(rng, np.float64, 50, 20, 30) for _ in range(2))
    assert layer(x) is x
    y, pullback = layer.vjp(x, rng=np.random.default_rng(1))
    terms = y * w
    assert_close(terms.sum(), (x * pullback(w)).sum(), K=terms.size, kind="forward")
    assert_share(y[0] == 0, 0.4)
    assert ((y == 0) == (y[:1] == 0)).all() == variational
    assert_same_bits(layer.vjp(x, rng=np.random.default_rng(1))[0], y)
    assert (layer.vjp(x, rng=np.random.default_rng(2))[0] != y).any()
    assert repr(layer) == f"Dropout(0.4{', variational=True' if variational else ''})"


@pytest.mark.parametrize("batch_first", [False, True], ids=["time-first", "batch-first"])
@pytest.mark.parametrize("variational", [False, True])
def test_variational_dropout_between_layers(variational: bool, batch_first: bool) -> None:
    """The first layer gives ones, the second its input: the output is the mask."""
    layer = RNN(
        I, H, 2, "relu", dropout=0.4, variational=variational, batch_first=batch_first, init="zeros"
    )
    layer.parameters["bias_ih_l0"][...] = 1.0
    layer.parameters["weight_ih_l1"][...] = np.eye(H)
    x = np.zeros((B, 50, I) if batch_first else (50, B, I), np.float32)
    (y, _), _ = layer.vjp(x, rng=np.random.default_rng(0))
    steps = y.swapaxes(0, 1) if batch_first else y
    assert_close(steps[steps != 0], np.full((steps != 0).sum(), 1 / 0.6), K=1, kind="elementwise")
    assert_share(steps[0] == 0, 0.4)
    assert (steps == steps[0]).all() == variational
    assert len({row.tobytes() for row in steps[0]}) == B, "each row of the batch has its own mask"
    assert (layer(x)[0] == 1).all()


# Rows of an embedding.


@pytest.mark.parametrize("tied", [False, True], ids=["own", "tied"])
@pytest.mark.parametrize("count", [V - 1, V, 200])
def test_embedding_drops_rows(count: int, tied: bool, dtype: Any, rng: np.random.Generator) -> None:
    """Fewer indices than rows are gathered, more are looked up by the recurrent layer."""
    head = SoftmaxHead(E, V, dtype=dtype, rng=rng)
    tie = {"tied_to": head} if tied else {}
    layer = Embedding(V, E, dropout=0.5, dtype=dtype, rng=rng, **tie)
    indices = rng.integers(0, V, (count, 1))
    y, pullback = layer.vjp(indices, rng=np.random.default_rng(4))
    factor = np.zeros(V)
    for row in range(V):
        got, whole = y[indices == row], layer.weight[row]
        if got.any():
            factor[row] = 2.0
        assert_close(got, factor[row] * np.broadcast_to(whole, got.shape), K=1, kind="elementwise")
    assert 0 < np.count_nonzero(factor) < V
    assert_same_bits(layer(indices), layer.weight[indices])

    dy = normal(rng, dtype, count, 1, E)
    pullback(dy)
    expected = np.zeros((V, E))
    np.add.at(expected, indices, dy)
    grads = (head if tied else layer).grads["weight"]
    assert_close(grads, expected * factor[:, None], K=count + 1, kind="gradient")

    x, pullback = layer.lookup_vjp(indices, rng=np.random.default_rng(4))
    assert isinstance(x, functional.Lookup) == (count >= V)
    assert_same_bits(x.gather() if isinstance(x, functional.Lookup) else x, y)
    grads[...] = 0
    dtable = np.zeros((V, E), dtype)
    np.add.at(dtable, indices, dy)
    pullback(dtable if count >= V else dy)
    assert_close(grads, expected * factor[:, None], K=2 * count + 1, kind="gradient")


def test_embedding_drops_words_of_a_large_table(rng: np.random.Generator) -> None:
    layer = Embedding(20_000, 1, dropout=0.1, init="torch", rng=rng)
    indices = np.arange(20_000)
    y, _ = layer.vjp(indices, rng=np.random.default_rng(0))
    assert_share(y == 0, 0.1)
    assert_same_bits(layer.vjp(indices, rng=np.random.default_rng(0))[0], y)
    assert (layer.vjp(indices, rng=np.random.default_rng(1))[0] != y).any()
    assert repr(layer) == "Embedding(20000, 1, dropout=0.1)"


# Recurrent weights.

MODES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ragged": {"ragged": True},
    "gates": {"recompute": "gates"},
    "windows": {"ragged": True, "recompute": 2},
    "bf16": {"precision": "bf16"},
    "looked-up": {"rows": 9},
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS)
def test_weight_dropout_is_a_layer_with_masked_weights(
    matrix_cell: str,
    options: dict,
    mode: dict,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = Recurrent(matrix_cell, I, H, **options, weight_dropout=0.4, rng=rng)
    masked = Recurrent(matrix_cell, I, H, **options, init="zeros")
    masked.load_parameters(layer.parameters)
    x: Any = normal(rng, np.float32, T, B, I)
    if "rows" in mode:
        x = functional.Lookup(rng.integers(0, 9, (T, B)), normal(rng, np.float32, 9, I))
    sequences: dict[str, Any] = {}
    if "ragged" in mode:
        sequences = {"lengths": ragged_lengths(rng, T, B), "resets": rng.random((T, B)) < 0.3}
    if mode.get("precision", "full") not in functional.cell_info(matrix_cell).precisions:
        pytest.skip(f"{matrix_cell} has no bf16")
    state, dstate = make_state(layer, B, rng), make_state(layer, B, rng)
    dy = normal(rng, np.float32, T, B, layer.output_size)

    def run(layer: Recurrent[Any], seed: int | None) -> tuple[Any, ...]:
        layer.recompute = mode.get("recompute", "none")
        layer.precision = mode.get("precision", "full")
        rng = None if seed is None else np.random.default_rng(seed)
        (y, final), pullback = layer.vjp(x, state, **sequences, rng=rng)
        dx, dinitial = pullback(dy, dstate)
        return (y, *as_tuple(final), dx, *as_tuple(dinitial))

    weights = recorded_weights(monkeypatch)
    got = run(layer, seed=1)
    names = [name for name in layer.parameters if name.startswith("weight_hh")]
    dropped = dict(zip(names, list(weights), strict=True))
    for name, weight in dropped.items():
        expected = layer.parameters[name] * (weight != 0) / 0.6
        assert_close(weight, expected, K=1, kind="elementwise", what=name)
        masked.parameters[name][...] = weight
    assert_share(np.concatenate([w.ravel() for w in dropped.values()]) == 0, 0.4)
    assert_same_bits(got, run(masked, seed=None))
    for name, grad in masked.grads.items():
        if name in dropped:
            expected = grad * (dropped[name] != 0) / 0.6
            assert_close(layer.grads[name], expected, K=1, kind="elementwise", what=name)
        else:
            assert_same_bits(layer.grads[name], grad, name)

    again = layer.flat.grads.copy()
    layer.zero_grads()
    assert_same_bits(run(layer, seed=1), got)
    assert_same_bits(layer.flat.grads, again)
    assert (run(layer, seed=2)[0] != got[0]).any()


@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS)
def test_gradients_are_slopes(matrix_cell: str, options: dict, rng: np.random.Generator) -> None:
    drop = {"dropout": 0.3, "weight_dropout": 0.4, "variational": True}
    layer = Recurrent(matrix_cell, I, H, **options, **drop, dtype=np.float64, rng=rng)
    check_stack_slopes(layer, rng)


def test_each_matrix_has_a_mask_of_its_own(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = LSTM(H, H, 2, bidirectional=True, weight_dropout=0.5, rng=rng)
    weights = recorded_weights(monkeypatch)
    layer.vjp(normal(rng, np.float32, 1, 1, H), rng=np.random.default_rng(0))
    assert len(weights) == 4
    assert len({(weight == 0).tobytes() for weight in weights}) == 4


def test_inference_and_streams_drop_nothing(matrix_cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(
        matrix_cell, I, H, 2, dropout=0.5, weight_dropout=0.5, variational=True, rng=rng
    )
    plain = Recurrent(matrix_cell, I, H, 2, init="zeros")
    plain.load_parameters(layer.parameters)
    x = normal(rng, np.float32, T, B, I)
    y, _ = plain(x)
    assert_same_bits(layer(x)[0], y)
    stream = layer.stream(B)
    assert_same_bits(np.stack([stream(x_t) for x_t in x]), y)


def test_threads_do_not_change_bits(matrix_cell: str, isa: str, threads: None) -> None:
    rng = np.random.default_rng(0)
    drop = {"dropout": 0.3, "weight_dropout": 0.4, "variational": True}
    layer = Recurrent(matrix_cell, 30, 130, 2, **drop, rng=rng)
    x, dy = normal(rng, np.float32, 5, 40, 30), normal(rng, np.float32, 5, 40, 130)

    def compute() -> list[np.ndarray]:
        layer.zero_grads()
        (y, _), pullback = layer.vjp(x, rng=np.random.default_rng(1))
        dx, _ = pullback(dy)
        return [y, dx, layer.flat.grads.copy()]

    same_for_every_team(compute)


def test_memory_counts_the_masked_weights() -> None:
    plain = GRU(I, H, 2).memory(T, B)
    dropped = GRU(I, H, 2, weight_dropout=0.5).memory(T, B)
    assert dropped.held == plain.held
    assert dropped.scratch <= plain.scratch + 2 * 3 * H * H * 4  # a copy and a gradient
    assert dropped.scratch > plain.scratch


def test_errors(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=r"\[Embedding\] expected 0 <= dropout < 1, got 1\.0"):
        Embedding(V, E, dropout=1.0)
    with pytest.raises(ValueError, match=r"\[GRU\] expected 0 <= weight_dropout < 1, got -0\.1"):
        GRU(I, H, weight_dropout=-0.1)
    with pytest.raises(ValueError, match=r"\[LSTM\] weight_dropout=0\.5 needs rng in vjp"):
        LSTM(I, H, weight_dropout=0.5, rng=rng).vjp(np.zeros((T, B, I), np.float32))
    with pytest.raises(ValueError, match=r"\[Embedding\] dropout=0\.5 needs rng in vjp"):
        Embedding(V, E, dropout=0.5, rng=rng).vjp(np.zeros(3, np.int64))
    layer = LSTM(I, H, 2, dropout=0.1, variational=True, weight_dropout=0.5)
    assert repr(layer) == (
        "LSTM(3, 7, num_layers=2, dropout=0.1, variational=True, weight_dropout=0.5, dtype=float32)"
    )
