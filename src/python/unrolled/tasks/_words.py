"""Words in a sound, with their phonemes."""

from typing import TYPE_CHECKING

import numpy as np

from unrolled.training import Array

from ._dictionary import Dictionary
from ._lexicon import Lexicon
from ._utterances import Segment
from ._word_model import AnyWord, TextWords, WordContext
from ._word_search import WordSearch
from .language_model import TextModel

if TYPE_CHECKING:
    from ._recogniser import Recogniser


class WordReader:
    """Says which words a model of phonemes hears; it remembers the words before::

        reader = WordReader(recogniser, text=lm.load("words.safetensors"))
        for word in recogniser.hear(pieces, reader):
            print(word.symbol, word.start, word.end, [part.symbol for part in word.parts])

    Args:
        recogniser: a model of phonemes.
        dictionary: the words; None = those that the model was trained with.
        text: a language model of words; None = every word is as probable as any other.
        weight: what the log-probability of a word counts beside that of the sound.

    Raises:
        ValueError: there is no dictionary, its phonemes are not those of the model, the language
            model is one of characters, or the weight is not >= 0.
    """

    def __init__(
        self,
        recogniser: "Recogniser",
        *,
        dictionary: Dictionary | None = None,
        text: TextModel | None = None,
        weight: float = 0.5,
    ) -> None:
        dictionary = recogniser.dictionary if dictionary is None else dictionary
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
        phonemes = iter(self._recogniser.place(logits, [s for labels in spoken for s in labels]))
        found = []
        for row, labels in zip(rows, spoken, strict=True):
            parts = tuple(next(phonemes) for _ in labels)
            probability = sum(part.probability for part in parts) / len(parts)
            word = lexicon.words[lexicon.word_of[row]]
            found.append(Segment(word, parts[0].start, parts[-1].end, probability, parts))
        return found
