"""Files of the `.ts` format of the UEA and UCR archives, as aeon and sktime read them.

    @problemName Vowels
    @timeStamps false
    @univariate false
    @dimensions 2
    @equalLength false
    @classLabel true one two
    @data
    0.5,0.7,?:1.0,1.5,1.25:one
    0.25,0.5:2.0,?:two

A line is one series: its channels with colons between them, and its class behind the last colon.
`?` and `NaN` are missing values; lines that begin with # or % are comments. What the header says is
checked against the data; tags that say nothing about them are left alone.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

#: A series (C, T) of C channels and T steps, float64; NaN is a missing value.
SeriesArray: TypeAlias = NDArray[np.float64]

#: A label in quotes, which may hold anything, at the end of a line; and a word of a header.
_QUOTED = re.compile(r""":\s*(?:"([^"]*)"|'([^']*)')\s*$""")
_WORD = re.compile(r""""([^"]*)"|'([^']*)'|(\S+)""")

_COMMENTS = (b"#", b"%")


@dataclass(frozen=True)
class TsFile:
    """The content of a `.ts` file.

    Attributes:
        series: (C, T) each, of one C and any T >= 1.
        labels: the class of each series, None where the file has no classes.
    """

    series: list[SeriesArray]
    labels: list[str] | None


def read_ts(path: str | Path) -> TsFile:
    """Reads a `.ts` file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or has something that is not supported; the text says in
            which line, and what to do.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the .ts file itself")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    tags: dict[str, str] = {}
    lines = _lines(path)
    for number, line in lines:
        if not line.startswith("@"):
            raise ValueError(
                f"{path}, line {number}: expected a line that begins with @, as in the header of a "
                f".ts file, got {_short(line)}; a line of data comes after @data"
            )
        name, *value = line[1:].split(maxsplit=1) or [""]
        if name.lower() == "data":
            return _Reader(path, tags).read(lines)
        tags[name.lower()] = "".join(value)
    raise ValueError(f"{path} has no line @data, so it is no .ts file, or is cut off")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the lines that say something, with their numbers.

    Comments are not decoded: those of old files are in other encodings than UTF-8.
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            line = raw.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else raw.strip()
            if not line or line.startswith(_COMMENTS):
                continue
            try:
                yield number, line.decode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}, line {number} is not UTF-8 text: byte 0x{line[error.start]:02x}; "
                    "convert the file first, for instance with iconv"
                ) from error


class _Reader:
    """Reads the lines after @data, and checks them against the header."""

    def __init__(self, path: Path, tags: Mapping[str, str]) -> None:
        self._path = path
        if self._flag(tags, "timestamps"):
            raise ValueError(
                f"{path} has time stamps (@timeStamps true), and steps at equal distances are "
                "read: write the values alone, at equal distances, with @timeStamps false"
            )
        if self._flag(tags, "targetlabel"):
            raise ValueError(
                f"{path} has numbers to predict (@targetLabel true), and classes are read: it is "
                "a data set for regression"
            )
        self._equal = self._flag(tags, "equallength")
        self._channels = self._count(tags, "dimensions") or self._count(tags, "dimension")
        if self._flag(tags, "univariate"):
            self._channels = 1
        self._steps = self._count(tags, "serieslength")
        found = re.match(r"(true|false)\b", tags.get("classlabel", "true"), re.IGNORECASE)
        if found is None:
            raise ValueError(
                f"{path}: expected @classLabel true or false, got {_short(tags['classlabel'])}"
            )
        self._labelled = found[1].lower() == "true"
        words = _WORD.findall(tags.get("classlabel", "true")[found.end() :])
        self._known = {"".join(word) for word in words}

    def _flag(self, tags: Mapping[str, str], name: str) -> bool:
        value = tags.get(name, "false").lower()
        if value not in ("true", "false"):
            raise ValueError(f"{self._path}: expected @{name} true or false, got {_short(value)}")
        return value == "true"

    def _count(self, tags: Mapping[str, str], name: str) -> int | None:
        value = tags.get(name)
        if value is not None and not re.fullmatch(r"[1-9]\d{0,8}", value):
            raise ValueError(f"{self._path}: expected @{name} and a number, got {_short(value)}")
        return None if value is None else int(value)

    def read(self, lines: Iterator[tuple[int, str]]) -> TsFile:
        series, labels = [], []
        for number, line in lines:
            try:
                values, label = self._split(line)
                series.append(self._series(values))
            except ValueError as error:
                raise ValueError(f"{self._path}, line {number}: {error}") from error
            labels.append(label)
        if not series:
            raise ValueError(f"{self._path} has no series behind @data")
        return TsFile(series, labels if self._labelled else None)

    def _split(self, line: str) -> tuple[list[str], str]:
        """Returns the texts of the channels and the label, "" where there are none."""
        if not self._labelled:
            return line.split(":"), ""
        quoted = _QUOTED.search(line)
        if quoted is not None:
            rest, label = line[: quoted.start()], quoted[1] or quoted[2] or ""
        else:
            rest, _, label = line.rpartition(":")
            label = label.strip()
        if not rest or not label:
            raise ValueError("expected a class behind the last colon: values:class")
        if self._known and label not in self._known:
            known = ", ".join(sorted(self._known))
            raise ValueError(f"the class {_short(label)} is none of @classLabel: {known}")
        return rest.split(":"), label

    def _series(self, texts: Sequence[str]) -> SeriesArray:
        if self._channels is None:
            self._channels = len(texts)  # those of the first series
        if len(texts) != self._channels:
            raise ValueError(f"expected {self._channels} channels, got {len(texts)}")
        channels = [_values(channel, text) for channel, text in enumerate(texts, 1)]
        for channel, values in enumerate(channels, 1):
            if len(values) != len(channels[0]):
                raise ValueError(
                    f"channel 1 has {len(channels[0])} values and channel {channel} has "
                    f"{len(values)}: the channels of a series must have the same length (write ? "
                    "for what is missing)"
                )
        series = np.array(channels)
        if self._equal and self._steps is None:
            self._steps = series.shape[1]  # as many as the first has
        if self._equal and series.shape[1] != self._steps:
            raise ValueError(
                f"expected {self._steps} steps, as the header says (@equalLength), "
                f"got {series.shape[1]}"
            )
        return series


def _values(channel: int, text: str) -> list[float]:
    """Returns the values of a channel, NaN where one is missing."""
    values = []
    for place, part in enumerate(text.split(","), 1):
        word = part.strip()
        try:
            value = float("nan" if word == "?" else word)
        except ValueError:
            raise ValueError(
                f"value {place} of channel {channel} is {_short(word)}, not a number; what is "
                "missing is written as ?"
            ) from None
        if np.isinf(value):
            raise ValueError(
                f"value {place} of channel {channel} is infinite ({word}): write ? where there is "
                "no value"
            )
        values.append(value)
    return values


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")
