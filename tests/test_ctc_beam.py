"""A wide beam finds every text with its probability; a narrow one is a search among them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from unrolled import functional, reference
from unrolled.functional import CtcBeam

V = 4


def texts(beam: CtcBeam) -> list[tuple[tuple[int, ...], float, float]]:
    return [(tuple(beam.spell(p)), p.acoustic, p.score) for p in beam.prefixes()]


def all_texts(log_p: np.ndarray, blank: int) -> dict[tuple[int, ...], float]:
    """The log-probability of every text, summed over its paths."""
    sums: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_p.shape[1]), repeat=len(log_p)):
        text = tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != blank)
        value = log_p[range(len(path)), path].sum()
        sums[text] = np.logaddexp(sums.get(text, -np.inf), value)
    return sums


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("frames", [0, 1, 2, 6])
def test_a_wide_beam_is_exact(
    dtype: Any, frames: int, blank: int, rng: np.random.Generator
) -> None:
    logits = rng.normal(0.0, 2.0, (frames, V)).astype(dtype)
    beam = CtcBeam(V, blank=blank, width=10_000)
    beam.step(logits)
    expected = all_texts(reference.log_softmax(logits), blank) if frames else {(): 0.0}
    found = texts(beam)
    assert len(found) == len(expected)
    assert [score for *_, score in found] == sorted((s for *_, s in found), reverse=True)
    for text, acoustic, score in found:
        np.testing.assert_allclose(acoustic, expected[text], rtol=1e-12, atol=1e-12)
        assert score == acoustic
        loss = functional.ctc_loss(
            logits[:, None].astype(float), np.array([text], int), blank=blank
        )
        np.testing.assert_allclose(acoustic, -loss[0], rtol=1e-12, atol=1e-12)


def test_frames_may_come_in_pieces(rng: np.random.Generator) -> None:
    logits = rng.normal(0.0, 2.0, (50, V)).astype(np.float32)
    whole, parts = CtcBeam(V, width=5), CtcBeam(V, width=5)
    whole.step(logits)
    for start, stop in itertools.pairwise([0, 1, 1, 7, 50]):
        parts.step(logits[start:stop])
    assert texts(parts) == texts(whole)
    assert len(whole.prefixes()) == 5


def test_a_beam_finds_what_the_best_path_does_not() -> None:
    """Each frame prefers the blank, yet most of the probability is on paths that say 1."""
    logits = np.log(np.array([[0.5, 0.4, 0.1], [0.5, 0.4, 0.1]]))
    beam = CtcBeam(3, width=4)
    beam.step(logits)
    assert texts(beam)[0][0] == (1,)
    np.testing.assert_allclose(texts(beam)[0][1], np.log(0.4 * 0.4 + 2 * 0.4 * 0.5))


def test_few_candidates(rng: np.random.Generator) -> None:
    logits = rng.normal(0.0, 3.0, (8, 1, 30))
    best = np.argsort(-np.where(np.arange(30) == 0, -np.inf, logits[:, 0]), axis=1)[:, :2]
    beam = CtcBeam(30, width=200, candidates=2)
    beam.step(logits[:, 0])
    for text, *_ in texts(beam):
        assert set(text) <= set(best.ravel())


def test_extensions_take_part(rng: np.random.Generator) -> None:
    """With a bigram model the score is log p(frames) + log p(text), and -inf forbids."""
    logits = rng.normal(0.0, 1.0, (6, V))
    bigrams = reference.log_softmax(rng.normal(0.0, 2.0, (V, V)))  # after symbol; 0: the start
    bigrams[3, 1] = -np.inf
    beam = CtcBeam(V, width=10_000)
    for frame in logits:
        last = [max(prefix.symbol, 0) for prefix in beam.prefixes()]
        beam.step(frame[None], bigrams[last])
    expected = {
        text: (value, value + sum(bigrams[a, b] for a, b in itertools.pairwise((0, *text))))
        for text, value in all_texts(reference.log_softmax(logits), 0).items()
    }
    expected = {text: values for text, values in expected.items() if values[1] > -np.inf}
    found = texts(beam)
    assert {text for text, *_ in found} == set(expected)
    for text, acoustic, score in found:
        np.testing.assert_allclose((acoustic, score), expected[text], rtol=1e-12, atol=1e-12)


def test_prefixes_form_a_tree(rng: np.random.Generator) -> None:
    beam, known = CtcBeam(V, width=6), {-1: (), 0: ()}
    for frame in rng.normal(0.0, 1.0, (40, V)):
        beam.step(frame[None])
        for prefix in beam.prefixes():
            if prefix.symbol >= 0:
                known[prefix.id] = (*known[prefix.parent], prefix.symbol)
            assert tuple(beam.spell(prefix)) == known[prefix.id]


def test_a_long_stream_holds_its_text() -> None:
    """30,000 frames: dropped prefixes are forgotten, the text is not."""
    rng = np.random.default_rng(3)
    said = rng.integers(0, V, 30_000)
    logits = 4.0 * np.eye(V)[said] + rng.normal(0.0, 0.5, (30_000, V))
    beam = CtcBeam(V, width=8)
    for start in range(0, 30_000, 500):
        beam.step(logits[start : start + 500])
    expected = [int(symbol) for symbol, _ in itertools.groupby(logits.argmax(1)) if symbol]
    found = beam.spell(beam.prefixes()[0])
    assert len(expected) > 4096
    assert found == expected


def test_masked_symbols() -> None:
    logits = np.zeros((3, V))
    logits[:, 0] = -np.inf
    logits[1, 2:] = -np.inf
    beam = CtcBeam(V, width=100)
    beam.step(logits)
    assert all(1 in text for text, *_ in texts(beam))
    np.testing.assert_allclose(np.exp([a for _, a, _ in texts(beam)]).sum(), 1.0)


def test_wrong_arguments() -> None:
    for arguments, text in (
        ({"symbols": 0}, "symbols >= 1, got 0"),
        ({"symbols": 3, "blank": 3}, r"blank in 0 \.\. 2, got 3"),
        ({"symbols": 3, "width": 0}, "width >= 1, got 0"),
        ({"symbols": 3, "candidates": 0}, "candidates >= 1, got 0"),
    ):
        with pytest.raises(ValueError, match=rf"\[CtcBeam\] expected {text}"):
            CtcBeam(**arguments)
    beam = CtcBeam(3)
    with pytest.raises(ValueError, match=r"logits of shape \(T, V\) = \(2, 3\), got \(2, 4\)"):
        beam.step(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="without NaN, got NaN"):
        beam.step(np.full((1, 3), np.nan))
    with pytest.raises(ValueError, match=r"extension of shape \(K, V\) = \(1, 3\), got \(2, 3\)"):
        beam.step(np.zeros((1, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="one frame with an extension, got 2"):
        beam.step(np.zeros((2, 3)), np.zeros((1, 3)))
    with pytest.raises(TypeError, match="extension of dtype float64"):
        beam.step(np.zeros((1, 3)), np.zeros((1, 3), np.float32))
    with pytest.raises(TypeError, match="logits of dtype float32 or float64"):
        beam.step(np.zeros((1, 3), np.int64))
    first = beam.prefixes()[0]
    assert beam.spell(first) == []
    for _ in range(40):
        beam.step(np.array([[-9.0, 9.0, -9.0], [9.0, -9.0, -9.0]]))
    with pytest.raises(ValueError, match="the id of a prefix of the beam, got 0"):
        beam.spell(first)
