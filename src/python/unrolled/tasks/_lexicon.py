"""All pronunciations of a dictionary as a tree of labels."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ._dictionary import Dictionary


class Lexicon:
    """The pronunciations that a model can hear, in order, so that every node of their tree is a
    run of them.

    Attributes:
        words: the words (W,).
        table: (R, longest + 1) the labels of each pronunciation, 0 behind its end, sorted.
        word_of: (R,) the place of its word in `words`.

    Args:
        dictionary: words and phonemes.
        symbols: the phonemes that the model tells apart; label i + 1 is symbol i.

    Raises:
        ValueError: no word is made of these symbols alone.
    """

    def __init__(self, dictionary: Dictionary, symbols: Sequence[str]) -> None:
        label = {symbol: place for place, symbol in enumerate(symbols, 1)}
        self.words: list[str] = []
        spoken: list[list[int]] = []
        word_of: list[int] = []
        for word, several in dictionary.entries.items():
            known = [[label[s] for s in row] for row in several if all(s in label for s in row)]
            if known:
                word_of += [len(self.words)] * len(known)
                spoken += known
                self.words.append(word)
        if not self.words:
            raise ValueError(
                "no word of the dictionary is made of the model's symbols: "
                + " ".join(list(symbols)[:20])
            )
        table = np.zeros((len(spoken), max(map(len, spoken)) + 1), np.uint16)
        for row, labels in enumerate(spoken):
            table[row, : len(labels)] = labels
        # Lexicographic: the first column is the last key.
        order = np.lexsort(table.T[::-1])
        self.table = table[order]
        self.word_of: NDArray[np.int64] = np.array(word_of, np.int64)[order]

    @property
    def root(self) -> "Node":
        """The beginning of every word."""
        return Node(self.table, 0, len(self.table), 0)

    def labels(self, row: int) -> list[int]:
        """Returns the labels of a pronunciation."""
        spoken: list[int] = self.table[row][self.table[row] > 0].tolist()
        return spoken


class Node:
    """The pronunciations `low` to `high` of a lexicon: those that begin with the same labels.

    Attributes:
        low, high: which rows of the table.
        ends: rows `low` to `ends` end here, the others go on.
        labels: (C,) how they go on, ascending.
        edges: (C,) the first row of each of these, counted from `ends`.
    """

    def __init__(self, table: NDArray[np.uint16], low: int, high: int, depth: int) -> None:
        self._table, self._depth = table, depth
        self.low, self.high = low, high
        column = table[low:high, depth]
        self.ends = low + int(np.searchsorted(column, 1))
        rest = column[self.ends - low :]
        self.edges = np.flatnonzero(np.diff(rest, prepend=0))
        self.labels: NDArray[np.int64] = rest[self.edges].astype(np.int64)

    @cached_property
    def _children(self) -> dict[int, "Node"]:
        return {}

    def child(self, label: int) -> "Node | None":
        """Returns where a label leads to, None if no pronunciation goes on so."""
        if label not in self._children:
            place = int(np.searchsorted(self.labels, label))
            if place == len(self.labels) or self.labels[place] != label:
                return None
            bounds = [*(self.ends + self.edges).tolist(), self.high]
            low, high = bounds[place : place + 2]
            self._children[label] = Node(self._table, low, high, self._depth + 1)
        return self._children[label]
