"""Writes the tables of speech data sets, as `unrolled train keywords` and `phonemes` read them.

    python benchmarks/speech_splits.py fsdd FOLDER OUT           # official: takes 0..4 are the test
    python benchmarks/speech_splits.py fsdd-speakers FOLDER OUT  # each speaker left out in turn
    python benchmarks/speech_splits.py commands FOLDER OUT       # 70 / 10 / 20 by speaker
    python benchmarks/speech_splits.py grid FOLDER OUT           # every sixth file is the test
    python benchmarks/speech_splits.py coloured TABLE OUT        # through another microphone

FOLDER is the user's own copy of the data set; OUT receives `train.csv`, `test.csv` and so on.
"""

import csv
import re
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

from unrolled.tasks._utterances import find_utterances

Row = tuple[Path, str, str]


def write(table: Path, rows: Iterable[Row]) -> None:
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("file", "class", "speaker"))
        writer.writerows((path.resolve(), word, who) for path, word, who in rows)


def digits(folder: Path) -> list[tuple[Path, str, str, int]]:
    """(file, digit, speaker, take) of the Free Spoken Digit Dataset."""
    found = [(path, path.stem.split("_")) for path in sorted(folder.rglob("?_*_*.wav"))]
    return [(path, digit, speaker, int(take)) for path, (digit, speaker, take) in found]


def fsdd(folder: Path, out: Path) -> None:
    clips = digits(folder)
    write(out / "train.csv", ((path, digit, who) for path, digit, who, take in clips if take >= 5))
    write(out / "test.csv", ((path, digit, who) for path, digit, who, take in clips if take < 5))


def fsdd_speakers(folder: Path, out: Path) -> None:
    clips = digits(folder)
    for left_out in sorted({speaker for _, _, speaker, _ in clips}):
        for name, inside in (("train", False), ("test", True)):
            write(
                out / left_out / f"{name}.csv",
                ((p, digit, who) for p, digit, who, _ in clips if (who == left_out) == inside),
            )


def commands(folder: Path, out: Path) -> None:
    """Google's Speech Commands by the hash of the speaker: nobody is in two parts."""
    parts: dict[str, list[Row]] = {"train": [], "val": [], "test": []}
    for path in sorted(folder.glob("*/*.wav")):
        found = re.search(r"[0-9a-f]{8}(?=_nohash_)", path.name)
        speaker = found[0] if found else ""
        place = zlib.crc32((speaker or path.name).encode()) % 10
        name = "train" if place < 7 else "val" if place == 7 else "test"
        parts[name].append((path, path.parent.name, speaker))
    for name, rows in parts.items():
        write(out / f"{name}.csv", rows)


def grid(folder: Path, out: Path) -> None:
    """A speaker of the GRID corpus, with the words of its .align files and their times."""
    utterances = find_utterances([folder])
    test = utterances[5::6]
    for name, part in (("test", test), ("train", [u for u in utterances if u not in test])):
        out.mkdir(parents=True, exist_ok=True)
        with (out / f"{name}.csv").open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(("file", "start", "end", "symbol"))
            for utterance in part:
                for s in utterance.segments:
                    writer.writerow((utterance.path.resolve(), s.start, s.end, s.symbol))


def coloured(table: Path, out: Path) -> None:
    """The sounds of a table, softer by 12 dB and dull: 6 dB an octave less above a tenth of the
    band, as behind a cloth or a door."""
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    with table.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines)):
            samples, rate = soundfile.read(row["file"])
            frequencies = np.fft.rfftfreq(2 * len(samples), 1.0 / rate)
            gain = 0.25 / np.sqrt(1.0 + (frequencies / (0.05 * rate)) ** 2)
            dull = np.fft.irfft(np.fft.rfft(samples, 2 * len(samples)) * gain)[: len(samples)]
            path = out / f"{number}.wav"
            soundfile.write(path, dull, rate, subtype="FLOAT")
            rows.append((path, row["class"], row["speaker"]))
    write(out / "test.csv", rows)


SPLITS = {
    "fsdd": fsdd,
    "fsdd-speakers": fsdd_speakers,
    "commands": commands,
    "grid": grid,
    "coloured": coloured,
}

if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in SPLITS:
        sys.exit(__doc__)
    SPLITS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
