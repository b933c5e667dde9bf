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

#: Tokens that every vocabulary begins with: the end of a document, and what is not in it.
END, UNKNOWN = 0, 1
_SPECIAL = ("<end>", "<unk>")

#: Signs that may stand inside a word: the straight and the curly apostrophe.
APOSTROPHES = "'\u2019"

#: A word (with its apostrophes), a line break, or one sign.
_WORD = re.compile(rf"\w+(?:[{APOSTROPHES}]\w+)*|\n|[^\w\s]")

#: Signs that stand close to the word before or after them.
_NO_SPACE_BEFORE = frozenset('.,;:!?)]}%"' + APOSTROPHES)
_NO_SPACE_AFTER = frozenset("([{\n")


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a language model.

    Attributes:
        level: what a token is, a character or a word.
        symbols: the text of each token; the first two stand for the end of a document and for
            everything rare or never seen.
        rare: how many kinds of characters or words of the training text are not in `symbols`.
    """

    level: Level
    symbols: tuple[str, ...]
    rare: int

    @classmethod
    def build(
        cls, texts: Iterable[str], level: Level, *, min_count: int = 1, limit: int | None = None
    ) -> "Vocabulary":
        """Counts the tokens of `texts` and keeps those that occur `min_count` times.

        Args:
            texts: the training texts.
            level: what a token is.
            min_count: rarer tokens become the unknown token.
            limit: keep at most this many, the most frequent ones.
        """
        parts = texts if level == "char" else map(_WORD.findall, texts)
        counts = Counter(chain.from_iterable(parts))
        # Sorted by count, then by text: the same texts give the same vocabulary.
        kinds = sorted(counts, key=lambda kind: (-counts[kind], kind))
        kept = [kind for kind in kinds if counts[kind] >= min_count][:limit]
        return cls(level, (*_SPECIAL, *kept), len(kinds) - len(kept))

    def __len__(self) -> int:
        return len(self.symbols)

    def split(self, text: str) -> Sequence[str]:
        """Returns the tokens of a text as strings."""
        return text if self.level == "char" else _WORD.findall(text)

    def encode(self, text: str) -> NDArray[Any]:
        """Returns the tokens of a text, (N,) of the smallest integer type that holds them all."""
        if self.level == "char":
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
            table = self._table
            tokens: NDArray[Any] = table[np.minimum(codes, len(table) - 1)]
            return tokens
        index = self._index
        words = _WORD.findall(text)
        return np.array([index.get(word, UNKNOWN) for word in words], self._dtype)

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
        }

    @classmethod
    def from_json(cls, values: Any) -> "Vocabulary":
        """Returns the vocabulary that `to_json` returned; ValueError for anything else."""
        kept = from_json(cls, values, "vocabulary")
        if kept.level == "char" and any(len(symbol) != 1 for symbol in kept.symbols):
            raise ValueError("expected vocabulary.symbols to be single characters")
        return cls(kept.level, (*_SPECIAL, *kept.symbols), kept.rare)
