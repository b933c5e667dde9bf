"""Text as tokens: the vocabulary of a language model, of characters or of words."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unrolled.training import from_json

Level: TypeAlias = Literal["char", "word"]

#: How texts stand before they are cut into words: as people write them; with spaces between all
#: tokens, where someone did the cutting; or written ones of which lower case and straight
#: apostrophes are read, as a phone's keyboard compares words.
Form: TypeAlias = Literal["written", "tokenised", "folded"]

#: Tokens that every vocabulary begins with: the end of a document, and what is not in it.
END, UNKNOWN = 0, 1
_SPECIAL = ("<end>", "<unk>")

#: Signs that may stand inside a word: the straight and the curly apostrophe.
APOSTROPHES = "'\u2019"

#: A word (with its apostrophes), a line break, or one sign.
_WORD = re.compile(rf"\w+(?:[{APOSTROPHES}]\w+)*|\n|[^\w\s]")

#: A token of a text that is tokenised already.
_TOKEN = re.compile(r"\S+")

#: Signs that stand close to the word before or after them.
_NO_SPACE_BEFORE = frozenset('.,;:!?)]}%"' + APOSTROPHES)
_NO_SPACE_AFTER = frozenset("([{\n")

#: Different words that are counted at a time, about half a gigabyte of them.
_MOST_KINDS = 1 << 22


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a language model.

    Attributes:
        level: what a token is, a character or a word.
        symbols: the text of each token; the first two stand for the end of a document and for
            everything rare or never seen.
        rare: how many kinds of characters or words of the training text are not in `symbols`.
        form: how the texts of a model of words stand.
    """

    level: Level
    symbols: tuple[str, ...]
    rare: int
    form: Form = "written"

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        level: Level,
        *,
        min_count: int = 1,
        limit: int | None = None,
        form: Form = "written",
    ) -> "Vocabulary":
        """Counts the tokens of `texts` and keeps those that occur `min_count` times.

        Memory does not grow with the texts: where there are too many different words, the rarest
        half of those counted so far is forgotten, as word2vec does.

        Args:
            texts: the training texts, or pieces of them that end between words.
            level: what a token is.
            min_count: rarer tokens become the unknown token.
            limit: keep at most this many, the most frequent ones.
            form: how the texts of a model of words stand.
        """
        counts: Counter[str] = Counter()
        split = cls(level, _SPECIAL, 0, form).split
        for text in texts:
            counts.update(split(text))
            if len(counts) > _MOST_KINDS:
                counts = Counter(dict(counts.most_common(_MOST_KINDS // 2)))
        # Sorted by count, then by text: the same texts give the same vocabulary.
        kinds = sorted(counts, key=lambda kind: (-counts[kind], kind))
        kept = [kind for kind in kinds if counts[kind] >= min_count][:limit]
        return cls(level, (*_SPECIAL, *kept), len(kinds) - len(kept), form)

    def __len__(self) -> int:
        return len(self.symbols)

    def split(self, text: str) -> Sequence[str]:
        """Returns the tokens of a text as strings."""
        return text if self.level == "char" else self._pattern.findall(self.fold(text))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Returns where each word begins and ends in `fold(text)`."""
        return [match.span() for match in self._pattern.finditer(self.fold(text))]

    def fold(self, text: str) -> str:
        """Returns a text as it is read: the same unless the form is "folded"."""
        return text.lower().replace("\u2019", "'") if self.form == "folded" else text

    @property
    def _pattern(self) -> re.Pattern[str]:
        return _TOKEN if self.form == "tokenised" else _WORD

    def encode(self, text: str) -> NDArray[Any]:
        """Returns the tokens of a text, (N,) of the smallest integer type that holds them all."""
        if self.level == "char":
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
            table = self._table
            tokens: NDArray[Any] = table[np.minimum(codes, len(table) - 1)]
            return tokens
        index = self._index
        return np.array([index.get(word, UNKNOWN) for word in self.split(text)], self._dtype)

    def join(self, texts: Iterable[str]) -> NDArray[Any]:
        """Returns several documents as one stream, (N,) integers; each is closed by END."""
        end = np.array([END], self._dtype)
        return np.concatenate([end[:0], *chain.from_iterable((self.encode(t), end) for t in texts)])

    def piece(self, token: int, previous: str) -> str:
        """Returns what a token adds to a text that ends in `previous` (any end of it will do)."""
        symbol = self.symbols[token]
        if self.level == "char" or not previous or previous[-1] in _NO_SPACE_AFTER:
            return symbol
        if symbol in _NO_SPACE_BEFORE or symbol == "\n" or previous[-1].isspace():
            return symbol
        return " " + symbol

    @cached_property
    def _index(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols) if i >= len(_SPECIAL)}

    @cached_property
    def _table(self) -> NDArray[Any]:
        """Code point -> token; the last entry serves all code points from there on."""
        table = np.full(2 + max(map(ord, self._index), default=0), UNKNOWN, self._dtype)
        for symbol, token in self._index.items():
            table[ord(symbol)] = token
        return table

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.min_scalar_type(len(self))

    def to_json(self) -> dict[str, Any]:
        """Returns the vocabulary as JSON-able values."""
        return {
            "level": self.level,
            "symbols": self.symbols[len(_SPECIAL) :],
            "rare": self.rare,
            "form": self.form,
        }

    @classmethod
    def from_json(cls, values: Any) -> "Vocabulary":
        """Returns the vocabulary that `to_json` returned; ValueError for anything else."""
        kept = from_json(cls, values, "vocabulary")
        if kept.level == "char" and any(len(symbol) != 1 for symbol in kept.symbols):
            raise ValueError("expected vocabulary.symbols to be single characters")
        return cls(kept.level, (*_SPECIAL, *kept.symbols), kept.rare, kept.form)
