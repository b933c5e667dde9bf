"""Sounds for tests: tones that stand for words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

RATE = 16_000
WORDS = {"low": 300.0, "high": 2500.0, "rise": 0.0}


def say(word: str, rng: np.random.Generator, seconds: float = 0.4, rate: int = RATE) -> np.ndarray:
    """Samples (N,) of a tone, or of one that rises, in a little noise."""
    t = np.arange(int(seconds * rate)) / rate
    pitch = WORDS[word] * np.ones_like(t) if WORDS[word] else np.linspace(300.0, 2500.0, len(t))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    tone = 0.3 * np.sin(phase + rng.uniform(0, 6)) * np.hanning(len(t))
    return (tone + 0.01 * rng.standard_normal(len(t))).astype(np.float32)


def write_words(folder: Path, count: int, seed: int = 0) -> Path:
    """A folder with a folder of WAV files for each word."""
    import soundfile

    rng = np.random.default_rng(seed)
    for word in WORDS:
        (folder / word).mkdir(parents=True)
        for number in range(count):
            samples = say(word, rng, rng.uniform(0.3, 0.5))
            soundfile.write(folder / word / f"{number}.wav", samples, RATE)
    return folder
