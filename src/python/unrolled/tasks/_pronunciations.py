"""The lines of pronouncing dictionaries in the format of CMU's."""

import re
from collections.abc import Callable, Iterable

#: WORD, or WORD(2) for a further pronunciation.
_WORD = re.compile(r"(\S+?)(?:\(\d+\))?")
#: What begins a remark behind a line.
_REMARK = re.compile(r"\s#")


def parse_pronunciations(
    lines: Iterable[str],
    word: Callable[[str], str] = str,
    phoneme: Callable[[str], str] = str,
) -> dict[str, list[tuple[str, ...]]]:
    """Returns the pronunciations of each word, in their order, each once.

    A line is a word and its phonemes, between spaces. Further pronunciations have lines of their
    own, WORD(2) or the word again. Lines that begin with ";;;" and what follows " #" are comments.

    Args:
        lines: of the dictionary.
        word, phoneme: what is made of the words and of the phonemes.

    Raises:
        ValueError: a line has no phonemes, or there is no word at all.
    """
    found: dict[str, list[tuple[str, ...]]] = {}
    for number, line in enumerate(lines, 1):
        fields = _REMARK.split(line, maxsplit=1)[0].split()
        if not fields or fields[0].startswith(";;;"):
            continue
        match = _WORD.fullmatch(fields[0])
        if match is None or len(fields) < 2:
            raise ValueError(
                f"line {number}: expected a word and its phonemes, got {line.strip()[:60]!r}"
            )
        spoken = tuple(map(phoneme, fields[1:]))
        known = found.setdefault(word(match[1]), [])
        if spoken not in known:
            known.append(spoken)
    if not found:
        raise ValueError("there are no words")
    return found
