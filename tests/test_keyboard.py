"""Keyboard scores: typing word by word, as the suggestions of a model let one type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from text_models import TEXT, make_model
from unrolled.tasks import language_model as lm
from unrolled.tasks._keyboard import SHOWN, KeyboardScore, Network, score_keyboard
from unrolled.tasks._text import Vocabulary

WORDS = "the then there cat car cart a an and dog dogs don't it its it's of on one"


class Fixed:
    """The same scores for all; several are equal."""

    def __init__(self, vocabulary: Vocabulary, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.scores = rng.integers(0, 6, len(vocabulary)).astype(np.float32)

    def rankings(self, tokens: np.ndarray) -> Iterator[tuple[Any, Any]]:
        for places in np.array_split(np.arange(tokens.size)[::-1], 3):
            yield places, np.tile(self.scores, (places.size, 1))


def type_out(text: str, vocabulary: Vocabulary, scores: np.ndarray) -> KeyboardScore:
    """Types a text letter by letter."""
    order = np.argsort(-scores, kind="stable")
    ranked = [vocabulary.symbols[t] for t in order if t > 1 and vocabulary.symbols[t][0].isalnum()]
    words = known = first = shown = strokes = at = 0
    pieces = vocabulary.split(text)
    for piece in pieces:
        at = text.index(piece, at) + len(piece)
        space = text[at : at + 1] == " "
        cost = len(piece) + space
        if piece[0].isalnum():
            words += 1
            if piece in ranked:
                known += 1
                first += piece == ranked[0]
                shown += piece in ranked[:SHOWN]
                for typed in range(len(piece)):
                    if piece in [w for w in ranked if w.startswith(piece[:typed])][:SHOWN]:
                        cost = typed + 1
                        break
        strokes += cost
    return KeyboardScore(words, known, first, shown, strokes, len(text))


@pytest.mark.parametrize("seed", range(6))
def test_typing_letter_by_letter(seed: int) -> None:
    vocabulary = Vocabulary.build([WORDS, "., ?"], "word")
    text = "the cat, and don't it? unknown dogs.\nthere\nits one a x of then cart"
    predictor = Fixed(vocabulary, seed)
    expected = type_out(text, vocabulary, predictor.scores)
    assert expected.strokes < expected.signs
    assert score_keyboard(predictor, vocabulary, [text]) == expected
    twice = score_keyboard(predictor, vocabulary, [text, "", text])
    assert (twice.words, twice.strokes) == (2 * expected.words, 2 * expected.strokes)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = Vocabulary.build([WORDS], "word")
    whole = score_keyboard(Fixed(vocabulary, 1), vocabulary, [WORDS])
    monkeypatch.setattr("unrolled.tasks._keyboard._BLOCK", 2 * len(vocabulary))
    assert score_keyboard(Fixed(vocabulary, 1), vocabulary, [WORDS]) == whole


def test_a_network_types_what_it_suggests() -> None:
    """The same keyboard, asked letter by letter."""
    model = make_model(level="word")
    text = TEXT[:150]
    score = score_keyboard(Network(model.model), model.vocabulary, [text])
    first = shown = strokes = 0
    for begin, end in model.vocabulary.spans(text):
        word, space = text[begin:end], text[end : end + 1] == " "
        cost = len(word) + space
        if word[0].isalpha():
            offers = [
                [s.word for s in lm.suggest(model, text[: begin + n], SHOWN)]
                for n in range(len(word))
            ]
            first += offers[0][0] == word
            shown += word in offers[0]
            cost = next((n + 1 for n, words in enumerate(offers) if word in words), cost)
        strokes += cost
    assert (score.first, score.shown, score.strokes) == (first, shown, strokes)
    assert score.signs == len(text)
    assert score.saved == pytest.approx(1 - strokes / len(text))


def test_folded_words_are_known_in_any_case() -> None:
    vocabulary = Vocabulary.build(["Don\u2019t DO it"], "word", form="folded")
    assert vocabulary.symbols[2:] == ("do", "don't", "it")
    score = score_keyboard(Fixed(vocabulary, 0), vocabulary, ["DON'T do It"])
    assert (score.words, score.known, score.shown) == (3, 3, 3)
    assert score.strokes == 3


def test_nothing_to_type() -> None:
    vocabulary = Vocabulary.build([WORDS], "word")
    assert score_keyboard(Fixed(vocabulary, 0), vocabulary, []).saved == 1.0 - 0.0
    none = Vocabulary.build(["., ,"], "word")
    assert score_keyboard(Fixed(none, 0), none, [". , word"]).known == 0


def test_models_of_characters_have_no_words() -> None:
    model = make_model()
    with pytest.raises(ValueError, match="--level word"):
        score_keyboard(Network(model.model), model.vocabulary, ["the cat"])
