"""How good translations and pronunciations are."""

from collections.abc import Iterator, Sequence

from unrolled.training import import_extra

from ._edit_distance import edit_distance
from ._parallel import Pair


def corpus_scores(written: Sequence[str], wanted: Sequence[str]) -> Iterator[str]:
    """Yields BLEU and chrF of sacrebleu with their signatures, cased and in lower case.

    Raises:
        ImportError: sacrebleu is not installed.
    """
    metrics = import_extra("sacrebleu.metrics", "translation")
    references = [list(wanted)]
    for name, make in (("BLEU", metrics.BLEU), ("chrF", metrics.CHRF)):
        for case, lower in (("cased", False), ("lower", True)):
            metric = make(lowercase=lower)
            score = metric.corpus_score(list(written), references).score
            yield f"{name:10} {score:.2f} {case} ({metric.get_signature()})"


def error_scores(written: Sequence[str], wanted: Sequence[Pair]) -> Iterator[str]:
    """Yields how many words are wrong, and phonemes of the nearest pronunciation that is listed."""
    wrong = edits = count = 0
    for text, pair in zip(written, wanted, strict=True):
        said = text.split()
        nearest = min(
            (target.split() for target in pair.targets), key=lambda t: edit_distance(said, t)
        )
        distance = edit_distance(said, nearest)
        wrong, edits, count = wrong + (distance > 0), edits + distance, count + len(nearest)
    yield f"words      {wrong / max(len(wanted), 1):.2%} wrong of {len(wanted):,}"
    yield f"phonemes   {edits / max(count, 1):.2%} wrong"
