"""Words in a sound, with their phonemes."""

from typing import TYPE_CHECKING

import numpy as np

from unrolled.training import Array

from ._dictionary import Dictionary
from ._lexicon import Lexicon
from ._utterances import Segment, as_words
from ._word_model import AnyWord, TextWords, WordContext
from ._word_search import WordSearch
from .language_model import TextModel

if TYPE_CHECKING:
    from ._recogniser import Recogniser


#: What the log-probability of a word counts beside that of the sound.
LM_WEIGHT = 0.5


class WordReader:
    """Says which words a model of phonemes, or of words, hears; it remembers the words before::

        reader = WordReader(recogniser, text=lm.load("words.safetensors"))
        for word in recogniser.hear(pieces, reader):
            print(word.symbol, word.start, word.end, [part.symbol for part in word.parts])

    Attributes:
        spells: whether words are made of several symbols.

    Args:
        recogniser: a trained model.
        dictionary: the words; None = those that the model was trained with, or, with a language
            model, its symbols, as of a model that hears words.
        text: a language model of words; None = every word is as probable as any other.
        weight: what the log-probability of a word counts beside that of the sound.

    Raises:
        ValueError: there is neither a dictionary nor a language model, the dictionary's phonemes
            are not those of the model, the language model is one of characters, or the weight is
            not >= 0.
    """

    def __init__(
        self,
        recogniser: "Recogniser",
        *,
        dictionary: Dictionary | None = None,
        text: TextModel | None = None,
        weight: float = LM_WEIGHT,
    ) -> None:
        dictionary = recogniser.dictionary if dictionary is None else dictionary
        self.spells = dictionary is not None
        if dictionary is None and text is not None:
            dictionary = Dictionary({symbol: ((symbol,),) for symbol in recogniser.symbols})
        if dictionary is None:
            raise ValueError(
                "this model was trained without a dictionary, and knows no words: give it one of "
                "its symbols"
            )
        if not 0.0 <= weight < np.inf:
            raise ValueError(f"expected a weight of the language model >= 0, got {weight}")
        lexicon = Lexicon(dictionary, recogniser.symbols)
        self._recogniser = recogniser
        self._search = WordSearch(lexicon, weight)
        self._start: WordContext = (
            AnyWord(len(lexicon.words)) if text is None else TextWords(text, lexicon.words).start()
        )
        self.reset()

    def reset(self) -> None:
        """Begins anew: nothing was said before."""
        self._context = self._start

    def __call__(self, logits: Array) -> list[Segment]:
        """Returns the words in the next logits (N, V), with times from the first of them on."""
        lexicon = self._search.lexicon
        history, _ = self._search(logits[:, : self._recogniser.outputs], self._context)
        self._context = history.place.context
        rows = history.rows()
        spoken = [lexicon.labels(row) for row in rows]
        phonemes = self._recogniser.place(logits, [s for labels in spoken for s in labels])
        if not self.spells:
            return phonemes
        words = [lexicon.words[lexicon.word_of[row]] for row in rows]
        return as_words(words, list(map(len, spoken)), phonemes)


def readers_of(
    recogniser: "Recogniser",
    dictionary: Dictionary | None = None,
    text: TextModel | None = None,
    weight: float = LM_WEIGHT,
) -> dict[str, WordReader]:
    """Returns by their names the readers of words that a recogniser is to be scored with.

    One without a language model, where there is a dictionary, and one with it, where there is one.
    Arguments and errors as of `WordReader`.
    """
    readers = {}
    if dictionary is not None or recogniser.dictionary is not None:
        readers["without a language model"] = WordReader(recogniser, dictionary=dictionary)
    if text is not None:
        name = f"with a language model of weight {weight:g}"
        readers[name] = WordReader(recogniser, dictionary=dictionary, text=text, weight=weight)
    return readers
