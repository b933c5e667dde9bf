"""Videos with what is to be said of each: a class, a sentence, or what happens when."""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled.video import ARRAY_ENDINGS, IMAGE_ENDINGS

from ._tables import read_rows, read_sources, table_columns
from ._utterances import Segment, read_transcript, timed_utterances, with_transcripts

#: Endings of videos that are taken from folders; a table may name any.
VIDEO_ENDINGS = ARRAY_ENDINGS | {
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp"),
    *(".ogv", ".ts", ".mts", ".m2ts", ".gif"),
}

#: What the columns of a table may be called.
_LABELS, _TEXTS = ("label", "class"), ("text", "symbols")


@dataclass(frozen=True)
class VideoClip:
    """A video, or a part of one, and what people say of it.

    Attributes:
        path: the file, or a folder of images.
        label: its class; empty: not known.
        text: a sentence about it, or that is said in it; empty: not known.
        segments: what happens, or which words are said, from when to when in seconds of the file;
            none: not known.
        start: seconds at which it begins in the file.
        end: seconds at which it ends; None: with the file.
    """

    path: Path
    label: str = ""
    text: str = ""
    segments: tuple[Segment, ...] = ()
    start: float = 0.0
    end: float | None = None

    @property
    def name(self) -> str:
        """The path, with the times of a part of a file."""
        if self.start == 0.0 and self.end is None:
            return str(self.path)
        return f"{self.path}, {self.start:g} to {'its end' if self.end is None else self.end} s"


def find_videos(sources: Sequence[Path]) -> list[VideoClip]:
    """Returns the clips of videos, folders and tables, in an order that follows from their names.

    A clip is a video, a .npy or .npz array, or a folder of images. Of a folder, there is for some
    clips a file of the same name that says what is said, as `find_utterances` finds them: .txt (a
    sentence), .align (as of GRID), .TextGrid or .csv, beside it or in another folder; these clips
    are taken. Else the folder holds one folder of clips for each class; or clips alone, of which
    nothing is known. A table is a CSV or TSV file with the column `file` or `path`, relative to
    the table, and `label` (or `class`), `text`, or both, and perhaps `start` and `end` in seconds,
    empty = of the file; or with `file,start,end,symbol`, a line for all that happens.

    Raises:
        FileNotFoundError: a source, or a file in a table, is not there.
        ValueError: there are no clips, some have a class and others none, or a file cannot be
            understood.
    """
    clips: list[VideoClip] = []
    for source in sources:
        if source.is_file() and source.suffix.lower() in VIDEO_ENDINGS:
            clips.append(VideoClip(source))
        else:
            clips += read_sources([source], _of_folder, _of_table)
    if not clips:
        names = ", ".join(map(str, sources)) or "nothing"
        raise ValueError(
            f"there are no videos in {names}: give a folder with one folder of videos for each "
            "class, a folder of videos with .txt or .align files of the same names, or a CSV file "
            "with the columns file,label or file,text, and perhaps start,end"
        )
    return clips


def _of_folder(folder: Path) -> Iterator[VideoClip]:
    paths = videos_below(folder)
    pairs = with_transcripts(paths, sorted(folder.rglob("*")))
    for path, said in pairs:
        yield _with_transcript(path, said)
    if pairs:
        return
    labels = [_class(path.relative_to(folder)) for path in paths]
    if "" in labels and any(labels):
        loose = paths[labels.index("")]
        raise ValueError(
            f"{folder} holds folders of videos, a class each, and beside them {loose.name}, of no "
            "class: put it into one of them"
        )
    for path, label in zip(paths, labels, strict=True):
        yield VideoClip(path, label)


def _class(path: Path) -> str:
    """The first of the folders in which a clip lies."""
    return path.parts[0] if len(path.parts) > 1 else ""


def videos_below(folder: Path) -> list[Path]:
    """Returns the clips of a folder and of those in it, by name.

    A folder of images is a clip where no other clip lies in it: pictures beside videos are none.
    """
    files = list(folder.rglob("*"))
    videos = {path for path in files if path.suffix.lower() in VIDEO_ENDINGS and path.is_file()}
    pictured = {path.parent for path in files if path.suffix.lower() in IMAGE_ENDINGS}
    above = {parent for path in videos | pictured for parent in path.parents}
    return sorted(videos | (pictured - above))


def _with_transcript(path: Path, said: Path) -> VideoClip:
    if said.suffix == ".txt":  # a sentence as it stands
        try:
            return VideoClip(path, text=" ".join(said.read_text(encoding="utf-8").split()))
        except UnicodeDecodeError as error:
            raise ValueError(f"{said} is no text in UTF-8: {error}") from error
    utterance = read_transcript(path, said)
    return VideoClip(path, text=" ".join(utterance.symbols), segments=utterance.segments)


def _of_table(table: Path) -> Iterator[VideoClip]:
    names = table_columns(table)
    if {"start", "end", "symbol"} <= names:
        for utterance in timed_utterances(table):
            text = " ".join(utterance.symbols)
            yield VideoClip(utterance.path, text=text, segments=utterance.segments)
        return
    label, text = (next((n for n in kind if n in names), "") for kind in (_LABELS, _TEXTS))
    if not (label or text):
        raise ValueError(
            f"{table} has no column label or text, nor columns start,end,symbol, in its first line"
        )
    columns = [name for name in (label, text, "start", "end") if name in names]
    for line, path, values in read_rows(table, *columns):
        row = dict(zip(columns, values, strict=True))
        try:
            start = float(row.get("start") or 0.0)
            end = float(row["end"]) if row.get("end") else None
            if not 0.0 <= start < (math.inf if end is None else end):
                raise ValueError(f"expected 0 <= start < end, got {start} and {end}")
        except ValueError as error:
            raise ValueError(f"{table}, line {line}: {error}") from error
        yield VideoClip(path, row.get(label, ""), row.get(text, ""), (), start, end)


def split_videos(
    clips: Sequence[VideoClip], one_of: int = 10
) -> tuple[list[VideoClip], list[VideoClip]]:
    """Returns clips to train on and to hold out, about one file of `one_of`.

    Which ones follows from the names of files and their folders; parts of a file stay together.
    """
    parts: tuple[list[VideoClip], list[VideoClip]] = ([], [])
    for clip in clips:
        name = f"{clip.path.parent.name}/{clip.path.name}"
        parts[zlib.crc32(name.encode()) % one_of == 0].append(clip)
    return parts
