"""The most probable next words after a text, as the keyboard of a phone shows them."""

import heapq
import itertools
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.functional import log_softmax
from unrolled.layers import as_state, state_arrays
from unrolled.models import LanguageModel

from ._text import APOSTROPHES, END, UNKNOWN, Vocabulary
from ._write import read_text

#: A word under way at the end of a text.
_TYPED = re.compile(rf"\w[\w{APOSTROPHES}]*$")

#: Continuations that are followed at the same time; how probable one must be to be followed, as a
#: part of the worst suggestion so far and (logarithm) at all; how many are followed at most.
_WIDTH, _WORTH, _LEAST, _MOST = 16, 0.05, math.log(1e-6), 4096

#: Most signs between the text and the next word, such as the space and quote of `say "hello`.
_MOST_BETWEEN = 4


@dataclass(frozen=True)
class Suggestion:
    """A word that may come next.

    Attributes:
        word: all of it, with the part that is typed already.
        probability: that the text goes on with just this word.
    """

    word: str
    probability: float


def suggest_words(
    model: LanguageModel, vocabulary: Vocabulary, text: str, count: int
) -> list[Suggestion]:
    """Returns the `count` most probable next words, the best first.

    If the text ends inside a word, or just behind one, the suggestions complete that word.
    """
    typed_match = _TYPED.search(text)
    typed = typed_match.group() if typed_match else ""
    if vocabulary.level == "word":
        found = _from_vocabulary(model, vocabulary, text[: len(text) - len(typed)], typed)
    else:
        found = _from_characters(model, vocabulary, text, typed, count)
    best = heapq.nsmallest(count, found.items(), key=lambda item: (-item[1], item[0]))
    return [Suggestion(word, probability) for word, probability in best]


def _from_vocabulary(
    model: LanguageModel, vocabulary: Vocabulary, before: str, typed: str
) -> dict[str, float]:
    """Words that begin with what is typed, their probabilities scaled to add up to one."""
    _, logits = read_text(model, vocabulary.encode(before))
    probabilities = np.exp(log_softmax(logits[0].astype(np.float64)))
    begin = vocabulary.fold(typed)
    found = {
        symbol: float(probabilities[token])
        for token, symbol in enumerate(vocabulary.symbols)
        if token > UNKNOWN and symbol.startswith(begin) and is_word_sign(symbol[0])
    }
    total = sum(found.values()) if typed else 1.0
    return {word: probability / total for word, probability in found.items()}


@dataclass(frozen=True)
class _Path:
    """A continuation of the text, up to a token that the model has not read yet.

    Attributes:
        word: the word so far, with what was typed; empty before it begins.
        between: how many signs stand before it.
        token: the last character of the continuation.
        state: the states before that, (L, 1, H) each.
    """

    word: str
    between: int
    token: int
    state: tuple[NDArray[Any], ...]


class _Search:
    """Best-first search over continuations, character by character.

    The probability of a word is that of its characters followed by one that ends it, summed over
    whatever may stand before it. Continuations too improbable to matter are not followed, so a
    probability may come out a little too small, never too large.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        known = list(enumerate(vocabulary.symbols))[UNKNOWN + 1 :]
        letters = [token for token, sign in known if is_word_sign(sign)]
        quotes = [token for token, sign in known if sign in APOSTROPHES]
        others = [token for token, _ in known if token not in {*letters, *quotes}]
        self._symbols = vocabulary.symbols
        self._begins = letters
        self._goes_on = letters + quotes
        self._between = others + quotes
        self._ends = [*others, END]  # not UNKNOWN, which could be a letter
        self._order = itertools.count()  # decides between equals
        self._frontier: list[tuple[float, int, _Path]] = []
        self.found: defaultdict[str, float] = defaultdict(float)

    def follow(
        self,
        log_p: float,
        word: str,
        between: int,
        log_next: NDArray[np.float64],
        state: tuple[NDArray[Any], ...],
    ) -> None:
        """Takes up every next character after a continuation of probability exp(log_p)."""
        if word:
            ended = log_p + np.log(np.exp(log_next[self._ends]).sum())
            self.found[word.rstrip(APOSTROPHES)] += float(np.exp(ended))
        followers = self._goes_on if word else self._begins
        for token in followers:
            self._push(log_p + log_next[token], word + self._symbols[token], between, token, state)
        if not word and between < _MOST_BETWEEN:
            for token in self._between:
                self._push(log_p + log_next[token], "", between + 1, token, state)

    def _push(
        self, log_p: float, word: str, between: int, token: int, state: tuple[NDArray[Any], ...]
    ) -> None:
        if log_p > _LEAST:
            path = _Path(word, between, token, state)
            heapq.heappush(self._frontier, (-log_p, next(self._order), path))

    def next_paths(self, count: int) -> list[tuple[float, _Path]]:
        """Takes the most probable continuations; none when the `count` best words are settled."""
        best = heapq.nlargest(count, self.found.values())
        worth = np.log(_WORTH * best[-1]) if len(best) == count else -np.inf
        paths: list[tuple[float, _Path]] = []
        while self._frontier and len(paths) < _WIDTH and -self._frontier[0][0] > worth:
            cost, _, path = heapq.heappop(self._frontier)
            paths.append((-cost, path))
        return paths


def _from_characters(
    model: LanguageModel, vocabulary: Vocabulary, text: str, typed: str, count: int
) -> dict[str, float]:
    """The words that a search over continuations finds."""
    stream, logits = read_text(model, vocabulary.encode(text))
    wide = stream.fork(_WIDTH)
    search = _Search(vocabulary)
    search.follow(
        0.0, typed, 0, log_softmax(logits[0].astype(np.float64)), state_arrays(stream.state)
    )
    followed = 0
    while followed < _MOST and (paths := search.next_paths(count)):
        followed += len(paths)
        # The stream has a fixed width: what is left over repeats the first path.
        rows = paths + paths[:1] * (_WIDTH - len(paths))
        columns = zip(*(path.state for _, path in rows), strict=True)
        states = tuple(np.concatenate(column, axis=1) for column in columns)
        wide.state = as_state(states)
        logits = wide.step(np.array([path.token for _, path in rows], np.int64))
        log_next = log_softmax(logits.astype(np.float64))
        states = state_arrays(wide.state)
        for row, (log_p, path) in enumerate(paths):
            state = tuple(part[:, row : row + 1] for part in states)
            search.follow(log_p, path.word, path.between, log_next[row], state)
    return search.found


def is_word_sign(sign: str) -> bool:
    """Whether a word may begin with it."""
    return sign.isalnum() or sign == "_"
