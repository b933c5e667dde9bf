"""Short recordings with a class each: one folder a class, or a table of files and classes."""

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ._tables import SOUND_ENDINGS, read_rows, read_sources

#: Of the speakers, or the clips, one of so many is held out where the user splits nothing: of the
#: speakers if there are as many.
_HELD_OUT_ONE_OF = 10

#: The class of words that are not to be told apart.
UNKNOWN = "_unknown_"

#: The class of clips in which nobody speaks.
SILENCE = "_silence_"

#: The folder of recordings, of any length, in which nobody speaks: silence is cut out of them.
BACKGROUND = "_background_noise_"

#: The speaker in names as of Google's Speech Commands.
_SPEAKER = re.compile(r"([0-9a-f]{8})_nohash_")


@dataclass(frozen=True)
class Clip:
    """A recording and what is said in it.

    Attributes:
        path: the file.
        word: its class.
        speaker: who speaks, where a table or the name of the file tells.
    """

    path: Path
    word: str
    speaker: str | None = None


def _speaker(path: Path) -> str | None:
    found = _SPEAKER.search(path.name)
    return found[1] if found else None


def find_clips(sources: Sequence[Path]) -> list[Clip]:
    """Returns the clips of folders and tables, in an order that follows from their names.

    A folder has one folder for each class, and may have one of background noise; a table is a CSV
    file with the columns `file`, relative to the table, and `class`, and perhaps `speaker`.

    Raises:
        FileNotFoundError: a source, or a file in a table, is not there.
        ValueError: there are no clips, or a table lacks a column.
    """
    clips = read_sources(sources, _of_folder, _of_table)
    if not clips:
        names = ", ".join(map(str, sources)) or "nothing"
        raise ValueError(
            f"there are no clips in {names}: give a folder with one folder of sound files for each "
            "word, or a CSV file with the columns file,class"
        )
    return clips


def _of_folder(folder: Path) -> Iterator[Clip]:
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        if place.name != BACKGROUND:
            for path in sounds_below(place):
                yield Clip(path, place.name, _speaker(path))


def sounds_below(folder: Path) -> list[Path]:
    """Returns the sound files of a folder and of those in it, by name; none is not an error."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUND_ENDINGS)


def find_noises(sources: Sequence[Path]) -> list[Path]:
    """Returns the recordings of background noise that lie in folders, or beside tables."""
    folders = [source if source.is_dir() else source.parent for source in sources]
    return [path for folder in folders for path in sounds_below(folder / BACKGROUND)]


def find_unknown(folder: Path) -> list[Clip]:
    """Returns the sounds of a folder, and of those in it, as clips of the class `_unknown_`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no sounds.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {str(folder)!r}: --unknown takes a folder of other words, made, or none"
        )
    clips = [Clip(path, UNKNOWN, _speaker(path)) for path in sounds_below(folder)]
    if not clips:
        raise ValueError(f"there are no sound files in {folder}, the folder of unknown words")
    return clips


def _of_table(table: Path) -> Iterator[Clip]:
    for _, path, (word, speaker) in read_rows(table, "class", optional=("speaker",)):
        yield Clip(path, word, speaker or _speaker(path))


def merge_unknown(clips: Iterable[Clip], words: Sequence[str], complete: bool = True) -> list[Clip]:
    """Gives every clip whose class is none of `words`, nor a special one, the class `_unknown_`.

    Raises:
        ValueError: the clips are to be complete, and a word does not occur.
    """
    clips = list(clips)
    missing = sorted(set(words) - {clip.word for clip in clips})
    if complete and missing:
        raise ValueError(f"no clips of {', '.join(missing)}: --words takes names of classes")
    return [
        clip if clip.word in words or clip.word.startswith("_") else replace(clip, word=UNKNOWN)
        for clip in clips
    ]


def split_clips(clips: Sequence[Clip]) -> tuple[list[Clip], list[Clip]]:
    """Returns clips to train on and to hold out: about one speaker of ten, whatever else there is.

    Where speakers are not known, or are fewer than ten, it is one clip of ten. Which ones follows
    from their names.
    """
    parts: tuple[list[Clip], list[Clip]] = ([], [])
    speakers = {clip.speaker for clip in clips} - {None}
    for clip in clips:
        key = clip.speaker if len(speakers) >= _HELD_OUT_ONE_OF else None
        key = key or f"{clip.word}/{clip.path.name}"
        parts[zlib.crc32(key.encode()) % _HELD_OUT_ONE_OF == 0].append(clip)
    return parts
