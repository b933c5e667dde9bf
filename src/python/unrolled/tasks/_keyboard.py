"""How much a language model helps at a phone's keyboard: recall of the next word, keystrokes saved.

A keyboard shows the three most probable words that begin with what is typed of the next one, from
before its first letter on. Recall at k is the part of all words that are among the first k before
their first letter (Hard et al. 2018, "Federated learning for mobile keyboard prediction").

Keystrokes are those of somebody who takes a word as soon as it is shown: one stroke, the space
behind it included. All else is typed sign by sign: punctuation, line breaks, the letters of a word
until it is shown, a word that the model does not know, and the space behind it. What is saved is
1 - strokes / signs of the text. Suggestions are always words; punctuation is context alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unrolled.models import LanguageModel
from unrolled.training import Array

from ._score import read_side_by_side
from ._suggest import is_word_sign
from ._text import UNKNOWN, Vocabulary

#: Words on the keyboard.
SHOWN = 3

#: A network's logits are computed for so many tokens at a time in each stream.
_STEPS = 16

#: Numbers of a block of places and words that are compared at a time, so that it stays in cache.
_BLOCK = 1 << 20


class Predictor(Protocol):
    """What ranks next tokens."""

    def rankings(self, tokens: NDArray[Any]) -> Iterator[tuple[NDArray[np.int64], Array]]:
        """Yields scores of all tokens, a higher one for a more probable one, block by block.

        Shapes: tokens (N,) -> places (M,) in the text, scores (M, V): of what may stand there,
        after the tokens before it. Each place comes once.
        """


@dataclass(frozen=True)
class Network:
    """A network as a predictor: its scores are logits."""

    model: LanguageModel

    def rankings(self, tokens: NDArray[Any]) -> Iterator[tuple[NDArray[np.int64], Array]]:
        """See `Predictor`."""
        for outputs, places in read_side_by_side(self.model, tokens, _STEPS):
            counted = places >= 0
            yield places[counted], self.model.head.logits(outputs[counted])


@dataclass(frozen=True)
class KeyboardScore:
    """How a text was typed.

    Attributes:
        words: words of the text.
        known: those in the vocabulary.
        first: words that were the first suggestion before their first letter.
        shown: words that were among the three suggestions then.
        strokes: keystrokes.
        signs: characters of the text, spaces included.
    """

    words: int
    known: int
    first: int
    shown: int
    strokes: int
    signs: int

    @property
    def saved(self) -> float:
        """The part of keystrokes saved, 0..1."""
        return 1.0 - self.strokes / max(self.signs, 1)

    def __str__(self) -> str:
        words, known = max(self.words, 1), max(self.known, 1)
        return (
            f"next word first {self.first / words:.1%}, among {SHOWN} {self.shown / words:.1%} "
            f"(of known words {self.first / known:.1%}, {self.shown / known:.1%}), "
            f"keystrokes saved {self.saved:.1%} ({self.words:,} words, "
            f"{1.0 - self.known / words:.1%} unknown)"
        )


def score_keyboard(
    predictor: Predictor, vocabulary: Vocabulary, texts: Iterable[str]
) -> KeyboardScore:
    """Types documents, one after the other.

    Args:
        predictor: ranks the next words.
        vocabulary: its tokens, words.
        texts: the documents.

    Raises:
        ValueError: the vocabulary is one of characters.
    """
    if vocabulary.level != "word":
        raise ValueError(
            "a keyboard is scored with a model of words, this one reads characters: "
            "train one with --level word"
        )
    texts = list(texts)
    tokens = vocabulary.join(texts).astype(np.int64)
    is_word, lengths, spaces = _typed(vocabulary, texts)
    choices = _Choices(vocabulary)
    known = is_word & (tokens > UNKNOWN)
    first = shown = 0
    strokes = lengths + spaces
    for places, scores in predictor.rankings(tokens):
        wanted = known[places]
        places, scores = places[wanted], scores[wanted]
        rows = max(_BLOCK // len(vocabulary), 1)
        for start in range(0, places.size, rows):
            part = slice(start, start + rows)
            rank, typed = choices.offered(scores[part], tokens[places[part]])
            first += int(np.count_nonzero(rank == 0))
            shown += int(np.count_nonzero(rank < SHOWN))
            strokes[places[part]] = np.minimum(strokes[places[part]], typed + 1)
    return KeyboardScore(
        words=int(np.count_nonzero(is_word)),
        known=int(np.count_nonzero(known)),
        first=first,
        shown=shown,
        strokes=int(strokes.sum()),
        signs=int((lengths + spaces).sum()),
    )


def _typed(
    vocabulary: Vocabulary, texts: Iterable[str]
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """For each token of joined texts, (N,): is it a word, its length, is there a space behind it.

    The end of a document is no word and has no length.
    """
    found: list[tuple[bool, int, bool]] = []
    for text in texts:
        folded = vocabulary.fold(text)
        for begin, end in vocabulary.spans(text):
            behind = folded[end : end + 1]
            space = behind.isspace() and behind != "\n"
            found.append((is_word_sign(folded[begin]), end - begin, space))
        found.append((False, 0, False))
    is_word, lengths, spaces = np.array(found, np.int64).reshape(-1, 3).T
    return is_word.astype(bool), lengths, spaces


class _Choices:
    """The words of a vocabulary, in alphabetical order: those with one prefix are neighbours.

    Shapes: V vocabulary, W words, P letters of the longest word, M places.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        words = [
            (symbol, token)
            for token, symbol in enumerate(vocabulary.symbols)
            if token > UNKNOWN and is_word_sign(symbol[0])
        ]
        self._tokens = np.array([token for _, token in sorted(words)], np.int64)  # (W,)
        symbols = np.array([symbol for symbol, _ in sorted(words)], np.str_)
        self._lengths = np.char.str_len(symbols).astype(np.int64)
        self._is_word = np.zeros(len(vocabulary), bool)
        self._is_word[self._tokens] = True
        self._row = np.zeros(len(vocabulary), np.int64)  # (V,) the place of a word in that order
        self._row[self._tokens] = np.arange(self._tokens.size)
        # (W, P): the words that share their first j letters with a word are those in begin .. end.
        # Cut to j letters, the words are still in order.
        cuts = [symbols.astype(f"U{max(j, 1)}") for j in range(self._lengths.max(initial=1))]
        cuts[0] = np.zeros_like(cuts[0])
        self._begin = np.stack([np.searchsorted(cut, cut, "left") for cut in cuts], 1)
        self._end = np.stack([np.searchsorted(cut, cut, "right") for cut in cuts], 1)

    def offered(
        self, scores: Array, targets: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """When the keyboard shows a word.

        Shapes: scores (M, V); targets (M,), tokens that are words -> (M,) how many words come
        before it when nothing is typed, and (M,) how many letters must be typed until it is shown:
        all of them for a word that never is.
        """
        own = np.take_along_axis(scores, targets[:, None], 1)
        # Of equals the more frequent word, which has the lower number, comes first.
        earlier = np.arange(scores.shape[1]) < targets[:, None]
        better = ((scores > own) | ((scores == own) & earlier)) & self._is_word
        rank = np.count_nonzero(better, axis=1)
        typed = np.zeros_like(targets)
        (late,) = np.nonzero(rank >= SHOWN)
        at = self._row[targets[late]]
        before = np.zeros((late.size, self._tokens.size + 1), np.int32)
        np.cumsum(np.take(better[late], self._tokens, axis=1), axis=1, out=before[:, 1:])
        ahead = np.take_along_axis(before, self._end[at], 1)
        ahead -= np.take_along_axis(before, self._begin[at], 1)
        shows = ahead < SHOWN
        typed[late] = np.where(shows.any(1), shows.argmax(1), self._lengths[at])
        return rank, np.minimum(typed, self._lengths[self._row[targets]])
