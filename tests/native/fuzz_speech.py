"""Sound files and files that say what is said, damaged."""

from __future__ import annotations

import io
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from native.source import Source
from unrolled.audio import AudioError, FeatureSettings, audio_blocks, extract_features, read_audio
from unrolled.tasks._utterances import find_utterances

_RATE = 8000
_KINDS = (
    ("WAV", "PCM_16"), ("WAV", "IMA_ADPCM"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"), ("AIFF", "PCM_24"),
)  # fmt: skip
_SAID = {
    ".align": "0 23750 sil\n23750 29500 bin\n29500 34000 blue\n",
    ".csv": "start,end,symbol\n0,0.5,k\n0.5,0.75,ae\n",
    ".txt": "k ae t\n",
    ".TextGrid": 'item []:\n item [1]:\n class = "IntervalTier"\n intervals [1]:\n xmin = 0\n'
    ' xmax = 1\n text = "k"\n',
}


@cache
def folder() -> Path:
    path = Path(tempfile.mkdtemp(prefix="unrolled-fuzz-"))
    soundfile.write(path / "said.wav", np.zeros(10), _RATE)
    return path


@cache
def sound(kind: tuple[str, str]) -> bytes:
    """A good file of 50 ms in two channels."""
    samples = 0.3 * np.sin(np.arange(800.0)).reshape(400, 2)
    file = io.BytesIO()
    soundfile.write(file, samples, _RATE, format=kind[0], subtype=kind[1])
    return file.getvalue()


def fuzz_sound(source: Source) -> None:
    """What is no sound is an AudioError; all else has finite features, whole as in pieces."""
    path = folder() / "changed.sound"
    path.write_bytes(source.damaged(sound(source.choice(_KINDS))))
    rate = source.choice((_RATE, 16_000))
    try:
        samples = read_audio(path, rate)
    except AudioError:
        return
    pieces = list(audio_blocks(path, rate, seconds=0.01))
    np.testing.assert_array_equal(np.concatenate(pieces) if pieces else samples[:0], samples)
    assert np.isfinite(extract_features(samples[: 10 * rate], FeatureSettings(rate=rate))).all()


def fuzz_segments(source: Source) -> None:
    """What cannot be understood is a ValueError that names the file."""
    ending = source.choice(sorted(_SAID))
    path = folder() / f"said{ending}"
    path.write_bytes(source.damaged(_SAID[ending].encode()))
    try:
        with suppress(FileNotFoundError):
            find_utterances([folder()])
    except ValueError as error:
        if not ("said" in str(error) or "no utterances" in str(error)):
            raise
    finally:
        path.unlink()
