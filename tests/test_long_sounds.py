"""A long sound is recognised piece by piece, as it would be as a whole."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sounds import RATE
from unrolled.audio import faint_noise
from unrolled.models import AcousticModel
from unrolled.tasks import _recogniser, phonemes
from unrolled.tasks._long_sound import cut_at_pauses, stream_logits
from unrolled.tasks._recogniser import best_symbols
from utterances import SMALL, utter, write_utterances


def model(bidirectional: bool) -> AcousticModel:
    return AcousticModel(
        5, 4, hidden_size=6, bidirectional=bidirectional, rng=np.random.default_rng(0)
    )


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 7, 60, 61, 62, 63, 200, 201])
@pytest.mark.parametrize("piece", [1, 7, 1000])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_pieces_add_up(bidirectional: bool, piece: int, frames: int) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((frames, 5)).astype(np.float32)
    network = model(bidirectional)
    network.flat.values[...] *= 0.5  # it forgets about half from step to step
    whole = network(x[:, None])[:, 0]
    pieces = (x[start : start + piece] for start in range(0, frames, piece))
    parts = list(stream_logits(network, pieces, window=6, context=24))
    assert sum(map(len, parts)) == len(whole)
    assert all(map(len, parts))
    if frames and not bidirectional:
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    elif frames:
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_a_sound_that_fits_is_read_as_a_whole() -> None:
    x = np.random.default_rng(1).standard_normal((30, 5)).astype(np.float32)
    network = model(True)
    (whole,) = stream_logits(network, [x], window=10, context=6)
    np.testing.assert_array_equal(whole, network(x[:, None])[:, 0])


def test_cuts_lie_in_pauses_and_change_no_symbol() -> None:
    rng = np.random.default_rng(2)
    logits = np.full((3000, 4), -12.0)
    place = 5
    while place < len(logits):
        logits[place, rng.integers(1, 4)] = 0.0
        place += int(rng.integers(2, 12))
    logits[logits.max(axis=1) < 0, 0] = 0.0
    parts = list(cut_at_pauses([logits[:700], logits[700:]], 0, 4, shortest=50, longest=90))
    lengths = [len(part) for _, part in parts]
    assert [first for first, _ in parts] == np.cumsum([0, *lengths[:-1]]).tolist()
    assert max(lengths) <= 90
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), logits)
    said = [symbol for _, part in parts for symbol in best_symbols(part)]
    assert said == best_symbols(logits)
    for first, _ in parts[1:]:
        assert (logits[first - 2 : first + 2, 0] == 0.0).all()
    # Without any pause the cut is where a pause is the least improbable.
    busy = np.zeros((10, 3))
    busy[:, 1] = 1.0
    busy[6, 0] = 0.9
    assert [len(part) for _, part in cut_at_pauses([busy], 0, 3, shortest=4, longest=8)] == [6, 4]
    assert list(cut_at_pauses([], 0, 3, shortest=4, longest=8)) == []


@pytest.fixture(scope="module")
def hears(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """A model that reads both ways, and one that reads forwards."""
    pytest.importorskip("soundfile", reason='pip install "unrolled[speech]"')
    folder = write_utterances(tmp_path_factory.mktemp("long") / "data", 60)
    return [
        phonemes.train(
            folder, epochs=30, lr=1e-2, augment=False, bidirectional=bidirectional, **SMALL
        )
        for bidirectional in (True, False)
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_the_parts_are_the_whole(
    hears: list[Any], which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With windows of two seconds a minute of sound is cut everywhere, and nobody can tell."""
    hear, rng = hears[which], np.random.default_rng(3)
    samples = np.concatenate([utter(rng, 5)[0] for _ in range(12)])
    monkeypatch.setattr(_recogniser, "LONGEST", 1000.0)
    monkeypatch.setattr(_recogniser, "WINDOW", 1000.0)
    whole = hear(samples)
    assert len(whole) >= 55
    monkeypatch.setattr(_recogniser, "SHORTEST", 2.0)
    monkeypatch.setattr(_recogniser, "LONGEST", 3.0)
    monkeypatch.setattr(_recogniser, "WINDOW", 2.0)
    monkeypatch.setattr(_recogniser, "CONTEXT", 1.0)
    parts = list(hear.hear(samples[i : i + 3000] for i in range(0, len(samples), 3000)))
    assert [s.symbol for s in parts] == [s.symbol for s in whole]
    np.testing.assert_allclose([s.start for s in parts], [s.start for s in whole], atol=0.0201)
    np.testing.assert_allclose([s.end for s in parts], [s.end for s in whole], atol=0.0201)
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(parts))


def test_memory_does_not_grow(hears: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_recogniser, "SHORTEST", 2.0)
    monkeypatch.setattr(_recogniser, "LONGEST", 3.0)
    monkeypatch.setattr(_recogniser, "WINDOW", 4.0)
    monkeypatch.setattr(_recogniser, "CONTEXT", 1.0)

    def pieces(seconds: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(4)
        for _ in range(seconds):
            yield faint_noise(RATE, rng)

    def peak(seconds: int) -> int:
        tracemalloc.start()
        for _ in hears[0].hear(pieces(seconds)):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(12)
    assert peak(120) <= 1.2 * peak(12)
