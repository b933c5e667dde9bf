"""Pairs of a text and its translation, from files of parallel lines."""

import gzip
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ._pronunciations import parse_pronunciations

#: Control characters, which stand for no text. Line ends are among them, and stay outside.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class Pair:
    """A text and its translation; of a pronouncing dictionary, a word and how it may be said.

    Attributes:
        source: what is read.
        targets: what may be written; the first is learnt from first.
    """

    source: str
    targets: tuple[str, ...]

    @property
    def target(self) -> str:
        """The first target."""
        return self.targets[0]


def clean(text: str) -> str:
    """Returns a line as it is read: composed (NFC), control characters and runs of spaces as one.

    Case and everything else stay.
    """
    return " ".join(_CONTROL.sub(" ", unicodedata.normalize("NFC", text)).split())


def read_lines(path: Path) -> list[str]:
    """Returns the lines of a text in UTF-8, or of one that gzip made smaller.

    Only line feeds end a line, so that two files stay parallel.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text in UTF-8, or its compression is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no text in UTF-8, plain or .gz: {error}") from error
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def read_pairs(paths: Sequence[Path]) -> list[Pair]:
    """Returns the pairs of two files of parallel lines, or of one with a tab between the two.

    Pairs of which one side is empty are kept; whoever trains leaves them out.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: they are not one or two files, have different numbers of lines, or a line has no
            tab.
    """
    if len(paths) == 2:
        sources, targets = (read_lines(path) for path in paths)
        if len(sources) != len(targets):
            raise ValueError(
                f"{paths[0]} has {len(sources):,} lines and {paths[1]} {len(targets):,}: "
                "line n of one must be the translation of line n of the other"
            )
        return [Pair(clean(a), (clean(b),)) for a, b in zip(sources, targets, strict=True)]
    if len(paths) != 1:
        raise ValueError(
            f"expected two files of parallel lines or one with tabs, got {len(paths)} files"
        )
    return list(_tabbed(paths[0]))


def _tabbed(path: Path) -> Iterator[Pair]:
    for number, line in enumerate(read_lines(path), 1):
        columns = line.split("\t")
        if len(columns) < 2:
            raise ValueError(
                f"{path}, line {number}: expected a source and a target with a tab between them, "
                f"got {line[:60]!r}"
            )
        yield Pair(clean(columns[0]), (clean(columns[1]),))


def read_dictionary(path: Path) -> list[Pair]:
    """Returns the words of a pronouncing dictionary, each with all of its pronunciations.

    The format is that of `parse_pronunciations`; stresses (`AH0`) stay.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is of another form, or there are no words.
    """
    lines = map(clean, read_lines(path))
    try:
        words = parse_pronunciations(lines)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return [Pair(word, tuple(map(" ".join, spoken))) for word, spoken in words.items()]
