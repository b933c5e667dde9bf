"""Recordings with what is said in them, as a sequence of symbols: phonemes or words."""

import codecs
import csv
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._tables import SOUND_ENDINGS, read_rows, read_sources, table_columns

#: The ways to say a word: the symbols of each, the usual one first.
Pronunciations: TypeAlias = tuple[tuple[str, ...], ...]

#: Ticks a second of .align files (GRID: 25 frames a second, a thousand ticks each).
_ALIGN_TICKS = 25_000.0

#: What stands for a pause in segment files.
_PAUSES = frozenset(("", "sil", "sp", "spn", "<p:>", "_", "pau", "#"))


@dataclass(frozen=True)
class Segment:
    """A symbol with its place in a sound.

    Attributes:
        symbol: the phoneme or word.
        start: when it begins, in seconds.
        end: when it ends.
        probability: how sure a model is of it, 0..1.
        parts: the phonemes of a word, where they are known.
    """

    symbol: str
    start: float
    end: float
    probability: float = 1.0
    parts: "tuple[Segment, ...]" = ()

    def later(self, seconds: float) -> "Segment":
        """The same so much later."""
        parts = tuple(part.later(seconds) for part in self.parts)
        return replace(self, start=self.start + seconds, end=self.end + seconds, parts=parts)


def as_words(
    words: Sequence[str], counts: Sequence[int], phonemes: Sequence[Segment]
) -> list[Segment]:
    """Returns words as segments, of which each has so many of the phonemes as its parts."""
    rest, found = iter(phonemes), []
    for word, count in zip(words, counts, strict=True):
        parts = tuple(islice(rest, count))
        probability = sum(part.probability for part in parts) / len(parts)
        found.append(Segment(word, parts[0].start, parts[-1].end, probability, parts))
    return found


def labels_at(
    segments: Sequence[Segment], times: NDArray[np.float64], label: Mapping[str, int]
) -> NDArray[np.int64]:
    """Returns the label of what is said at each time, 0 in pauses; -1: not known.

    Args:
        segments: what is said; none = nothing is known.
        times: (T,) in seconds.
        label: of each symbol, from 1 on; others are not known.
    """
    labels = np.full(len(times), 0 if segments else -1, np.int64)
    for segment in segments:
        inside = (times >= segment.start) & (times < segment.end)
        labels[inside] = label.get(segment.symbol, -1)
    return labels


@dataclass(frozen=True)
class Utterance:
    """A recording and what is said.

    Attributes:
        path: the sound file.
        symbols: what is said, pauses left out.
        segments: the same with times, where they are known.
        words: the words that the symbols are the phonemes of, where they are known.
        alternatives: of each word how it may be said, where the symbols are but the usual way.
        speaker: who speaks, where it is known.
    """

    path: Path
    symbols: tuple[str, ...]
    segments: tuple[Segment, ...] = ()
    words: tuple[str, ...] = ()
    alternatives: tuple[Pronunciations, ...] = ()
    speaker: str | None = None


def find_utterances(sources: Sequence[Path]) -> list[Utterance]:
    """Returns the utterances of folders and tables, in an order that follows from their names.

    Of a folder, every sound file with a file of the same name that says what is said: `.align`
    (start end symbol, as of GRID), `.TextGrid` (the first tier), `.csv` (start,end,symbol in
    seconds) or `.txt` (symbols between spaces). Both may lie in different folders below it. A table
    is a CSV file with the columns `file`, relative to the table, and `symbols`, between spaces; or
    with `file,start,end,symbol`, a line for each symbol, times in seconds. A column `speaker` may
    say who speaks.

    Raises:
        FileNotFoundError: a source, or a file in a table, is not there.
        ValueError: there are no utterances, or a file cannot be understood.
    """
    found = read_sources(sources, _of_folder, _of_table)
    if not found:
        names = ", ".join(map(str, sources)) or "nothing"
        raise ValueError(
            f"there are no utterances in {names}: give a folder of sound files with .align, "
            ".TextGrid, .csv or .txt files of the same names, or a CSV file with the columns "
            "file,symbols or file,start,end,symbol"
        )
    return found


def _of_folder(folder: Path) -> Iterator[Utterance]:
    files = sorted(folder.rglob("*"))
    sounds = [path for path in files if path.suffix.lower() in SOUND_ENDINGS]
    for path, said in with_transcripts(sounds, files):
        yield read_transcript(path, said)


def with_transcripts(recordings: Sequence[Path], files: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Returns recordings with the file of the same name that says what is said, where there is one.

    Of several, as speakers may have said sentences of the same names, it is the one that lies
    nearest: that shares most folders with the recording.
    """
    said: dict[str, list[Path]] = {}
    for path in files:
        if path.suffix in READERS:
            said.setdefault(path.stem, []).append(path)
    kinds = list(READERS)

    def nearness(recording: Path, transcript: Path) -> tuple[int, int]:
        shared = os.path.commonpath((recording.parent, transcript.parent))
        return len(Path(shared).parts), -kinds.index(transcript.suffix)

    return [
        (path, max(said[path.stem], key=lambda transcript: nearness(path, transcript)))
        for path in recordings
        if path.stem in said
    ]


def _of_table(table: Path) -> Iterator[Utterance]:
    if not {"start", "end", "symbol"} <= table_columns(table):
        for _, path, (said, speaker) in read_rows(table, "symbols", optional=("speaker",)):
            yield Utterance(path, tuple(said.split()), speaker=speaker or None)
        return
    yield from timed_utterances(table)


def timed_utterances(table: Path) -> Iterator[Utterance]:
    """Yields the recordings of a table file,start,end,symbol[,speaker], a line for each symbol.

    Raises: as `find_utterances`.
    """
    segments: dict[Path, list[Segment]] = {}
    speakers: dict[Path, str] = {}
    columns = ("start", "end", "symbol")
    for line, path, values in read_rows(table, *columns, optional=("speaker",)):
        start, end, symbol, speakers[path] = values
        try:
            segment = Segment(symbol, float(start), float(end))
        except ValueError as error:
            raise ValueError(f"{table}, line {line}: {error}") from error
        segments.setdefault(path, []).append(segment)
    for path, rows in segments.items():
        yield replace(_utterance(path, rows), speaker=speakers[path] or None)


def read_transcript(path: Path, said: Path) -> Utterance:
    """Returns a recording with what a file says of it.

    Raises:
        ValueError: the file cannot be understood.
    """
    try:
        segments = READERS[said.suffix](_text(said))
    except (ValueError, LookupError) as error:
        raise ValueError(f"{said} cannot be understood: {error}") from error
    return _utterance(path, segments)


def _text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16, which Praat takes for phonetic symbols."""
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")


def _utterance(path: Path, segments: Sequence[Segment]) -> Utterance:
    """What is said, pauses left out; with times if every symbol takes some."""
    spoken = tuple(segment for segment in segments if segment.symbol.lower() not in _PAUSES)
    timed = all(0.0 <= segment.start < segment.end < math.inf for segment in spoken)
    symbols = tuple(segment.symbol for segment in spoken)
    return Utterance(path, symbols, spoken if timed else ())


def _read_align(text: str) -> list[Segment]:
    rows = [line.split() for line in text.splitlines() if line.strip()]
    return [
        Segment(symbol, int(start) / _ALIGN_TICKS, int(end) / _ALIGN_TICKS)
        for start, end, symbol in rows
    ]


def _read_csv(text: str) -> list[Segment]:
    # What a short line lacks is no symbol and no time, rather than None.
    rows = csv.DictReader(text.splitlines(), restval="")
    return [Segment(row["symbol"], float(row["start"]), float(row["end"])) for row in rows]


def _read_txt(text: str) -> list[Segment]:
    return [Segment(symbol, 0.0, 0.0) for symbol in text.split()]


_INTERVAL = re.compile(
    r"xmin\s*=\s*([-+.\de]+)\s*xmax\s*=\s*([-+.\de]+)\s*text\s*=\s*\"((?:[^\"]|\"\")*)\"", re.DOTALL
)


def _read_textgrid(text: str) -> list[Segment]:
    """The first tier of intervals of Praat's long format."""
    tiers = re.split(r"item\s*\[\d+\]\s*:", text)[1:]
    for tier in tiers:
        if '"IntervalTier"' in tier:
            return [
                Segment(symbol.replace('""', '"').strip(), float(start), float(end))
                for start, end, symbol in _INTERVAL.findall(tier)
            ]
    raise ValueError("no tier of intervals; TextGrids in Praat's long text format are read")


#: By the ending of a file, what reads its text.
READERS = {
    ".align": _read_align,
    ".TextGrid": _read_textgrid,
    ".csv": _read_csv,
    ".txt": _read_txt,
}
