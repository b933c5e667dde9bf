"""Batches of a token stream or by number, and losses on plain arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.training import (
    IndexedBatches,
    StreamBatch,
    StreamBatches,
    counter_rng,
    cross_entropy_vjp,
    mse_vjp,
    shard,
)

TOKENS = np.zeros((5, 4), np.int64)


def make_batches(count: int, batch_size: int, steps: int, seed: int = 0) -> StreamBatches:
    return StreamBatches(
        np.arange(count, dtype=np.uint16),
        batch_size=batch_size,
        steps=steps,
        seed=seed,
    )


def test_batches_continue_each_other_and_cover_the_ring() -> None:
    count, batch_size, steps = 1007, 4, 16
    batches = make_batches(count, batch_size, steps)
    per_epoch = count // batch_size // steps
    starts = set()
    for epoch in range(3):
        seen: list[int] = []
        last = None
        for index in range(per_epoch):
            assert batches.epoch == pytest.approx(epoch + index / per_epoch)
            batch = batches.next()
            assert batch.fresh.all() == (index == 0)
            assert batch.tokens.shape == batch.targets.shape == (steps, batch_size)
            assert batch.tokens.dtype == batch.targets.dtype == np.int64
            # Every token is followed by its successor, also from batch to batch.
            np.testing.assert_array_equal(batch.targets, (batch.tokens + 1) % count)
            if last is not None:
                np.testing.assert_array_equal(batch.tokens[0], last)
            last = batch.targets[-1]
            seen += batch.tokens.ravel().tolist()
            starts.add(int(batch.tokens[0, 0]) if index == 0 else -1)
        assert len(seen) == len(set(seen)) > count - batch_size * steps
    assert len(starts) == 4, "each epoch starts somewhere else"
    assert batches.epoch == 3.0


@given(
    count=st.integers(40, 400),
    batch_size=st.integers(1, 3),
    steps=st.integers(1, 9),
    data=st.data(),
)
def test_batches_go_on_where_they_stopped(
    count: int, batch_size: int, steps: int, data: st.DataObject
) -> None:
    per_epoch = count // batch_size // steps
    position = data.draw(st.integers(0, 2 * per_epoch))
    one = make_batches(count, batch_size, steps)
    other = make_batches(count, batch_size, steps, seed=1)  # what it starts with must not matter
    for _ in range(position):
        one.next()
    other.load_state(json.loads(json.dumps(one.state())))
    for _ in range(per_epoch + 1):
        expected, got = one.next(), other.next()
        np.testing.assert_array_equal(got.tokens, expected.tokens)
        np.testing.assert_array_equal(got.targets, expected.targets)
        np.testing.assert_array_equal(got.fresh, expected.fresh)
        assert other.epoch == one.epoch


def test_streams_start_afresh_now_and_then() -> None:
    def batches(restart: float) -> StreamBatches:
        tokens = np.zeros(40_001, np.uint8)
        return StreamBatches(tokens, batch_size=8, steps=5, seed=0, restart=restart)

    some = batches(0.05)
    drawn = np.array([some.next().fresh for _ in range(1000)])
    assert drawn[0].all()
    # 7,992 draws: five standard deviations of their mean are 0.012.
    assert abs(drawn[1:].mean() - 0.05) < 0.012
    assert len(np.unique(drawn[1:].sum(axis=0))) > 1, "each stream has its own"
    never, always = batches(0.0), batches(1.0)
    never.next()
    assert not never.next().fresh.any()
    always.next()
    assert always.next().fresh.all()
    with pytest.raises(ValueError, match=r"0 <= restart <= 1, got 1\.5"):
        batches(1.5)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_fresh_stream_begins_at_zero(parts: int) -> None:
    state = tuple(np.full((3, 4, 2), index + 1.0, np.float32) for index in range(parts))
    carry = state if parts == 2 else state[0]
    some = StreamBatch(TOKENS, TOKENS, np.array([False, True, False, True]))
    begun = some.begin(carry)
    for part, before in zip(begun if parts == 2 else (begun,), state, strict=True):
        assert part.dtype == np.float32
        assert not part[:, [1, 3]].any()
        np.testing.assert_array_equal(part[:, [0, 2]], before[:, [0, 2]])
    assert (state[0] == 1.0).all(), "what was carried stays"
    assert StreamBatch(TOKENS, TOKENS, np.full(4, False)).begin(carry) is carry
    assert StreamBatch(TOKENS, TOKENS, np.full(4, True)).begin(carry) is None
    assert some.begin(None) is None


def test_the_seed_alone_decides_the_order() -> None:
    def starts(seed: int) -> list[int]:
        batches = make_batches(1000, 2, 100, seed)
        return [int(batches.next().tokens[0, 0]) for _ in range(50)]

    assert starts(3) == starts(3)
    assert starts(3) != starts(4)


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_side_by_side_are_one_process(size: int) -> None:
    tokens = np.random.default_rng(0).integers(0, 200, 1000).astype(np.uint8)
    whole = StreamBatches(tokens, batch_size=4 * size, steps=7, seed=5)
    ranks = [
        StreamBatches(tokens, batch_size=4, steps=7, seed=5, rank=rank, size=size)
        for rank in range(size)
    ]
    for index in range(60):
        expected, parts = whole.next(), [batches.next() for batches in ranks]
        for name in ("tokens", "targets"):
            got = np.concatenate([getattr(part, name) for part in parts], axis=1)
            np.testing.assert_array_equal(got, getattr(expected, name))
        fresh = np.concatenate([part.fresh for part in parts])
        np.testing.assert_array_equal(fresh, expected.fresh)
        if index == 40:  # a run goes on with another number of processes
            ranks[1].load_state(whole.state())
            whole.load_state(ranks[0].state())


@pytest.mark.parametrize("arguments", [(301, 2, 8), (300, 3, 8), (300, 2, 9)], ids=str)
def test_a_position_in_other_data_is_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="the data are not those"):
        make_batches(*arguments).load_state(make_batches(300, 2, 8).state())


def test_bad_streams_are_refused() -> None:
    with pytest.raises(ValueError, match="31 tokens are fewer than one update takes"):
        make_batches(31, 4, 8)
    with pytest.raises(ValueError, match="expected integer tokens"):
        StreamBatches(np.zeros(99), batch_size=1, steps=1, seed=0)
    with pytest.raises(ValueError, match="batch_size and steps >= 1"):
        make_batches(99, 0, 8)
    with pytest.raises(ValueError, match="seed >= 0"):
        make_batches(99, 1, 8, seed=-1)
    tokens = np.zeros(99, np.uint8)
    with pytest.raises(ValueError, match="rank < size, got rank 2 of size 2"):
        StreamBatches(tokens, batch_size=1, steps=1, seed=0, rank=2, size=2)
    with pytest.raises(ValueError, match=r"x size = 2 x 9 x 6 = 108"):
        StreamBatches(tokens, batch_size=2, steps=9, seed=0, size=6)


def test_a_batch_is_divided_evenly_or_not_at_all() -> None:
    assert [shard(6, rank, 3) for rank in range(3)] == [slice(0, 2), slice(2, 4), slice(4, 6)]
    with pytest.raises(ValueError, match=r"of 6 cannot be divided evenly among 4 ranks.* 4 or 8"):
        shard(6, 0, 4)


def test_cross_entropy_and_its_gradient() -> None:
    rng = np.random.default_rng(1)
    logits, targets = rng.normal(size=(6, 5)), np.array([0, 4, -1, 2, 2, -1])
    (loss, count), pullback = cross_entropy_vjp(logits, targets)
    kept = targets >= 0
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert loss == pytest.approx(-np.log(p[kept, targets[kept]]).mean())
    assert count == 4
    gradient = pullback(2.0)
    h = 1e-6
    for place in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[place] = h
        (above, _), _ = cross_entropy_vjp(logits + step, targets)
        (below, _), _ = cross_entropy_vjp(logits - step, targets)
        assert gradient[place] == pytest.approx((above - below) / h, abs=1e-8)


def test_cross_entropy_of_nothing_and_of_bad_input() -> None:
    (loss, count), pullback = cross_entropy_vjp(np.ones((2, 3), np.float32), np.array([-1, -1]))
    assert (loss, count) == (0.0, 0)
    assert not pullback(1.0).any()
    with pytest.raises(ValueError, match=r"targets in -1\.\.2"):
        cross_entropy_vjp(np.ones((1, 3)), np.array([3]))
    with pytest.raises(ValueError, match=r"shape \(N, V\)"):
        cross_entropy_vjp(np.ones((1, 3)), np.array([1, 1]))


def test_mean_squared_error_and_its_gradient() -> None:
    rng = np.random.default_rng(0)
    outputs, targets = rng.standard_normal((2, 5, 3))
    (loss, count), pullback = mse_vjp(outputs, targets)
    assert count == 15
    assert loss == pytest.approx(np.mean((outputs - targets) ** 2), rel=1e-14)
    direction, step = rng.standard_normal((5, 3)), 1e-3
    (above, _), _ = mse_vjp(outputs + step * direction, targets)
    (below, _), _ = mse_vjp(outputs - step * direction, targets)
    slope = np.vdot(pullback(3.0), direction)
    assert slope == pytest.approx(3.0 * (above - below) / (2.0 * step), rel=1e-10)  # quadratic
    assert pullback(1.0).dtype == np.float64

    (loss, count), pullback = mse_vjp(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))
    assert (loss, count) == (0.0, 0)
    assert pullback(1.0).shape == (0, 2)
    with pytest.raises(
        ValueError, match=r"\[mse\] expected targets of the outputs' shape \(2, 1\)"
    ):
        mse_vjp(np.zeros((2, 1)), np.zeros(2))


def test_batches_by_number() -> None:
    batches = IndexedBatches(lambda number: number * number, per_epoch=4)
    assert [batches.next() for _ in range(6)] == [0, 1, 4, 9, 16, 25]
    assert batches.epoch == 1.5
    other = IndexedBatches(lambda number: number * number, per_epoch=4)
    other.load_state(batches.state())
    assert (other.epoch, other.next()) == (1.5, 36)
    with pytest.raises(ValueError, match="had 4 batches in an epoch, now there are 5"):
        IndexedBatches(int, per_epoch=5).load_state(batches.state())
    with pytest.raises(ValueError, match="per_epoch >= 1, got 0"):
        IndexedBatches(int, per_epoch=0)


def test_counted_random_numbers_are_all_different() -> None:
    places = [(seed, stream, number) for seed in (0, 1) for stream in (0, 1) for number in (0, 1)]
    drawn = [counter_rng(*place).integers(2**63, size=4) for place in places]
    assert np.unique(drawn).size == 4 * len(places)
    np.testing.assert_array_equal(counter_rng(1, 0, 1).integers(2**63, size=4), drawn[5])
