"""How many words of a table of clips a keyword model hears when they are said in a row.

    python benchmarks/listen_words.py keywords.safetensors test.csv

Of every speaker with five clips of keywords or more, up to 40 become one sound, half a second of
each clip's own quietest samples before it. The table has the columns file,class,speaker.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from unrolled import functional
from unrolled.audio import Samples, read_audio
from unrolled.tasks import keywords
from unrolled.tasks._edit_distance import matches

FEWEST, MOST = 5, 40
PAUSE = 0.5  # seconds


def in_a_row(clips: list[Samples], rate: int, rng: np.random.Generator) -> Samples:
    parts = []
    for clip in clips:
        quiet = clip[np.argsort(np.abs(clip))[: max(len(clip) // 3, 1)]]
        parts += [rng.permutation(np.resize(quiet, int(PAUSE * rate))), clip]
    return np.concatenate(parts)


def main(checkpoint: Path, table: Path) -> None:
    functional.set_num_threads(1)
    spotter, rng = keywords.load(checkpoint), np.random.default_rng(0)
    rate, speakers = spotter.settings.rate, defaultdict(list)
    with table.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["speaker"] and not row["class"].startswith("_"):
                speakers[row["speaker"]].append((row["file"], row["class"]))
    right = said = told = 0
    for _, clips in sorted(speakers.items()):
        chosen = [clips[place] for place in rng.permutation(len(clips))[:MOST]]
        if len(chosen) < FEWEST:
            continue
        sound = in_a_row([read_audio(file, rate) for file, _ in chosen], rate, rng)
        heard = [each.word for each in keywords.listen(spotter, [sound])]
        words = [word for _, word in chosen]
        right += sum(words[i] == heard[j] for i, j in matches(words, heard))
        said, told = said + len(words), told + len(heard)
    print(f"{right} of {said} words right, {told} told")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
