"""`unrolled align`: where in sounds lies what is known to be said."""

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, TextIO

import typer

from ..audio import Speaker, read_audio
from ..tasks import phonemes
from ..tasks._segment_files import as_textgrid
from ..tasks._utterances import Utterance, find_utterances
from ._options import DictionaryOption

_COLUMNS = ("file", "start", "end", "symbol", "word", "probability")


def align(
    checkpoint: Annotated[
        Path, typer.Argument(help="A .safetensors file that `unrolled train phonemes` wrote.")
    ],
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES OR FOLDERS",
            help="Recordings and what is said in them, as `unrolled train phonemes` takes them.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="A .csv file to write, or a folder for a TextGrid of each sound; not given: "
            "lines of CSV.",
            show_default=False,
        ),
    ] = None,
    dictionary: DictionaryOption = None,
) -> None:
    """Say where each symbol of a transcript is said, and how each word is pronounced."""
    recogniser = phonemes.load(checkpoint)
    own = recogniser.dictionary if dictionary is None else phonemes.Dictionary.read(dictionary)
    utterances, note = find_utterances(sources), ""
    if own is not None:
        utterances, note = own.pronounced(utterances)
    aligned = _Aligned(recogniser, own, utterances)
    if output is None:
        _write_table(sys.stdout, aligned)
    elif output.suffix == ".csv":
        with output.open("w", encoding="utf-8", newline="") as lines:
            _write_table(lines, aligned)
    else:
        _write_textgrids(output, aligned, recogniser.settings.rate)
    for text in (*aligned.left_out, note):
        if text:
            print(text, file=sys.stderr)
    print(f"{aligned.count:,} recordings aligned", file=sys.stderr)


class _Aligned:
    """Recordings with where what is said lies; counts, and names those that cannot be aligned."""

    def __init__(
        self,
        recogniser: phonemes.Recogniser,
        dictionary: phonemes.Dictionary | None,
        utterances: Sequence[Utterance],
    ) -> None:
        self._recogniser, self._dictionary = recogniser, dictionary
        self.utterances = utterances
        self.count = 0
        self.left_out: list[str] = []
        self._speakers: dict[str, Speaker] = {}

    def __iter__(self) -> Iterator[tuple[Path, list[phonemes.Segment]]]:
        for each in self.utterances:
            said, dictionary = (
                (each.words, self._dictionary) if each.words else (each.symbols, None)
            )
            try:
                segments = self._recogniser.align(
                    each.path, said, dictionary=dictionary, speaker=self._speaker(each)
                )
            except ValueError as error:
                self.left_out.append(f"{each.path}: {error}")
                continue
            self.count += 1
            yield each.path, segments

    def _speaker(self, utterance: Utterance) -> Speaker | None:
        """Who speaks, if the table says so: he is known from his recordings before."""
        name, new = utterance.speaker, self._recogniser.normalisation.speaker
        return None if name is None else self._speakers.setdefault(name, new())


def _write_table(lines: TextIO, aligned: _Aligned) -> None:
    """A line for each symbol, as `find_utterances` reads them."""
    writer = csv.writer(lines)
    writer.writerow(_COLUMNS)
    for path, segments in aligned:
        for segment in segments:
            for part in segment.parts or (segment,):
                word = segment.symbol if segment.parts else ""
                times = (f"{part.start:.4f}", f"{part.end:.4f}")
                row = (path.resolve(), *times, part.symbol, word, f"{part.probability:.4f}")
                writer.writerow(row)


def _write_textgrids(folder: Path, aligned: _Aligned, rate: int) -> None:
    """A file for each sound, of its name."""
    names = [each.path.stem for each in aligned.utterances]
    if len(set(names)) < len(names):
        raise ValueError("sounds of one name in several folders: write a .csv file instead")
    folder.mkdir(parents=True, exist_ok=True)
    for path, segments in aligned:
        text = as_textgrid(segments, len(read_audio(path, rate)) / rate)
        (folder / f"{path.stem}.TextGrid").write_text(text + "\n", encoding="utf-8")
