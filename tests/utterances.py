"""Utterances for tests: tones in a row that stand for words, and files that say where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sounds import RATE, WORDS, say
from unrolled.audio import faint_noise
from unrolled.tasks import phonemes
from unrolled.tasks._utterances import Segment

SMALL: dict[str, Any] = {
    "hidden": 24,
    "layers": 1,
    "bands": 20,
    "batch": 4,
    "quiet": True,
}


def utter(rng: np.random.Generator, count: int) -> tuple[np.ndarray, list[Segment]]:
    """Tones in a row, with pauses, and where each of them is."""
    parts, segments, place = [faint_noise(RATE // 4, rng)], [], 0.25
    for word in rng.choice(sorted(WORDS), count):
        sound = say(str(word), rng, rng.uniform(0.2, 0.3))
        pause = faint_noise(int(rng.uniform(0.05, 0.2) * RATE), rng)
        segments.append(Segment(str(word), place, place + len(sound) / RATE))
        parts += [sound, pause]
        place += (len(sound) + len(pause)) / RATE
    return np.concatenate(parts), segments


def write_utterances(folder: Path, count: int, seed: int = 0) -> Path:
    import soundfile

    rng = np.random.default_rng(seed)
    (folder / "sound").mkdir(parents=True)
    (folder / "align").mkdir()
    for number in range(count):
        samples, segments = utter(rng, int(rng.integers(1, 6)))
        soundfile.write(folder / "sound" / f"{number}.wav", samples, RATE)
        rows = ["0 6250 sil"]
        rows += [f"{25000 * s.start:.0f} {25000 * s.end:.0f} {s.symbol}" for s in segments]
        (folder / "align" / f"{number}.align").write_text("\n".join(rows) + "\n")
    return folder


def train_words(folder: Path, dictionary: str, output: Path) -> Path:
    """Trains a model of phonemes on a folder, with the words of a dictionary."""
    path = output.with_name("tones.dict")
    path.write_text(dictionary)
    phonemes.train(
        folder,
        output=output,
        dictionary=str(path),
        epochs=30,
        lr=1e-2,
        augment=False,
        **SMALL,
    )
    return output
