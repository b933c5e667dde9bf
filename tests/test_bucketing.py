"""Batches of sequences of about the same length: complete, within the budget, resumable."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.training import BucketBatches, bucket_by_length, pad_sequences

LENGTHS = st.lists(st.integers(0, 60), min_size=4, max_size=80)


def make(lengths: Any, **options: Any) -> BucketBatches[np.ndarray]:
    """Batches that are the indices themselves."""
    return BucketBatches(
        lengths, lambda indices: indices, **{"max_tokens": 60, "seed": 0, **options}
    )


def one_epoch(batches: BucketBatches[np.ndarray]) -> list[list[int]]:
    """The batches up to the end of the epoch."""
    epoch, found = int(batches.epoch), []
    while int(batches.epoch) == epoch:
        found.append(batches.next().tolist())
    return found


@given(LENGTHS, st.integers(60, 300), st.none() | st.integers(1, 5), st.floats(0.01, 2.0))
def test_every_sequence_once_an_epoch_within_the_budget(
    lengths: list[int], max_tokens: int, max_sequences: int | None, bucket_width: float
) -> None:
    batches = make(
        lengths, max_tokens=max_tokens, max_sequences=max_sequences, bucket_width=bucket_width
    )
    for epoch in range(2):
        assert batches.epoch == epoch
        found = one_epoch(batches)
        assert sorted(chain.from_iterable(found)) == list(range(len(lengths)))
        for batch in found:
            assert 0 < len(batch) <= (max_sequences or len(lengths))
            assert len(batch) * max(lengths[index] for index in batch) <= max_tokens


@given(LENGTHS, st.integers(1, 4))
def test_ranks_share_an_epoch(lengths: list[int], size: int) -> None:
    ranks = [make(lengths, max_tokens=100, rank=rank, size=size) for rank in range(size)]
    for _ in range(2):
        found = [one_epoch(batches) for batches in ranks]
        assert len({len(batches) for batches in found}) == 1, "each takes as many"
        taken = [index for batches in found for batch in batches for index in batch]
        assert len(taken) == len(set(taken)), "no two take the same"
        singles = all(len(batch) == 1 for batches in found for batch in batches)
        if singles:
            assert len(taken) == len(lengths) // size * size
        else:
            assert len(taken) == len(lengths)


@given(LENGTHS, st.integers(1, 2), st.data())
def test_it_goes_on_where_it_stopped(lengths: list[int], size: int, data: st.DataObject) -> None:
    one = make(lengths, rank=size - 1, size=size)
    position = data.draw(st.integers(0, 2 * len(lengths)))
    for _ in range(position):
        one.next()
    other = make(lengths, rank=size - 1, size=size, seed=9)  # its own seed must not matter
    other.load_state(json.loads(json.dumps(one.state())))
    for _ in range(len(lengths) + 1):
        assert other.epoch == one.epoch
        np.testing.assert_array_equal(other.next(), one.next())


def test_the_seed_and_the_epoch_decide_the_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 200)
    first, second = (one_epoch(batches) for batches in [make(lengths)] * 2)
    assert first == one_epoch(make(lengths))
    assert first != one_epoch(make(lengths, seed=1))
    assert first != second
    # Not only the order of the batches: others are together, too.
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    longest = [max(lengths[batch]) for batch in first]
    assert longest != sorted(longest)


def test_little_is_padded() -> None:
    lengths = np.random.default_rng(0).integers(10, 1000, 5000)
    batches = make(lengths, max_tokens=16_000)
    found = one_epoch(batches)
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in found)
    batches = make(lengths, max_tokens=16_000)
    assert batches.padding_efficiency == pytest.approx(lengths.sum() / padded)
    assert batches.padding_efficiency > 0.9
    narrow = make(lengths, max_tokens=16_000, bucket_width=0.01)
    assert narrow.padding_efficiency > batches.padding_efficiency
    assert make([5] * 12).padding_efficiency == 1.0


def test_batches_for_scoring_are_in_order() -> None:
    batches = bucket_by_length([7, 1, 7, 0, 3], max_tokens=14)
    assert [batch.tolist() for batch in batches] == [[1, 3, 4], [0, 2]]
    assert bucket_by_length([], max_tokens=1) == []


def test_sequences_that_are_too_long() -> None:
    with pytest.raises(ValueError, match=r"2 of 4 sequences are longer than max_tokens = 60 .*99"):
        make([3, 61, 99, 60])
    batches = make([3, 61, 99, 60], too_long="drop")
    assert batches.dropped == 2
    assert sorted(chain.from_iterable(one_epoch(batches))) == [0, 3]
    with pytest.raises(ValueError, match=r"at least one sequence .* got 0 \(2 too long\)"):
        make([61, 99], too_long="drop")


def test_a_position_in_other_data_is_refused() -> None:
    state = make([3, 4, 5, 6]).state()
    for other in (
        make([3, 4, 5, 7]),
        make([3, 4, 5, 6], max_tokens=61),
        make([3, 4, 5, 6], max_sequences=2),
        make([3, 4, 5, 6], bucket_width=0.2),
        make([3, 4, 5, 6], size=2),
    ):
        with pytest.raises(ValueError, match="cut into other batches"):
            other.load_state(state)


def test_a_batch_that_cannot_be_made_can_be_asked_for_again() -> None:
    fail = True

    def collate(indices: np.ndarray) -> list[int]:
        if fail:
            raise OSError("the disk is gone")
        return indices.tolist()

    batches = BucketBatches([3, 4], collate, max_tokens=8, seed=0)
    with pytest.raises(OSError, match="the disk is gone"):
        batches.next()
    fail = False
    assert sorted(batches.next()) == [0, 1]


@pytest.mark.parametrize(
    ("lengths", "options", "text"),
    [
        ([], {}, "at least one sequence for each of 1"),
        ([1], {"size": 2}, "at least one sequence for each of 2 processes, got 1"),
        ([1.5], {}, "integer lengths of shape"),
        ([[1]], {}, "integer lengths of shape"),
        ([-1], {}, "lengths >= 0, got -1"),
        ([1], {"max_tokens": 0}, "max_tokens and max_sequences >= 1"),
        ([1], {"max_sequences": 0}, "max_tokens and max_sequences >= 1"),
        ([1], {"bucket_width": 0.0}, "bucket_width > 0"),
        ([1], {"seed": -1}, "seed >= 0"),
        ([1], {"rank": 1}, "rank < size"),
        ([1], {"too_long": "cut"}, "'error' or 'drop', got 'cut'"),
    ],
    ids=str,
)
def test_bad_input(lengths: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make(lengths, **options)


def test_padding() -> None:
    parts = [np.ones((2, 3), np.float32), np.zeros((0, 3), np.float32), 2 * np.ones((1, 3), "f4")]
    padded, lengths = pad_sequences(parts, value=-1)
    assert padded.shape == (2, 3, 3)
    assert padded.dtype == np.float32
    assert lengths.tolist() == [2, 0, 1]
    np.testing.assert_array_equal(padded[:, :, 0], [[1, -1, 2], [1, -1, -1]])
    with pytest.raises(ValueError, match="at least one sequence"):
        pad_sequences([])
    with pytest.raises(ValueError, match=r"\(T_b, 3\) float32 and \(T_b, 4\) float32"):
        pad_sequences([parts[0], np.zeros((2, 4), np.float32)])
