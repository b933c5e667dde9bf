"""Pronouncing dictionaries: words and their phonemes, as in CMUdict."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ._pronunciations import parse_pronunciations
from ._utterances import Pronunciations, Utterance

#: A vowel of CMUdict with its stress.
_STRESSED = re.compile(r"([A-Z]+)[012]")

#: What stands around a word in a transcript without being a part of it.
_PUNCTUATION = '.,;:!?"()[]{}<>«»“”„‘…–—-*/\\'

#: Unknown words that a message names.
_NAMED = 10


@dataclass(frozen=True)
class Dictionary:
    """Words and how they may be pronounced.

    Attributes:
        entries: by word, in lower case, its pronunciations, the usual one first.
    """

    entries: Mapping[str, Pronunciations]

    @classmethod
    def parse(cls, text: str) -> "Dictionary":
        """Reads a dictionary, see `parse_pronunciations`; the stress of vowels is left out."""
        entries = parse_pronunciations(text.splitlines(), str.lower, phoneme)
        return cls({word: tuple(spoken) for word, spoken in entries.items()})

    @classmethod
    def read(cls, path: Path) -> "Dictionary":
        """Reads a file; raises FileNotFoundError, or ValueError where it is no dictionary."""
        if not path.is_file():
            raise FileNotFoundError(f"no dictionary {str(path)!r}")
        try:
            data = path.read_bytes()
            try:
                text = data.decode("utf-8-sig")
            except UnicodeDecodeError:
                text = data.decode("latin-1")  # older versions of CMUdict
            return cls.parse(text)
        except ValueError as error:
            raise ValueError(f"{path} is no pronouncing dictionary: {error}") from error

    @cached_property
    def text(self) -> str:
        """The dictionary as `parse` reads it."""
        lines = (
            f"{word} {' '.join(spoken)}"
            for word, several in self.entries.items()
            for spoken in several
        )
        return "\n".join(lines)

    @cached_property
    def phonemes(self) -> frozenset[str]:
        """All phonemes of all words."""
        return frozenset(
            symbol for several in self.entries.values() for spoken in several for symbol in spoken
        )

    def pronounced(self, utterances: Sequence[Utterance]) -> tuple[list[Utterance], str]:
        """Returns utterances as phonemes, and a text about those that had to be left out, or "".

        Words become their usual pronunciations, with all others beside them, without times. Symbols
        that are all phonemes of the dictionary stay as they are, with their times.

        Raises:
            ValueError: no utterance is left.
        """
        symbols = {phoneme(symbol) for each in utterances for symbol in each.symbols}
        if symbols <= self.phonemes:
            return [_without_stress(each) for each in utterances], ""
        found, unknown = [], set()
        for each in utterances:
            words = [word for symbol in each.symbols if (word := plain_word(symbol))]
            missing = {word for word in words if word not in self.entries}
            unknown |= missing
            if not missing:
                ways = tuple(self.entries[word] for word in words)
                spoken = tuple(symbol for usual, *_ in ways for symbol in usual)
                found.append(
                    replace(
                        each,
                        symbols=spoken,
                        segments=(),
                        words=tuple(words),
                        alternatives=ways,
                    )
                )
        if not unknown:
            return found, ""
        note = (
            f"{len(utterances) - len(found):,} utterances left out, "
            f"{len(unknown):,} of their words are not in the dictionary: {_some(unknown)}"
        )
        if not found:
            raise ValueError(f"no utterance is left to use: {note}")
        return found, note


def phoneme(symbol: str) -> str:
    """Returns a symbol of a dictionary without the stress of CMUdict's vowels."""
    match = _STRESSED.fullmatch(symbol)
    return match[1] if match else symbol


def plain_word(symbol: str) -> str:
    """Returns a word of a transcript as dictionaries have it; "" for mere punctuation."""
    return symbol.strip(_PUNCTUATION).lower().replace("\u2019", "'")


def _without_stress(utterance: Utterance) -> Utterance:
    return replace(
        utterance,
        symbols=tuple(map(phoneme, utterance.symbols)),
        segments=tuple(replace(s, symbol=phoneme(s.symbol)) for s in utterance.segments),
    )


def _some(words: Iterable[str]) -> str:
    ordered = sorted(words)
    return ", ".join(ordered[:_NAMED]) + (", ..." if len(ordered) > _NAMED else "")
