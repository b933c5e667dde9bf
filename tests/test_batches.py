"""Batches of a token stream, and losses on plain arrays."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.training import StreamBatches, cross_entropy_vjp


def make_batches(
    count: int, batch_size: int, steps: int, seed: int = 0, **share: int
) -> StreamBatches:
    return StreamBatches(
        np.arange(count, dtype=np.uint16),
        batch_size=batch_size,
        steps=steps,
        rng=np.random.default_rng(seed),
        **share,
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
            assert batch.fresh == (index == 0)
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


def test_batches_go_on_where_they_stopped() -> None:
    one, other = make_batches(300, 2, 8), make_batches(300, 2, 8)
    for _ in range(25):
        one.next()
    other.load_state(one.state())
    other._rng.bit_generator.state = one._rng.bit_generator.state
    for _ in range(25):
        np.testing.assert_array_equal(one.next().tokens, other.next().tokens)


@pytest.mark.parametrize("arguments", [(301, 2, 8), (300, 3, 8), (300, 2, 9)], ids=str)
def test_a_position_in_other_data_is_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="the data are not those"):
        make_batches(*arguments).load_state(make_batches(300, 2, 8).state())


def test_bad_streams_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="31 tokens are fewer than one update takes"):
        make_batches(31, 4, 8)
    with pytest.raises(ValueError, match="expected integer tokens"):
        StreamBatches(np.zeros(99), batch_size=1, steps=1, rng=rng)
    with pytest.raises(ValueError, match="batch_size and steps >= 1"):
        make_batches(99, 0, 8)


def test_ranks_share_each_batch() -> None:
    ranks = [make_batches(1007, 6, 16, rank=rank, size=3) for rank in range(3)]
    whole = make_batches(1007, 6, 16)
    for _ in range(25):
        shares, batch = [rank.next() for rank in ranks], whole.next()
        for name in ("tokens", "targets"):
            rows = np.hstack([getattr(share, name) for share in shares])
            np.testing.assert_array_equal(rows, getattr(batch, name))
    assert [rank.state() for rank in ranks] == [whole.state()] * 3  # a position of all ranks
    with pytest.raises(ValueError, match=r"of 6 cannot be divided evenly among 4 ranks.* 4 or 8"):
        make_batches(1007, 6, 16, rank=0, size=4)


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
