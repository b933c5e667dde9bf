"""From what a model of phonemes hears to words: prefix beam search in the tree of a dictionary.

    score(words) = log p(phonemes | sound) + weight * sum_i log p(word_i | words before)

The beam searches over phonemes. A prefix of them may stand for several sequences of words, of which
the last may be under way: the hypotheses of the prefix. What a beam is told to add for a further
phoneme is what the best hypothesis can still reach: of a word under way, the most probable word
that it can become (look-ahead). At the end the words count as they are.

Source of the look-ahead in the tree: Ortmanns, Ney and Eiden, "Language-model look-ahead for large
vocabulary speech recognition", 1996.
"""

from dataclasses import dataclass
from functools import cached_property
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from unrolled import functional
from unrolled.training import Array

from ._lexicon import Lexicon, Node
from ._word_model import WordContext


class Place:
    """A place in what is said, as a language model sees it, and what may follow there.

    It knows those behind it as long as somebody stands there: memory is that of the beam.

    Args:
        lexicon: the words.
        context: of the language model.
    """

    def __init__(self, lexicon: Lexicon, context: WordContext) -> None:
        self._lexicon, self.context = lexicon, context
        self._after: WeakValueDictionary[int, Place] = WeakValueDictionary()
        self._reach: dict[Node, NDArray[np.float64]] = {}

    @cached_property
    def log_p(self) -> NDArray[np.float64]:
        """(R,) log-probability of the word of each pronunciation."""
        log_p: NDArray[np.float64] = self.context.log_p[self._lexicon.word_of]
        return log_p

    def reach(self, node: Node) -> NDArray[np.float64]:
        """Returns the largest log-probability that each of the node's labels can lead to."""
        if node not in self._reach:
            below = self.log_p[node.ends : node.high]
            self._reach[node] = np.maximum.reduceat(below, node.edges) if below.size else below
        return self._reach[node]

    def after(self, row: int) -> "Place":
        """Returns the place behind a pronunciation."""
        word = int(self._lexicon.word_of[row])
        place = self._after.get(word)
        if place is None:
            context = self.context.after(word)
            place = self if context is self.context else Place(self._lexicon, context)
            self._after[word] = place
        return place


@dataclass(frozen=True, eq=False)
class _Said:
    """The pronunciation of a word, and the words before."""

    row: int
    before: "_Said | None"


@dataclass(frozen=True, eq=False)
class History:
    """Words that were said.

    Attributes:
        place: behind them.
        score: weight * log p of the words.
        said: the words; None if there are none.
    """

    place: Place
    score: float = 0.0
    said: _Said | None = None

    def after(self, row: int, weight: float) -> "History":
        """Returns the words and one more."""
        score = self.score + weight * float(self.place.log_p[row])
        return History(self.place.after(row), score, _Said(row, self.said))

    def rows(self) -> list[int]:
        """The pronunciations of the words."""
        found, at = [], self.said
        while at is not None:
            found.append(at.row)
            at = at.before
        return found[::-1]


@dataclass(frozen=True, eq=False)
class _Hypothesis:
    """Words, and where in the tree the word under way is."""

    history: History
    node: Node


class _Prefix:
    """What the phonemes of a prefix may stand for.

    Args:
        search: what looks for words.
        hypotheses: the possibilities.
        added: what the beam has added for the language model so far.
        symbols: outputs of the model.
    """

    def __init__(
        self, search: "WordSearch", hypotheses: list[_Hypothesis], added: float, symbols: int
    ) -> None:
        self._search, self._added, self._symbols = search, added, symbols
        self.hypotheses = hypotheses

    @cached_property
    def _best(self) -> NDArray[np.float64]:
        best = np.full(self._symbols, -np.inf)
        for each in self.hypotheses:
            labels = each.node.labels
            best[labels] = np.maximum(best[labels], self._reach(each))
        return best

    def _reach(self, hypothesis: _Hypothesis) -> NDArray[np.float64]:
        """The best score that each label behind a hypothesis can lead to."""
        history = hypothesis.history
        return history.score + self._search.weight * history.place.reach(hypothesis.node)

    @cached_property
    def extension(self) -> NDArray[np.float64]:
        """(V,) what each further phoneme adds."""
        return self._best - self._added

    def child(self, label: int, root: Node) -> "_Prefix":
        """Returns the prefix that is one phoneme longer."""
        found: list[tuple[float, _Hypothesis]] = []
        for each in self.hypotheses:
            node = each.node.child(label)
            if node is None:
                continue
            if node.labels.size:
                longer = _Hypothesis(each.history, node)
                found.append((float(self._reach(longer).max()), longer))
            for row in range(node.low, node.ends):
                history = each.history.after(row, self._search.weight)
                found.append((history.score, _Hypothesis(history, root)))
        found.sort(key=lambda pair: -pair[0])
        kept = [hypothesis for _, hypothesis in found[: self._search.most]]
        return _Prefix(self._search, kept, float(self._best[label]), self._symbols)


@dataclass(frozen=True)
class WordSearch:
    """A search for words.

    Attributes:
        lexicon: the words.
        weight: what the log-probability of a word counts beside that of the sound.
        width: prefixes of phonemes that are kept.
        most: hypotheses that are kept of each.
    """

    lexicon: Lexicon
    weight: float
    width: int = 16
    most: int = 16

    def __call__(self, logits: Array, context: WordContext) -> tuple[History, float]:
        """Returns the best words, and their score.

        A word that the sound breaks off is left out, where nothing else is possible.

        Args:
            logits: (N, V) of CTC.
            context: what was said before.
        """
        symbols, root = logits.shape[1], self.lexicon.root
        start = _Hypothesis(History(Place(self.lexicon, context)), root)
        beam = functional.CtcBeam(symbols, width=self.width)
        prefixes = beam.prefixes()
        known = {prefixes[0].id: _Prefix(self, [start], 0.0, symbols)}
        for frame in range(len(logits)):
            extension = np.stack([known[prefix.id].extension for prefix in prefixes])
            beam.step(logits[frame : frame + 1], extension)
            prefixes = beam.prefixes()
            known = {
                p.id: known.get(p.id) or known[p.parent].child(p.symbol, root) for p in prefixes
            }
        ends = [
            (each.node is root, prefix.acoustic + each.history.score, each.history)
            for prefix in prefixes
            for each in known[prefix.id].hypotheses
        ]
        _, score, history = max(ends, key=lambda end: end[:2])
        return history, score
