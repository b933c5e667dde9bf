"""A masked step does nothing: states stay, the output is the state again, its input is not read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems import ragged_lengths
from stacks import as_tuple, forward_roundings, gradient_roundings, scan_weights
from test_recurrent import check_slopes, make_state
from tolerances import assert_close, assert_same_bits
from torch_stacks import assert_equals_torch
from unrolled import functional, reference
from unrolled.layers import GRU, LSTM, RNN, Recurrent, Reversed

T, B, I, H = 7, 5, 3, 6  # noqa: E741
LENGTHS = np.array([7, 0, 4, 7, 2])


def make_mask(pattern: str) -> np.ndarray:
    mask = np.ones((T, B), bool)
    if pattern == "left":
        mask[:, 0], mask[:3, 1], mask[:6, 2], mask[:1, 4] = False, False, False, False
    elif pattern == "right":
        mask[4:, 0], mask[:, 1], mask[1:, 3], mask[6:, 4] = False, False, False, False
    elif pattern == "holes":
        mask = np.random.default_rng(3).random((T, B)) < 0.5
    return mask


PATTERNS = ("left", "right", "holes")


def draw(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("resets", [False, True], ids=["", "resets"])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
def test_a_step_that_takes_nothing_of_its_new_state(
    cell: str, dtype: Any, pattern: str, resets: bool, ragged: bool, rng: np.random.Generator
) -> None:
    """The specification's updates of 0 where there is a mask, forwards."""
    mask, cuts = make_mask(pattern), rng.random((T, B)) < 0.3 if resets else None
    layer = Recurrent(cell, I, H, dtype=dtype, rng=rng, init="torch")
    x, dy = draw(rng, dtype, T, B, I), draw(rng, dtype, T, B, H)
    state, dstate = make_state(layer, B, rng), make_state(layer, B, rng)
    lengths = LENGTHS if ragged else None
    (y, final), pullback = layer.vjp(x, state, lengths=lengths, resets=cuts, mask=mask)
    dx, dinitial = pullback(dy, dstate)
    updates = [np.broadcast_to(mask[..., None], (T, B, H))] * len(layer._state_names)
    (wanted, wanted_final), pull = reference.scan_vjp(
        cell,
        np.where(mask[..., None], x, 0),
        tuple(array[0] for array in as_tuple(state)),
        *scan_weights(layer, 0).values(),
        lengths=lengths,
        resets=cuts,
        updates=updates,
    )
    wanted_dx, wanted_dinitial, grads = pull(dy, tuple(array[0] for array in as_tuple(dstate)))
    K, L = forward_roundings(layer, T), gradient_roundings(layer, T, B)
    assert_close(y, wanted, K=K, kind="forward", what="y")
    assert_close(dx, wanted_dx, K=L, kind="gradient", what="dx")
    for got, want in zip(as_tuple(final), wanted_final, strict=True):
        assert_close(got[0], want, K=K, kind="forward", what="state")
    for got, want in zip(as_tuple(dinitial), wanted_dinitial, strict=True):
        assert_close(got[0], want, K=L, kind="gradient", what="dstate")
    for name, want in zip(scan_weights(layer, 0), grads, strict=True):
        if want is not None:
            assert_close(layer.grads[name], want, K=L, kind="gradient", what=name)
    assert_same_bits(layer(x, state, lengths, cuts, mask), (y, final))


@pytest.mark.parametrize("resets", [False, True], ids=["", "resets"])
def test_the_other_direction_is_the_same_turned_around(
    cell: str, resets: bool, rng: np.random.Generator
) -> None:
    mask, cuts = make_mask("holes"), rng.random((T, B)) < 0.3 if resets else None
    layer = Recurrent(cell, I, H, bidirectional=True, dtype=np.float64, rng=rng)
    x, dy, state = draw(rng, "f8", T, B, I), draw(rng, "f8", T, B, 2 * H), make_state(layer, B, rng)
    (y, final), pullback = layer.vjp(x, state, lengths=LENGTHS, resets=cuts, mask=mask)
    single: Recurrent[Any] = Recurrent(cell, I, H, dtype=np.float64, init="zeros")
    single.load_parameters(
        {name: layer.parameters[f"{name}_reverse"] for name in single.parameters}
    )
    turned = Reversed(single)
    begin = tuple(array[1:] for array in as_tuple(state))
    options = {"lengths": LENGTHS, "resets": cuts, "mask": mask}
    (wanted, wanted_final), turned_pullback = turned.vjp(
        x, begin if len(begin) > 1 else begin[0], **options
    )
    assert_same_bits(np.ascontiguousarray(y[..., H:]), wanted)
    for got, want in zip(as_tuple(final), as_tuple(wanted_final), strict=True):
        assert_same_bits(got[1], want[0])
    dy[..., :H] = 0
    dx, _ = pullback(dy)
    expected, _ = turned_pullback(np.ascontiguousarray(dy[..., H:]))
    K = gradient_roundings(layer, T, B)
    assert_close(dx, expected, K=K, kind="gradient")
    for name, gradient in single.grads.items():
        assert_close(layer.grads[f"{name}_reverse"], gradient, K=K, kind="gradient", what=name)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("directions", [1, 2])
def test_the_bits_of_the_live_steps_alone(
    cell: str, isa: str, pattern: str, directions: int, rng: np.random.Generator
) -> None:
    """As if the masked steps had never been there, gradients of weights included."""
    mask = make_mask(pattern)
    layer = Recurrent(cell, I, H, 2, bidirectional=directions == 2, rng=rng)
    x, state = draw(rng, "f4", T, B, I), make_state(layer, B, rng)
    dy, dstate = draw(rng, "f4", T, B, directions * H), make_state(layer, B, rng)
    dy[~mask] = 0
    (y, final), pullback = layer.vjp(x, state, mask=mask)
    dx, dinitial = pullback(dy, dstate)
    grads = layer.flat.grads.copy()

    count = mask.sum(axis=0)
    short, short_dy = (np.zeros((count.max(), B, a.shape[2]), np.float32) for a in (x, dy))
    for b in range(B):
        short[: count[b], b], short_dy[: count[b], b] = x[mask[:, b], b], dy[mask[:, b], b]
    layer.zero_grads()
    (alone, alone_final), pullback = layer.vjp(short, state, lengths=count)
    alone_dx, alone_dinitial = pullback(short_dy, dstate)
    for b in range(B):
        assert_same_bits(y[mask[:, b], b], alone[: count[b], b])
        assert_same_bits(dx[mask[:, b], b], alone_dx[: count[b], b])
    assert not dx[~mask].any()
    assert_same_bits(final, alone_final)
    assert_same_bits(dinitial, alone_dinitial)
    assert_same_bits(grads, layer.flat.grads)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38], ids=str)
def test_what_stands_in_masked_steps_is_not_read(
    cell: str, isa: str, value: float, rng: np.random.Generator
) -> None:
    mask = make_mask("holes")
    layer = Recurrent(cell, I, H, 2, bidirectional=True, residual=True, rng=rng)
    x, dy = draw(rng, "f4", T, B, I), draw(rng, "f4", T, B, 2 * H)
    results = []
    for filling in (0.0, value):
        x[~mask | (np.arange(T)[:, None] >= LENGTHS)] = filling
        layer.zero_grads()
        (y, final), pullback = layer.vjp(x, lengths=LENGTHS, mask=mask)
        results.append((y, final, *pullback(dy), layer.flat.grads.copy()))
        assert_same_bits(layer(x, lengths=LENGTHS, mask=mask), (y, final))
    assert np.isfinite(results[1][0]).all()
    assert np.isfinite(results[1][4]).all()
    assert_same_bits(results[1], results[0])


def test_outputs_and_states_are_repeated(rng: np.random.Generator) -> None:
    layer = LSTM(I, H, bidirectional=True, rng=rng)
    x, (h0, c0) = draw(rng, "f4", T, 1, I), make_state(layer, 1, rng)
    mask = np.array([[0], [1], [0], [0], [1], [0], [0]], bool)
    y, (_, c) = layer(x, (h0, c0), mask=mask)
    before = [h0[0], y[1, :, :H], y[4, :, :H]]
    after = [y[1, :, H:], y[4, :, H:], h0[1]]
    for t, (past, future) in enumerate(
        zip([0, 1, 1, 1, 2, 2, 2], [0, 0, 1, 1, 1, 2, 2], strict=True)
    ):
        assert_same_bits(y[t, :, :H], before[past])
        assert_same_bits(y[t, :, H:], after[future])
    every_h, every_c = layer.states(x, (h0, c0), mask=mask)
    assert_same_bits(np.concatenate([*every_h], axis=2), y)
    assert_same_bits([every_c[0, 0], every_c[0, -1], every_c[1, 0]], [c0[0], c[0], c[1]])
    assert_same_bits([every_c[1, -1], every_c[0, 2]], [c0[1], every_c[0, 1]])


def test_rows_without_a_live_step(cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, H, 2, rng=rng)
    x, state = np.full((T, B, I), np.nan, np.float32), make_state(layer, B, rng)
    dy, dstate = draw(rng, "f4", T, B, H), make_state(layer, B, rng)
    (y, final), pullback = layer.vjp(x, state, mask=np.zeros((T, B), bool), lengths=LENGTHS)
    assert_same_bits(final, state)
    h = np.broadcast_to(as_tuple(state)[0][1], (T, B, H))
    assert_same_bits(y, np.where(np.arange(T)[:, None, None] < LENGTHS[:, None], h, np.float32(0)))
    dx, dinitial = pullback(dy, dstate)
    assert not dx.any()
    assert not layer.flat.grads.any()
    expected = as_tuple(dstate)[0].copy()
    for b, end in enumerate(LENGTHS):
        expected[1, b] += dy[:end, b].sum(axis=0)
    assert_close(as_tuple(dinitial)[0], expected, K=T, kind="gradient")
    empty = np.zeros((0, B, I), np.float32)
    assert_same_bits(layer(empty, state, mask=np.zeros((0, B), bool))[1], state)
    assert layer(x[:, :0], mask=np.zeros((T, 0), bool))[0].shape == (T, 0, H)


def test_a_mask_of_no_step_is_no_mask(cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, H, 2, bidirectional=True, rng=rng)
    x, dy, lengths = (
        draw(rng, "f4", T, B, I),
        draw(rng, "f4", T, B, 2 * H),
        ragged_lengths(rng, T, B),
    )
    resets = rng.random((T, B)) < 0.3
    results = []
    for mask in (None, np.ones((T, B), bool)):
        layer.zero_grads()
        (y, final), pullback = layer.vjp(x, lengths=lengths, resets=resets, mask=mask)
        results.append((y, final, pullback(dy)[0], layer.flat.grads.copy()))
    assert_same_bits(results[1], results[0])


def test_parts_equal_the_whole(cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, (H, H, 4), residual=True, rng=rng)
    x, mask = draw(rng, "f4", T, B, I), make_mask("holes")
    mask[2:4] = False  # so that a part begins with masked steps
    y, final = layer(x, mask=mask)
    first, state = layer(x[:3], mask=mask[:3])
    second, state = layer(x[3:], state, mask=mask[3:])
    assert_same_bits(np.concatenate([first, second]), y)
    assert_same_bits(state, final)


@pytest.mark.parametrize("directions", [1, 2])
def test_batch_first_is_a_transposition(directions: int, rng: np.random.Generator) -> None:
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": directions == 2}
    plain = LSTM(I, H, **options, rng=rng)
    swapped = LSTM(I, H, **options, batch_first=True, init="zeros")
    swapped.load_parameters(plain.parameters)
    x, dy = draw(rng, "f4", T, B, I), draw(rng, "f4", T, B, directions * H)
    mask, resets = make_mask("holes"), rng.random((T, B)) < 0.3

    def turned(a: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(a.swapaxes(0, 1))

    (y, final), pullback = plain.vjp(x, resets=resets, mask=mask)
    dx, _ = pullback(dy)
    (y2, final2), pullback2 = swapped.vjp(turned(x), resets=turned(resets), mask=turned(mask))
    dx2, _ = pullback2(turned(dy))
    assert_same_bits([y2, final2, dx2], [turned(y), final, turned(dx)])
    assert_same_bits(swapped.flat.grads, plain.flat.grads)
    every, every2 = plain.states(x, mask=mask)[0], swapped.states(turned(x), mask=turned(mask))[0]
    assert_same_bits(np.ascontiguousarray(every2.swapaxes(1, 2)), every)


@pytest.mark.parametrize("zoneout", [0.0, 0.4])
def test_gradients_are_slopes(cell: str, zoneout: float, rng: np.random.Generator) -> None:
    options: dict[str, Any] = {"bidirectional": True, "dropout": 0.3, "dtype": np.float64}
    # Biases that are not zero: at the kink of a relu there is no slope.
    layer = Recurrent(cell, I, 4, 2, **options, zoneout=zoneout, rng=rng, init="torch")
    x, dy, mask = draw(rng, "f8", T, B, I), draw(rng, "f8", T, B, 8), make_mask("holes")
    state, dstate = make_state(layer, B, rng), make_state(layer, B, rng)
    resets = rng.random((T, B)) < 0.2

    def run() -> Any:
        return layer.vjp(
            x, state, lengths=LENGTHS, resets=resets, mask=mask, rng=np.random.default_rng(8)
        )

    def value() -> float:
        (y, final), _ = run()
        pairs = zip(as_tuple(final), as_tuple(dstate), strict=True)
        return float((y * dy).sum() + sum((f * d).sum() for f, d in pairs))

    dx, dinitial = run()[1](dy, dstate)
    check_slopes(layer, value, [(x, dx), *zip(as_tuple(state), as_tuple(dinitial), strict=True)])


def test_zoneout_acts_on_live_steps(rng: np.random.Generator) -> None:
    """Inference moves by the mean: the product of both shares."""
    layer = LSTM(I, H, zoneout=(0.25, 0.5), dtype=np.float64, rng=rng)
    x, mask = draw(rng, "f8", T, B, I), make_mask("holes")
    updates = [np.broadcast_to(mask[..., None] * share, (T, B, H)) for share in (0.75, 0.5)]
    wanted, _ = reference.scan("lstm", x, None, *scan_weights(layer, 0).values(), updates=updates)
    assert_close(layer(x, mask=mask)[0], wanted, K=T * (I + H + 4), kind="forward")


STACKS: dict[str, dict[str, Any]] = {
    "two": {"num_layers": 2},
    "sum": {"num_layers": 2, "bidirectional": True, "merge": "sum"},
    "residual": {"num_layers": 3, "bidirectional": True, "residual": True},
    "learned": {"num_layers": 2, "bidirectional": True, "learn_initial_state": True},
}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
@pytest.mark.parametrize("stack", STACKS)
def test_torch(kind: Any, stack: str, pattern: str, dtype: Any, rng: np.random.Generator) -> None:
    layer = kind(I, H, **STACKS[stack], batch_first=pattern == "left", dtype=dtype, rng=rng)
    residual = (False, True, True) if stack == "residual" else ()
    mask = make_mask(pattern)
    assert_equals_torch(layer, T, B, residual=residual, mask=mask)
    assert_equals_torch(layer, T, B, residual=residual, mask=mask, lengths=LENGTHS, with_state=True)


def test_tokens_that_are_looked_up(rng: np.random.Generator) -> None:
    layer = GRU(I, H, bidirectional=True, batch_first=True, rng=rng)
    table, tokens = draw(rng, "f4", 4, I), rng.integers(0, 4, (B, T))
    mask = np.ascontiguousarray(make_mask("holes").T)
    expected_x, dy = table[tokens], draw(rng, "f4", B, T, 2 * H)
    (wanted, _), pullback = layer.vjp(expected_x, mask=mask)
    dx, _ = pullback(dy)
    tokens[~mask] = -1
    (y, _), lookup_pullback = layer.vjp(functional.Lookup(tokens, table), mask=mask)
    assert_same_bits(y, wanted)
    dtable, _ = lookup_pullback(dy)
    expected = np.zeros_like(table)
    np.add.at(expected, tokens[mask], dx[mask])
    assert_close(dtable, expected, K=gradient_roundings(layer, T, B), kind="gradient")


@pytest.mark.parametrize("recompute", ["gates", 3])
def test_recomputing_changes_no_bit(recompute: Any, rng: np.random.Generator) -> None:
    layer = LSTM(I, H, 2, bidirectional=True, rng=rng)
    x, dy, mask = draw(rng, "f4", T, B, I), draw(rng, "f4", T, B, 2 * H), make_mask("holes")
    results = []
    for choice in ("none", recompute):
        layer.recompute = choice
        layer.zero_grads()
        (y, _), pullback = layer.vjp(x, mask=mask)
        results.append((y, pullback(dy)[0], layer.flat.grads.copy()))
    assert_same_bits(results[1], results[0])


def test_a_pullback_of_a_part(rng: np.random.Generator) -> None:
    layer = GRU(I, H, 2, rng=rng)
    x, mask, dstate = draw(rng, "f4", T, B, I), make_mask("holes"), make_state(layer, B, rng)
    _, pullback = layer.vjp(x, mask=mask)
    kept = dstate.copy()
    results = []
    for dy in (None, np.zeros((T, B, H), np.float32)):
        layer.zero_grads()
        results.append((*pullback(dy, dstate), layer.flat.grads.copy()))
    assert_same_bits(results[1], results[0])
    assert_same_bits(dstate, kept)
    layer.zero_grads()
    assert pullback(None, dstate, needs_dx=False)[0] is None
    assert_same_bits(layer.flat.grads, results[0][2])


def test_masked_steps_take_no_memory_of_the_scan(rng: np.random.Generator) -> None:
    layer = LSTM(I, H, rng=rng)
    x, mask = draw(rng, "f4", 400, B, I), np.zeros((400, B), bool)
    mask[-100:] = True
    *_, tape = layer._run(x, None, None, None, mask, None, training=True)
    *_, short = layer._run(x[:100], None, None, None, None, None, training=True)
    assert tape.layers[0].saved[0].nbytes == short.layers[0].saved[0].nbytes


def test_errors(rng: np.random.Generator) -> None:
    x, mask = np.zeros((T, B, I), np.float32), np.ones((T, B), bool)
    layer = GRU(I, H, rng=rng)
    with pytest.raises(ValueError, match=r"\[GRU\] expected mask of shape \(T, B\) = \(7, 5\)"):
        layer(x, mask=mask.T)
    with pytest.raises(ValueError, match=r"expected mask of shape \(B, T\) = \(7, 5\), got \(5, 7"):
        GRU(I, H, batch_first=True, rng=rng)(x, mask=mask.T)
    with pytest.raises(TypeError, match="expected mask of dtype bool, got float32"):
        layer(x, mask=mask.astype(np.float32))
    with pytest.raises(TypeError, match=r"expected mask .* got list"):
        layer(x, mask=mask.tolist())
    for lengths in (np.full(B, T + 1), np.full(B, -1), np.ones(B + 1, int)):
        with pytest.raises(ValueError, match="expected lengths"):
            layer(x, lengths=lengths, mask=mask)
    with pytest.raises(TypeError, match="integer"):
        layer(x, lengths=np.ones(B), mask=mask)
    with pytest.raises(ValueError, match=r"expected resets of shape \(T, B\)"):
        layer(x, resets=mask[:1], mask=mask)
    with pytest.raises(TypeError, match="resets of dtype bool"):
        layer(x, resets=mask.astype(int), mask=mask)
