"""How well speech was recognised: which symbols and words, and where."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unrolled.training import Array

from ._edit_distance import error_rate, matches
from ._recogniser import Recogniser
from ._spoken import Spoken
from ._utterances import Segment
from ._words import WordReader


class Hearing:
    """What a recogniser hears in utterances, beside what is said.

    Attributes:
        said: the symbols of each utterance; of words with several pronunciations, those that fit
            the sound best.
        heard: the symbols that the recogniser hears in each.
        read: by the name of each reader, what it hears in each.

    Args:
        recogniser: what hears symbols.
        spoken: the utterances.
        readers: what hears words; or, of a recogniser without a dictionary, symbols.
    """

    def __init__(
        self, recogniser: Recogniser, spoken: Spoken, readers: Mapping[str, WordReader]
    ) -> None:
        self._recogniser, self._spoken, self._readers = recogniser, spoken, readers
        self.said: list[Sequence[str]] = []
        self.heard: list[list[Segment]] = []
        self.read: dict[str, list[list[str]]] = {name: [] for name in readers}

    def add(self, logits: Array) -> None:
        """Hears the next utterance, from its logits (N, V)."""
        row = len(self.heard)
        said = self._spoken.symbols[row]
        if words := self._spoken.alternatives[row]:
            said = [s for way in self._recogniser.pronunciations(logits, words) for s in way]
        self.said.append(said)
        self.heard.append(self._recogniser.segments(logits))
        for name, reader in self._readers.items():
            reader.reset()
            known = self._spoken.words[row] or not reader.spells
            self.read[name].append([s.symbol for s in reader(logits)] if known else [])

    def errors(self) -> Iterator[str]:
        """Yields the error rate of symbols, that of boundaries where the truth has times, and that
        of words where they are known."""
        rate = error_rate(self.said, [[s.symbol for s in row] for row in self.heard])
        several = any(len(ways) > 1 for words in self._spoken.alternatives for ways in words)
        note = ", of words with several pronunciations the one that fits" if several else ""
        yield f"errors     {rate:.2%} of the symbols of {len(self.heard):,} utterances{note}"
        misses = 1000 * boundary_errors(self._spoken.segments, self.heard)
        if misses.size:
            yield (
                f"boundaries {np.median(misses):.0f} ms (median), {misses.mean():.0f} ms (mean) "
                f"off, of {misses.size // 2:,} symbols that were recognised"
            )
        for name, read in self.read.items():
            if not self._readers[name].spells:
                yield f"errors     {error_rate(self.said, read):.2%} of the symbols, {name}"
            elif any(self._spoken.words):
                yield f"words      {error_rate(self._spoken.words, read):.2%} wrong, {name}"

    def utterance(self, row: int) -> Iterator[str]:
        """Yields what was said and heard in an utterance."""
        yield f"said   {' '.join(self.said[row])}"
        yield f"heard  {' '.join(s.symbol for s in self.heard[row])}"
        for name, read in self.read.items():
            if not self._readers[name].spells:
                yield f"heard  {' '.join(read[row])}, {name}"
            elif self._spoken.words[row]:
                yield f"words  {' '.join(read[row])}, {name}"


def boundary_errors(
    said: Sequence[Sequence[Segment]], heard: Sequence[Sequence[Segment]]
) -> NDArray[np.float64]:
    """Returns by how many seconds starts and ends of recognised segments miss the true ones.

    Which segment is which follows from the shortest edit from what was said to what was heard.
    """
    misses = []
    for truth, found in zip(said, heard, strict=True):
        for i, j in matches([s.symbol for s in truth], [s.symbol for s in found]):
            misses += [abs(truth[i].start - found[j].start), abs(truth[i].end - found[j].end)]
    return np.array(misses)
