"""Large results live in memory that is kept for the next ones, and belong to nobody else."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from unrolled import functional

ALWAYS = 512 << 20  # bytes that may lie unused in any case
SHAPE = (1 << 19, 3)  # 6 MB


def test_memory_goes_back_with_the_last_view() -> None:
    functional.trim_memory()
    first = functional.empty(SHAPE, np.float32)
    first[:] = 7
    view = first[5:, 1]
    address = first.ctypes.data
    assert address % 64 == 0
    del first
    gc.collect()
    second = functional.empty(SHAPE, np.float32)
    assert second.ctypes.data != address
    assert (view == 7).all()
    del view
    gc.collect()
    assert functional.empty(SHAPE, np.float32).ctypes.data == address
    gc.collect()
    assert functional.trim_memory() >= SHAPE[0] * SHAPE[1] * 4


def test_it_is_an_array_like_any_other() -> None:
    for dtype in (np.float32, np.float64):
        array = functional.empty(SHAPE, dtype)
        assert (array.shape, array.dtype) == (SHAPE, np.dtype(dtype))
        assert array.flags.c_contiguous
        assert array.flags.writeable
    with pytest.raises(MemoryError):
        functional.empty((1 << 50,), np.float64)


def test_work_that_moves_on_to_other_sizes_finds_its_memory_again() -> None:
    gc.collect()  # what other tests left
    functional.trim_memory()
    old, new = (400 << 20,), (150 << 20,)  # bytes; together more than is kept
    functional.empty(old, np.uint8)
    address = 0
    for _ in range(2):
        array = functional.empty(new, np.uint8)
        found, address = array.ctypes.data == address, array.ctypes.data
        del array
    assert found
    assert functional.trim_memory() == new[0]


def test_as_much_is_kept_as_was_in_use_at_once() -> None:
    """A training step of a gigabyte finds its memory again; smaller work after it lets it go."""
    gc.collect()
    functional.trim_memory()
    for _ in range(3):
        step = [functional.empty((part << 20,), np.uint8) for part in (300, 300, 500)]
        addresses = {array.ctypes.data for array in step}
        del step
    step = [functional.empty((part << 20,), np.uint8) for part in (500, 300, 300)]
    assert {array.ctypes.data for array in step} == addresses
    del step
    for _ in range(3000):
        functional.empty((2 << 20,), np.uint8)
    other = functional.empty((100 << 20,), np.uint8)  # what is given back makes room for itself
    del other
    assert 100 << 20 <= functional.trim_memory() <= ALWAYS


def test_more_than_was_in_use_is_not_kept() -> None:
    gc.collect()
    functional.trim_memory()
    for part in (300, 310, 620):  # one after the other: 620 MiB at once
        functional.empty((part << 20,), np.uint8)
    assert functional.trim_memory() == 620 << 20
