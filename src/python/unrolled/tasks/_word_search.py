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

import numpy as np
from numpy.typing import NDArray

from unrolled import functional
from unrolled.functional import CtcPrefix
from unrolled.training import Array

from ._lexicon import Lexicon, Node
from ._word_model import WordContext


class History:
    """Words that were said.

    Args:
        lexicon: the words.
        weight: what the log-probability of a word counts.
        context: of the language model behind the words.
        score: weight * log p of the words.
        before: the words but for the last; None if there are none.
        row: the pronunciation of the last; -1 if there are none.
    """

    def __init__(
        self,
        lexicon: Lexicon,
        weight: float,
        context: WordContext,
        score: float = 0.0,
        before: "History | None" = None,
        row: int = -1,
    ) -> None:
        self._lexicon, self._weight = lexicon, weight
        self.context, self.score, self.before, self.row = context, score, before, row
        self._next: dict[int, History] = {}

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """(R,) the score with one more word, by its pronunciation."""
        scores: NDArray[np.float64] = (
            self.score + self._weight * self.context.log_p[self._lexicon.word_of]
        )
        return scores

    def after(self, row: int) -> "History":
        """Returns the words and one more."""
        if row not in self._next:
            context = self.context.after(int(self._lexicon.word_of[row]))
            score = float(self.scores[row])
            self._next[row] = History(self._lexicon, self._weight, context, score, self, row)
        return self._next[row]

    def rows(self) -> list[int]:
        """The pronunciations of the words."""
        found, at = [], self
        while at.before is not None:
            found.append(at.row)
            at = at.before
        return found[::-1]


@dataclass(frozen=True)
class _Hypothesis:
    """Words, and where in the tree the word under way is."""

    history: History
    node: Node

    @cached_property
    def reach(self) -> NDArray[np.float64]:
        """The best score that each of the node's labels can lead to."""
        if not self.node.labels.size:
            return np.empty(0)
        scores = self.history.scores[self.node.ends : self.node.high]
        reach: NDArray[np.float64] = np.maximum.reduceat(scores, self.node.edges)
        return reach


class _Prefix:
    """What the phonemes of a prefix may stand for.

    Args:
        hypotheses: the possibilities.
        added: what the beam has added for the language model so far.
        symbols: outputs of the model.
    """

    def __init__(self, hypotheses: list[_Hypothesis], added: float, symbols: int) -> None:
        self.hypotheses, self._added, self._symbols = hypotheses, added, symbols

    @cached_property
    def _best(self) -> NDArray[np.float64]:
        best = np.full(self._symbols, -np.inf)
        for each in self.hypotheses:
            labels = each.node.labels
            best[labels] = np.maximum(best[labels], each.reach)
        return best

    @cached_property
    def extension(self) -> NDArray[np.float64]:
        """(V,) what each further phoneme adds."""
        return self._best - self._added

    def child(self, label: int, root: Node, most: int) -> "_Prefix":
        """Returns the prefix that is one phoneme longer."""
        found: list[tuple[float, _Hypothesis]] = []
        for each in self.hypotheses:
            node = each.node.child(label)
            if node is None:
                continue
            if node.labels.size:
                longer = _Hypothesis(each.history, node)
                found.append((float(longer.reach.max()), longer))
            for row in range(node.low, node.ends):
                history = each.history.after(row)
                found.append((history.score, _Hypothesis(history, root)))
        found.sort(key=lambda pair: -pair[0])
        kept = [hypothesis for _, hypothesis in found[:most]]
        return _Prefix(kept, float(self._best[label]), self._symbols)


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
        start = History(self.lexicon, self.weight, context)
        beam = functional.CtcBeam(symbols, width=self.width)
        prefixes = beam.prefixes()
        known = {prefixes[0].id: _Prefix([_Hypothesis(start, root)], 0.0, symbols)}
        for frame in range(len(logits)):
            extension = np.stack([known[prefix.id].extension for prefix in prefixes])
            beam.step(logits[frame : frame + 1], extension)
            prefixes = beam.prefixes()
            known = {p.id: known.get(p.id) or self._grown(known, p, root) for p in prefixes}
        ends = [
            (each.node is root, prefix.acoustic + each.history.score, each.history)
            for prefix in prefixes
            for each in known[prefix.id].hypotheses
        ]
        _, score, history = max(ends, key=lambda end: end[:2])
        return history, score

    def _grown(self, known: dict[int, _Prefix], prefix: CtcPrefix, root: Node) -> _Prefix:
        return known[prefix.parent].child(prefix.symbol, root, self.most)
