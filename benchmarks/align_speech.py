"""Writes where the phonemes of recordings are, as PocketSphinx aligns them to the words.

    python benchmarks/align_speech.py words.csv phonemes.csv     # needs: pip install pocketsphinx

words.csv is a table of `unrolled train phonemes`: file and the words that are said. phonemes.csv
becomes one with the columns file,start,end,symbol. Recordings that cannot be aligned are left out,
and counted. The dictionary is that of PocketSphinx; its path is printed, for `--dictionary`.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pocketsphinx import Decoder, get_model_path

from unrolled.audio import read_audio
from unrolled.tasks._utterances import find_utterances

RATE = 16_000
FRAMES = 100  # a second


def phonemes(decoder: Decoder, sound: bytes, words: str) -> Iterator[tuple[float, float, str]]:
    """Start, end and name of each phoneme. RuntimeError: the words do not fit the sound."""
    decoder.set_align_text(words)
    for state in ("words", "phonemes"):
        if state == "phonemes":
            decoder.set_alignment()
        decoder.start_utt()
        decoder.process_raw(sound, full_utt=True)
        decoder.end_utt()
    for word in decoder.get_alignment():
        for phoneme in word:
            end = phoneme.start + phoneme.duration
            yield phoneme.start / FRAMES, end / FRAMES, phoneme.name


def main(source: Path, target: Path) -> None:
    decoder = Decoder(samprate=RATE, loglevel="FATAL")
    utterances, left_out = find_utterances([source]), 0
    with target.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("file", "start", "end", "symbol"))
        for utterance in utterances:
            samples = np.clip(read_audio(utterance.path, RATE), -1.0, 1.0) * 32767.0
            sound = samples.astype("<i2").tobytes()
            try:
                rows = list(phonemes(decoder, sound, " ".join(utterance.symbols).lower()))
            except RuntimeError:
                left_out += 1
                decoder = Decoder(samprate=RATE, loglevel="FATAL")  # the old one may be stuck
                continue
            writer.writerows((utterance.path.resolve(), *row) for row in rows)
    print(f"{len(utterances) - left_out} recordings aligned, {left_out} left out")
    print(f"dictionary {get_model_path('en-us/cmudict-en-us.dict')}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
