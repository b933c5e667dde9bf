"""Which symbols follow each other: the simplest language model, a part of CTC's search."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import functional
from unrolled.training import Array

from .._recogniser import WIDTH, best_symbols

#: What is added to the count of every succession: none is impossible.
_UNSEEN = 0.05


@dataclass(frozen=True)
class Successions:
    """How often each label came after each other one in training; the label 0 begins a sentence.

        p(b | a) = (count(a, b) + u) / (count(a) + u * V)

    Attributes:
        outputs: V, the blank of CTC and the labels; p of the blank is never asked for.
        counts: of pairs (a, b).
    """

    outputs: int
    counts: dict[tuple[int, int], int]

    @classmethod
    def of(cls, sentences: Sequence[Sequence[int]], outputs: int) -> "Successions":
        """Counts the successions of sentences of labels."""
        pairs = (pair for labels in sentences for pair in pairwise((0, *labels)))
        return cls(outputs, dict(Counter(pairs)))

    @cached_property
    def _log_p(self) -> NDArray[np.float64]:
        table = np.full((self.outputs, self.outputs), _UNSEEN)
        for (a, b), count in self.counts.items():
            table[a, b] += count
        table[:, 0] = 0.0
        log_p: NDArray[np.float64] = np.log(np.maximum(table, 1e-30) / table.sum(1, keepdims=True))
        return log_p

    def search(self, logits: Array, weight: float) -> list[int]:
        """Returns the most probable labels of logits (N, V) of CTC.

        Args:
            logits: of each step.
            weight: what log p of a succession counts beside the log-probability of what is seen;
                0: it does not take part.
        """
        if not weight:
            return best_symbols(logits)
        beam = functional.CtcBeam(self.outputs, width=WIDTH)
        scores = weight * self._log_p
        for step in range(len(logits)):
            last = [max(prefix.symbol, 0) for prefix in beam.prefixes()]
            beam.step(logits[step : step + 1], scores[last])
        return beam.spell(beam.prefixes()[0])

    def to_json(self) -> list[list[int]]:
        """The counts, as lists [a, b, count]."""
        return [[a, b, count] for (a, b), count in sorted(self.counts.items())]

    @classmethod
    def from_json(cls, values: Any, outputs: int) -> "Successions":
        """From what `to_json` gave; ValueError for labels that there are not."""
        counts = {(int(a), int(b)): int(count) for a, b, count in values}
        if any(
            not (0 <= a < outputs and 0 < b < outputs and n > 0) for (a, b), n in counts.items()
        ):
            raise ValueError("expected successions of labels that the model has, with counts > 0")
        return cls(outputs, counts)
