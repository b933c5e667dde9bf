"""Dropout and sampling: the right distributions, and the same numbers for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from tolerances import assert_close, assert_same_bits
from unrolled import functional, reference


def normal(rng: np.random.Generator, dtype: type, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


# Known answers of Philox4x32-10: counter, key, output.
# Source: kat_vectors of Random123, the library of Salmon et al. (2011).
PHILOX = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox4x32-10, as written in Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"."""
    word = 2**32
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = b // word ^ c1 ^ k0, b % word, a // word ^ c3 ^ k1, a % word
        k0, k1 = (k0 + 0x9E3779B9) % word, (k1 + 0xBB67AE85) % word
    return c0, c1, c2, c3


@pytest.mark.parametrize(("counter", "key", "output"), PHILOX)
def test_philox_known_answers(counter: tuple, key: tuple, output: tuple) -> None:
    assert philox(counter, key) == output


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**64 - 1])
@pytest.mark.parametrize("offset", [0, 3, 2**34 + 1])
def test_dropout_is_philox(seed: int, offset: int) -> None:
    """Element i is kept when word (offset + i) % 4 of block (offset + i) // 4 is at least p 2^32.

    So a mask of today can be replayed by any later version, and on any device.
    """
    p, size = 0.3, 21
    kept = []
    for index in range(offset, offset + size):
        block = index // 4
        words = philox((block % 2**32, block // 2**32, 0, 0), (seed % 2**32, seed // 2**32))
        kept.append(words[index % 4] >= int(p * 2**32))
    mask = functional.dropout(np.ones(size, np.float32), p, seed=seed, offset=offset) != 0
    np.testing.assert_array_equal(mask, kept)


def test_dropout_statistics(isa: str, dtype: type) -> None:
    size = 200_000
    for p in (0.1, 0.5, 0.9):
        y = functional.dropout(np.ones(size, dtype), p, seed=7)
        kept = y != 0
        assert_close(y[kept], np.full(kept.sum(), 1.0 / (1.0 - p)), K=1, kind="elementwise")
        deviation = np.sqrt(p * (1.0 - p) / size)
        assert abs(kept.mean() - (1.0 - p)) < 5 * deviation
        together = (kept[1:] & kept[:-1]).mean()  # neighbours are independent
        assert abs(together - (1.0 - p) ** 2) < 10 * deviation


def test_dropout_replays(isa: str, dtype: type, rng: np.random.Generator) -> None:
    x = normal(rng, dtype, 37, 29)
    y = functional.dropout(x, 0.3, seed=1)
    assert y.shape == x.shape
    assert y.dtype == dtype
    assert_same_bits(functional.dropout(x, 0.3, seed=1), y)
    assert (functional.dropout(x, 0.3, seed=2) != y).any()
    assert (functional.dropout(x, 0.3, seed=1, offset=1) != y).any()
    assert_same_bits(functional.dropout(x, 0.0, seed=1), x)
    # The backward pass is the same call on dy: zeros stand where they stood.
    gradient = functional.dropout(np.ones_like(x), 0.3, seed=1)
    np.testing.assert_array_equal(gradient != 0, y != 0)
    # A pass that continues at an offset continues the same stream.
    flat = x.ravel()
    for cut in (1, 2, 3, 5, 1000):
        parts = [
            functional.dropout(flat[:cut], 0.3, seed=1),
            functional.dropout(flat[cut:], 0.3, seed=1, offset=cut),
        ]
        assert_same_bits(np.concatenate(parts), y.ravel())


def test_dropout_takes_large_keys(isa: str) -> None:
    x = np.ones(50, np.float32)
    results = [
        functional.dropout(x, 0.5, seed=seed, offset=offset).tobytes()
        for seed in (0, 1, 2**32, 2**63)
        for offset in (0, 2**33, 2**40)
    ]
    assert len(set(results)) == len(results)


GRID = (np.arange(4000) + 0.5) / 4000


@pytest.mark.parametrize(
    "options",
    [
        {}, {"temperature": 0.5}, {"temperature": 3.0}, {"top_k": 1}, {"top_k": 4}, {"top_k": 100},
        {"top_p": 0.6}, {"top_p": 1e-6}, {"top_k": 6, "top_p": 0.8, "temperature": 1.3},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("vocabulary", [1, 2, 9, 50])
def test_sample_distribution(dtype: type, vocabulary: int, options: dict) -> None:
    """Uniforms on a regular grid hit each token as often as its probability says, within two."""
    logits = normal(np.random.default_rng(2), dtype, vocabulary) * 2
    drawn = functional.sample(np.tile(logits, (len(GRID), 1)), GRID, **options)
    assert drawn.shape == GRID.shape
    assert drawn.dtype == np.int64
    counts = np.bincount(drawn, minlength=vocabulary)
    p = reference.sampling_probabilities(logits, **options)
    np.testing.assert_allclose(counts, p * len(GRID), atol=2.0, rtol=0)
    assert not counts[p == 0].any()


def test_sample_greedy(dtype: type, rng: np.random.Generator) -> None:
    logits = normal(rng, dtype, 6, 30)
    for u in (np.zeros(6), np.full(6, np.nextafter(1.0, 0.0))):
        for options in ({"temperature": 0.0}, {"top_k": 1}):
            drawn = functional.sample(logits, u, **options)
            np.testing.assert_array_equal(drawn, logits.argmax(axis=1))
    tie = functional.sample(np.zeros((1, 5), dtype), np.array([0.7]), temperature=0.0)
    assert tie[0] == 0


def test_sample_at_the_ends_of_the_interval(dtype: type) -> None:
    """Never a token of probability zero, even for the smallest and the largest uniform."""
    logits = np.array([-np.inf, 0.0, -np.inf, 1.0, -np.inf], dtype)
    u = np.array([0.0, np.nextafter(1.0, 0.0)])
    for options in ({}, {"top_k": 4}, {"top_p": 0.99}, {"temperature": 0.1}):
        drawn = functional.sample(np.tile(logits, (2, 1)), u, **options)
        assert set(drawn.tolist()) <= {1, 3}


def test_sample_rows_are_independent(dtype: type, rng: np.random.Generator) -> None:
    logits, u = normal(rng, dtype, 8, 20), rng.random(8)
    batch = functional.sample(logits, u, top_p=0.9)
    alone = [
        int(functional.sample(logits[b : b + 1], u[b : b + 1], top_p=0.9)[0]) for b in range(8)
    ]
    assert batch.tolist() == alone
    assert functional.sample(logits[:0], u[:0]).shape == (0,)
