"""Beam search finds what there is: all of it when wide enough, the greedy target when narrow."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from unrolled.models import BeamOptions, Hypothesis, Seq2Seq, beam_search, sample_targets

U, V = 6, 4
MOST = 3


@pytest.fixture(scope="module")
def model() -> Seq2Seq:
    made = Seq2Seq(U, V, embedding_size=5, hidden_size=6, rng=np.random.default_rng(3))
    made.flat.values[:] *= 3.0  # opinions
    return made


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(0, U, (5, 3)), np.array([5, 2, 4])


def search(model: Seq2Seq, most: int = MOST, **options: Any) -> list[list[Hypothesis]]:
    sources, ends = draw(np.random.default_rng(0))
    stream = model.packed().start(*_memory(model, sources, ends))
    return beam_search(stream, ends, np.full(3, most), BeamOptions(**options))


def _memory(model: Seq2Seq, sources: np.ndarray, ends: np.ndarray) -> Any:
    memory, state = model.encode(sources, ends)
    return memory, ends, state


def every_target(
    model: Seq2Seq, b: int, most: int = MOST
) -> list[tuple[tuple[int, ...], float, Any]]:
    """All targets of a source, with log p and the attention's weights (T, S)."""
    sources, ends = draw(np.random.default_rng(0))
    texts = [text for n in range(most + 1) for text in itertools.product(range(1, V), repeat=n)]
    result = []
    for text in texts:
        target = np.array([*text, 0])[:, None]
        losses, weights = model.losses(
            sources[: ends[b], b : b + 1], ends[b : b + 1], target, np.array([len(target)])
        )
        result.append((text, -float(losses.sum(dtype=np.float64)), weights[:, 0]))
    return result


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_a_wide_beam_is_exhaustive(model: Seq2Seq, alpha: float, beta: float) -> None:
    found = search(model, width=100, length_penalty=alpha, coverage_penalty=beta)
    for b, hypotheses in enumerate(found):
        expected = []
        for text, log_p, weights in every_target(model, b):
            score = log_p / ((6 + len(text)) / 6) ** alpha
            score += beta * np.log(np.minimum(weights.sum(axis=0), 1.0)).sum()
            expected.append((score, log_p, text))
        expected.sort(reverse=True)
        assert [h.tokens for h in hypotheses] == [text for _, _, text in expected]
        np.testing.assert_allclose([h.score for h in hypotheses], [s for s, _, _ in expected], 1e-5)
        np.testing.assert_allclose([h.log_p for h in hypotheses], [p for _, p, _ in expected], 1e-5)


def greedy(model: Seq2Seq, b: int, most: int) -> tuple[int, ...]:
    sources, ends = draw(np.random.default_rng(0))
    rows = slice(b, b + 1)
    stream = model.packed().start(*_memory(model, sources[: ends[b], rows], ends[rows]))
    text: list[int] = []
    token = np.zeros(1, np.int64)
    while len(text) < most:
        token = stream.step(token)[0].argmax(axis=1)
        if not token[0]:
            break
        text.append(int(token[0]))
    return tuple(text)


def test_a_narrow_beam_is_greedy(model: Seq2Seq) -> None:
    for most in (0, 1, 8):
        for b, hypotheses in enumerate(search(model, most, width=1)):
            assert [h.tokens for h in hypotheses] == [greedy(model, b, most)]


def test_sampling_at_no_temperature_is_greedy(model: Seq2Seq) -> None:
    sources, ends = draw(np.random.default_rng(0))
    stream = model.packed().start(*_memory(model, sources, ends))
    found = sample_targets(stream, np.array([8, 8, 2]), lambda logits: logits.argmax(axis=1))
    assert [h.tokens for h in found] == [greedy(model, b, (8, 8, 2)[b]) for b in range(3)]
    log_p = {text: log_p for text, log_p, _ in every_target(model, 2, 2)}
    assert found[2].log_p == pytest.approx(log_p[found[2].tokens], rel=1e-4)


def test_a_wider_beam_is_no_worse_here(model: Seq2Seq) -> None:
    wide = search(model, 8, width=8, length_penalty=0.0)
    narrow = search(model, 8, width=1, length_penalty=0.0)
    for best, one in zip(wide, narrow, strict=True):
        assert best[0].log_p >= one[0].log_p - 1e-6
        assert len({h.tokens for h in best}) == len(best) == 8
        scores = [h.score for h in best]
        assert scores == sorted(scores, reverse=True)


def test_poor_ends_do_not_stop_a_good_target() -> None:
    """Ends that are hardly possible fill the beam before the sure target has been written."""

    class Sure:
        """Writes 1 six times and ends; everything else has next to no probability."""

        def __init__(self) -> None:
            self.lengths = np.zeros(1, np.int64)

        def step(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            logits = np.tile(np.array([-9.0, 0.0, -12.0], np.float32), (tokens.size, 1))
            logits[self.lengths >= 6] = [0.0, -9.0, -12.0]
            return logits, np.zeros((tokens.size, 1), np.float32)

        def keep(self, parents: np.ndarray) -> None:
            self.lengths = self.lengths[parents] + 1

    stream: Any = Sure()
    for width in (1, 2, 3, 5):
        stream.lengths = np.zeros(1, np.int64)
        (found,) = beam_search(stream, np.array([1]), np.array([20]), BeamOptions(width))
        assert found[0].tokens == (1,) * 6


def test_places_behind_the_longest_source(model: Seq2Seq) -> None:
    """Sources may be padded further than any of them goes."""
    sources, ends = draw(np.random.default_rng(0))
    padded = np.concatenate([sources, np.ones((2, 3), np.int64)])
    stream = model.packed().start(*_memory(model, padded, ends))
    options = BeamOptions(4, coverage_penalty=0.3)
    found = beam_search(stream, ends, np.full(3, MOST), options)
    assert found == search(model, width=4, coverage_penalty=0.3)


def test_no_ngram_comes_twice(model: Seq2Seq) -> None:
    for n in (1, 2):
        for hypotheses in search(model, 20, width=4, no_repeat=n):
            for hypothesis in hypotheses:
                text = hypothesis.tokens
                ngrams = [text[i : i + n] for i in range(len(text) - n + 1)]
                assert len(set(ngrams)) == len(ngrams)


def test_banned_tokens_are_not_written(model: Seq2Seq) -> None:
    for hypotheses in search(model, 6, width=4, banned=(1, 3)):
        assert all(set(h.tokens) <= {2} for h in hypotheses)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="width >= 1, got 0"):
        BeamOptions(width=0)
    with pytest.raises(ValueError, match="no_repeat >= 0, got -1"):
        BeamOptions(no_repeat=-1)
    with pytest.raises(ValueError, match="penalties >= 0"):
        BeamOptions(length_penalty=-1.0)
