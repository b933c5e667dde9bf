"""Series with a class each: out of files, and split into what is learnt and what is held out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from unrolled.training import Array, counter_rng

from .ts_format import read_ts

#: Series (C, T), and the class of each.
Examples: TypeAlias = tuple[list[Array], list[str]]

#: Of each class, one series of so many is held out where the user splits nothing.
_HELD_OUT_ONE_OF = 10

#: The stream of random numbers that says who is held out.
_HELD_OUT = 2


def split(labelled: Examples) -> tuple[Examples, Examples]:
    """Returns series to train on and to hold out: one of ten of each class, at random.

    Which ones is the same whatever the seed of a run, so that runs can be compared. Of a class of
    two to nine series one is held out, of a single one none.

    Raises:
        ValueError: no class has two series.
    """
    series, labels = labelled
    held_out: set[int] = set()
    for number, label in enumerate(sorted(set(labels))):
        places = [place for place, own in enumerate(labels) if own == label]
        count = 0 if len(places) == 1 else max(len(places) // _HELD_OUT_ONE_OF, 1)
        order = counter_rng(0, _HELD_OUT, number).permutation(len(places))
        held_out.update(places[place] for place in order[:count])
    if not held_out:
        raise ValueError(
            "every class has a single series, so none can be held out: give --validation FILE, or "
            "more series"
        )
    parts: tuple[Examples, Examples] = (([], []), ([], []))
    for place, (each, label) in enumerate(zip(series, labels, strict=True)):
        part = parts[place in held_out]
        part[0].append(each)
        part[1].append(label)
    return parts


def read_labelled(paths: Sequence[Path]) -> Examples:
    """Returns the series of `.ts` files, and their classes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or has no classes.
    """
    result: Examples = ([], [])
    for path in paths:
        file = read_ts(path)
        if file.labels is None:
            raise ValueError(
                f"{path} has no classes (@classLabel false): training and scoring need them; "
                "`unrolled classify-series` does without"
            )
        result[0].extend(file.series)
        result[1].extend(file.labels)
    return result
