"""Kneser-Ney n-gram models: the equations as they stand in the paper, and a sum of one."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from unrolled.tasks._ngram import KneserNey
from unrolled.tasks._text import END

V = 7

#: A probability is made of a few products and sums an order.
TOLERANCE = 64 * np.finfo(np.float64).eps


def text(size: int, seed: int = 0) -> np.ndarray:
    """A text in which some tokens are rare and some follow each other often."""
    rng = np.random.default_rng(seed)
    tokens = np.minimum(rng.geometric(0.4, size), V) - 1
    tokens[1::3] = (tokens[::3][: tokens[1::3].size] * 3 + 1) % V
    return tokens


class Literal:
    """Chen and Goodman 1999, word for word, from dictionaries."""

    def __init__(self, tokens: list[int], order: int) -> None:
        self.order = order
        grams = {
            k: [tuple(tokens[i : i + k]) for i in range(len(tokens) - k + 1)]
            for k in range(1, order + 2)
        }
        self.counts: dict[int, dict[tuple[int, ...], int]] = {order: Counter(grams[order])}
        for k in range(1, order):
            before = defaultdict(set)
            for gram in grams[k + 1]:
                before[gram[1:]].add(gram[0])
            self.counts[k] = {gram: len(tokens) for gram, tokens in before.items()}

    def discount(self, k: int, count: int) -> float:
        n = Counter(self.counts[k].values())
        if not (n[1] and n[2] and n[3]):
            values = [0.5, 1.0, 1.5]
        else:
            y = n[1] / (n[1] + 2 * n[2])
            values = [1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
            if not all(0 <= d <= i for i, d in enumerate(values, 1)):
                values = [0.5, 1.0, 1.5]
        return [0.0, *values][min(count, 3)]

    def p(self, context: tuple[int, ...], token: int) -> float:
        k = len(context) + 1
        below = self.p(context[1:], token) if context else 1.0 / V
        follow = {w: self.counts[k].get((*context, w), 0) for w in range(V)}
        total = sum(follow.values())
        if not total:
            return below
        own = max(follow[token] - self.discount(k, follow[token]), 0.0)
        return (own + sum(self.discount(k, c) for c in follow.values()) * below) / total

    def after(self, tokens: list[int], token: int) -> float:
        return self.p(tuple(tokens[max(len(tokens) - self.order + 1, 0) :]), token)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [30, 600])
def test_the_equations_of_the_paper(order: int, size: int) -> None:
    training, test = text(size), text(80, seed=1)
    literal, model = Literal(training.tolist(), order), KneserNey(training, V, order)
    stream = [END, *test.tolist()]
    expected = np.array(
        [[literal.after(stream[: i + 1], w) for w in range(V)] for i in range(test.size)]
    )
    got = np.full_like(expected, np.nan)
    for places, probabilities in model.rankings(test):
        got[places] = probabilities
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE)
    np.testing.assert_allclose(got.sum(1), 1.0, rtol=TOLERANCE)
    of_tokens = expected[np.arange(test.size), test]
    np.testing.assert_allclose(np.exp(-model.losses(test)), of_tokens, rtol=TOLERANCE)


def test_blocks_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model, test = KneserNey(text(300), V, 3), text(50, seed=1)
    ((places, whole),) = model.rankings(test)
    monkeypatch.setattr("unrolled.tasks._ngram._BLOCK", 8 * V)
    blocks = list(model.rankings(test))
    assert len(blocks) == 7
    assert np.concatenate([places for places, _ in blocks]).tolist() == places.tolist()
    np.testing.assert_array_equal(np.concatenate([p for _, p in blocks]), whole)


def test_words_of_one_context_are_not_expected_elsewhere() -> None:
    """ "Francisco" is frequent, but only after "San"; what follows anything gets more."""
    san, francisco, often, other = 2, 3, 4, 5
    tokens = [san, francisco] * 20
    for before in (0, 1, other, 6):
        tokens += [before, often]
    ((_, p),) = KneserNey(np.array(tokens), V, 2).rankings(np.array([often, 0]))
    assert tokens.count(francisco) > tokens.count(often)
    assert p[1, often] > p[1, francisco]


@pytest.mark.parametrize("tokens", [[3], [3, 3], [0, 1, 2]], ids=len)
def test_texts_shorter_than_the_order(tokens: list[int]) -> None:
    model = KneserNey(np.array(tokens), V, 5)
    assert model.name == f"Kneser-Ney {len(tokens)}-grams"
    ((_, p),) = model.rankings(np.arange(V))
    np.testing.assert_allclose(p.sum(1), 1.0, rtol=TOLERANCE)
    assert (p > 0).all()
    assert model.losses(np.zeros(0, np.int64)).size == 0


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="expected order >= 1"):
        KneserNey(np.array([1, 2]), V, 0)
    with pytest.raises(ValueError, match=r"tokens \(N,\)"):
        KneserNey(np.zeros(0, np.int64), V)
    for wrong in (-1, V):
        with pytest.raises(ValueError, match=r"0\.\.V-1 = 0\.\.6"):
            KneserNey(np.array([1, wrong]), V)
