"""How probable words are after the words before them."""

from functools import cached_property
from typing import Any, Protocol

import numpy as np

from unrolled import functional
from unrolled.models.language_model import LanguageModelStream
from unrolled.training import Array

from ._text import END, UNKNOWN
from .language_model import TextModel


class WordContext(Protocol):
    """What was said so far, for words that are counted 0 .. W-1."""

    @property
    def log_p(self) -> Array:
        """(W,) log-probability of each word to come next, in nats."""

    def after(self, word: int) -> "WordContext":
        """Returns the context behind one more word."""


class AnyWord:
    """Every one of W words is as probable as any other."""

    def __init__(self, count: int) -> None:
        self.log_p: Array = np.full(count, -np.log(count))

    def after(self, word: int) -> "AnyWord":
        """The same."""
        return self


class TextContext:
    """A place in a text that a language model of words reads.

    A word that the model does not know has the probability of the unknown word, shared among all
    of these.

    Args:
        words: of which words, and how the model counts them.
        state: of the model before `token`; None at the beginning.
        token: the last one.
    """

    def __init__(self, words: "TextWords", state: Any = None, token: int = END) -> None:
        self._words, self._before, self._token = words, state, token

    @cached_property
    def _read(self) -> tuple[Array, Any]:
        stream = self._words.stream
        stream.state = self._before
        logits = stream.step(np.array([self._token]))[0]
        return functional.log_softmax(logits.astype(np.float64)[None])[0], stream.state

    @property
    def log_p(self) -> Array:
        """(W,) log-probability of each word to come next, in nats."""
        log_p: Array = self._read[0][self._words.tokens] - self._words.share
        return log_p

    def after(self, word: int) -> "TextContext":
        """Returns the context behind one more word."""
        return TextContext(self._words, self._read[1], int(self._words.tokens[word]))


class TextWords:
    """Words as a language model counts them.

    Attributes:
        stream: reads for all contexts.
        tokens: (W,) the token of each word.
        share: (W,) log of how many words share that token where it is the unknown one, else 0.

    Args:
        text: a language model of words.
        words: in lower case; the model may have them with a capital.

    Raises:
        ValueError: it is a model of characters.
    """

    def __init__(self, text: TextModel, words: list[str]) -> None:
        vocabulary = text.vocabulary
        if vocabulary.level != "word":
            raise ValueError(
                "a language model of words is needed here, this one is of characters: "
                "unrolled train lm --level word"
            )
        known = {symbol: token for token, symbol in enumerate(vocabulary.symbols)}
        self.stream: LanguageModelStream = text.model.stream()
        self.tokens = np.array(
            [known.get(word, known.get(word.capitalize(), UNKNOWN)) for word in words], np.int64
        )
        unknown = self.tokens == UNKNOWN
        count = int(np.count_nonzero(unknown))
        self.share: Array = np.where(unknown, np.log(max(count, 1)), 0.0)

    def start(self) -> TextContext:
        """The beginning of a text."""
        return TextContext(self)
