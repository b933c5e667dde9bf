"""Which of their pronunciations words have in a sound."""

from collections.abc import Mapping, Sequence

from unrolled import functional
from unrolled.training import Array

from ._utterances import Pronunciations


def best_pronunciations(
    logits: Array, words: Sequence[Pronunciations], label: Mapping[str, int]
) -> list[tuple[str, ...]]:
    """Returns the pronunciation of each word that fits a sound best.

    They are those of the most probable way to place all words in their order (Viterbi through a
    graph of all pronunciations). One with a symbol that has no label counts only where its word has
    no other, and this symbol is then passed over. A sound that is too short gives the usual ones.

    Args:
        logits: (N, V) of CTC.
        words: what is said.
        label: of each symbol.
    """
    known = [[way for way in ways if all(s in label for s in way)] or [ways[0]] for ways in words]
    if all(len(ways) == 1 for ways in known):
        return [ways[0] for ways in known]
    labels = [[[label[s] for s in way if s in label] for way in ways] for ways in known]
    heard = [place for place, ways in enumerate(labels) if ways[0]]
    chosen, _, _ = functional.ctc_align_words(logits, [labels[place] for place in heard])
    best = dict(zip(heard, chosen.tolist(), strict=True))
    return [ways[best.get(place, 0)] for place, ways in enumerate(known)]
