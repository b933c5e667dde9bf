"""Words from phonemes: the search in the tree finds what all sequences of words would show."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from unrolled import functional, reference
from unrolled.models import LanguageModel
from unrolled.tasks import language_model as lm
from unrolled.tasks._dictionary import Dictionary
from unrolled.tasks._lexicon import Lexicon
from unrolled.tasks._text import Vocabulary
from unrolled.tasks._word_model import AnyWord, TextWords, WordContext
from unrolled.tasks._word_search import History, Place, WordSearch

SYMBOLS = ("x", "y", "z")
DICTIONARY = Dictionary.parse("a x\nab x y\nab(2) x x\nb y\nbe y\nxyz x y z\nzy z y\nunsayable q")


def text_model(words: Sequence[str], level: lm.Level = "word") -> lm.TextModel:
    vocabulary = Vocabulary.build([" ".join(words)], level)
    model = LanguageModel(
        len(vocabulary), hidden_size=5, embedding_size=3, rng=np.random.default_rng(2)
    )
    model.flat.values[...] *= 6.0  # so that its opinions are clear
    return lm.TextModel(model, vocabulary, lm.Options())


def best_of_all(
    logits: np.ndarray, lexicon: Lexicon, context: WordContext, weight: float
) -> tuple[float, list[int]]:
    """The best rows of the lexicon, and their score, among all sequences that fit the frames."""
    best: tuple[float, list[int]] = (-np.inf, [])
    frames, rows = len(logits), range(len(lexicon.table))

    @cache
    def acoustic(spoken: tuple[int, ...]) -> float:
        return -float(functional.ctc_loss(logits[:, None], np.array([spoken], np.int64))[0])

    for count in range(frames + 1):
        for sequence in itertools.product(rows, repeat=count):
            spoken = tuple(s for row in sequence for s in lexicon.labels(row))
            if len(spoken) > frames:
                continue
            score, place = acoustic(spoken), context
            for row in sequence:
                word = int(lexicon.word_of[row])
                score += weight * float(place.log_p[word])
                place = place.after(word)
            if score > best[0] + 1e-9:
                best = (score, list(sequence))
    return best


def words(lexicon: Lexicon, rows: list[int]) -> list[str]:
    return [lexicon.words[lexicon.word_of[row]] for row in rows]


def test_the_tree_holds_every_pronunciation() -> None:
    lexicon = Lexicon(DICTIONARY, SYMBOLS)
    assert lexicon.words == ["a", "ab", "b", "be", "xyz", "zy"]
    found = {}

    def walk(node: Any, spelled: tuple[int, ...]) -> None:
        assert sorted(node.labels) == list(node.labels)
        for row in range(node.low, node.ends):
            assert lexicon.labels(row) == list(spelled)
            found[row] = lexicon.words[lexicon.word_of[row]]
        for label in node.labels.tolist():
            walk(node.child(label), (*spelled, label))
        assert node.child(9) is None

    walk(lexicon.root, ())
    assert sorted(found.values()) == ["a", "ab", "ab", "b", "be", "xyz", "zy"]
    with pytest.raises(ValueError, match="no word of the dictionary is made of the model's sym"):
        Lexicon(DICTIONARY, ["k"])


@pytest.mark.parametrize("weight", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_wide_search_is_exact(seed: int, weight: float) -> None:
    lexicon = Lexicon(DICTIONARY, SYMBOLS)
    logits = np.random.default_rng(seed).normal(0.0, 2.0, (5, 4))
    text = TextWords(text_model(["a", "ab", "be", "xyz", "zy"]), lexicon.words)
    search = WordSearch(lexicon, weight, width=10_000, most=10_000)
    history, score = search(logits, text.start())
    expected, rows = best_of_all(logits, lexicon, text.start(), weight)
    np.testing.assert_allclose(score, expected, rtol=1e-9)
    if weight:  # else words that sound alike are alike
        assert words(lexicon, history.rows()) == words(lexicon, rows)


def test_the_language_model_decides_between_words_that_sound_alike() -> None:
    lexicon = Lexicon(DICTIONARY, SYMBOLS)
    logits = np.full((4, 4), -8.0)
    logits[np.arange(4), [1, 0, 2, 0]] = 0.0  # x y: "ab", "a b" or "a be"

    class Said:
        """After "a" comes "be"; otherwise anything but "ab" is rare."""

        def __init__(self, last: str) -> None:
            likely = {"": "ab", "a": "be"}.get(last, "zy")
            p = np.array([0.5 if word == likely else 0.1 for word in lexicon.words])
            self.log_p = np.log(p)

        def after(self, word: int) -> Said:
            return Said(lexicon.words[word])

    def heard(context: WordContext) -> tuple[list[str], float]:
        history, score = WordSearch(lexicon, 1.0)(logits, context)
        return words(lexicon, history.rows()), score

    acoustic = -functional.ctc_loss(logits[:, None], np.array([[1, 2]]))[0]
    for start, expected, p in (("", ["ab"], 0.5), ("a", ["ab"], 0.1)):
        found, score = heard(Said(start))
        assert found == expected
        np.testing.assert_allclose(score, acoustic + np.log(p), rtol=1e-9)
    lexicon = Lexicon(Dictionary.parse("a x\nb y\nbe y"), SYMBOLS)
    found, score = heard(Said(""))
    assert found == ["a", "be"]
    np.testing.assert_allclose(score, acoustic + np.log(0.1) + np.log(0.5), rtol=1e-9)
    assert heard(AnyWord(3))[1] == pytest.approx(acoustic - 2 * np.log(3))


def test_a_word_that_breaks_off_is_left_out() -> None:
    lexicon = Lexicon(Dictionary.parse("xyz x y z"), SYMBOLS)
    logits = np.full((8, 4), -9.0)
    logits[np.arange(8), [1, 0, 2, 3, 0, 1, 2, 0]] = 0.0
    history, _ = WordSearch(lexicon, 1.0, width=2)(logits, AnyWord(1))
    assert words(lexicon, history.rows()) == ["xyz"]
    nothing, score = WordSearch(lexicon, 1.0)(logits[:0], AnyWord(1))
    assert (nothing.rows(), score) == ([], 0.0)


def test_probabilities_are_those_of_the_language_model() -> None:
    text = text_model(["a", "B", "c", "c"])
    spoken = ["a", "b", "nobody", "knows"]
    context: Any = TextWords(text, spoken).start()
    model, vocabulary = text.model, text.vocabulary
    tokens = [vocabulary.symbols.index(symbol) for symbol in ("<end>", "a", "B", "<unk>")]
    read = np.array(tokens)[:, None]
    for place, following in enumerate([0, 1, 2, 3]):
        hidden, _ = model.rnn(model.embedding(read[: place + 1]), None)
        log_p = reference.log_softmax(model.head.packed()(hidden[-1]).astype(np.float64))[0]
        expected = log_p[[tokens[1], tokens[2], tokens[3], tokens[3]]] - [
            0,
            0,
            np.log(2),
            np.log(2),
        ]
        np.testing.assert_allclose(context.log_p, expected, rtol=1e-4, atol=1e-5)
        context = context.after(following)
    with pytest.raises(ValueError, match=r"this one is of characters: .* --level word"):
        TextWords(text_model(["a"], "char"), spoken)


def test_places_are_shared() -> None:
    """The same words lead to the same place, as long as somebody stands there."""
    lexicon = Lexicon(DICTIONARY, SYMBOLS)
    start = History(Place(lexicon, AnyWord(6)))
    assert start.after(0, 1.0).place is start.place
    assert start.after(0, 1.0).after(2, 1.0).rows() == [0, 2]
    assert start.after(0, 0.5).score == pytest.approx(-0.5 * np.log(6))
    assert start.rows() == []
    text = Place(lexicon, TextWords(text_model(["a", "b"]), lexicon.words).start())
    rows = {lexicon.words[word]: row for row, word in enumerate(lexicon.word_of)}
    behind = text.after(rows["a"])
    assert text.after(rows["a"]) is behind
    assert text.after(rows["b"]) is not behind
    gone = weakref.ref(behind)
    del behind
    assert gone() is None
