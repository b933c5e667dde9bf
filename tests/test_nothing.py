"""Whoever has clips of keywords alone gets a model that keeps silent at other sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sounds import RATE
from unrolled.audio import faint_noise
from unrolled.tasks import keywords
from unrolled.tasks._clips import find_clips, find_noises, find_unknown
from unrolled.tasks._nothing import foreign, silence

soundfile = pytest.importorskip("soundfile", reason='pip install "unrolled[speech]"')

# Pitches that a sound goes through, in Hz. Keywords do not sound the same backwards.
KEYWORDS = {"up": (300.0, 3000.0), "dip": (3000.0, 700.0, 1500.0)}
OTHERS = [(3000.0, 300.0), (1500.0, 700.0, 3000.0), (1000.0, 1000.0), (300.0, 1500.0, 300.0)]

SMALL: dict[str, Any] = {"hidden": 32, "layers": 2, "bands": 20, "batch": 8, "quiet": True}


def tone(pitches: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    count = int(rng.uniform(0.35, 0.5) * RATE)
    pitch = np.interp(np.linspace(0, len(pitches) - 1, count), range(len(pitches)), pitches)
    sound = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * np.hanning(count)
    return (sound + 0.005 * rng.standard_normal(count)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for word, pitches in KEYWORDS.items():
        (folder / word).mkdir()
        for number in range(30):
            soundfile.write(folder / word / f"{number}.wav", tone(pitches, rng), RATE)
    return folder


def said(sounds: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Sounds one after another, with a room's noise between them."""
    pause = [faint_noise(int(rng.uniform(0.6, 1.0) * RATE), rng) for _ in sounds]
    return np.concatenate([part for both in zip(pause, sounds, strict=True) for part in both])


def test_a_model_of_keywords_alone(folder: Path) -> None:
    spotter = keywords.train(folder, epochs=60, **SMALL)
    assert spotter.words == ("_silence_", "_unknown_", "dip", "up")
    rng = np.random.default_rng(1)
    order = [str(word) for word in rng.permutation(sorted(KEYWORDS) * 4)]
    sound = said([tone(KEYWORDS[word], rng) for word in order], rng)
    assert [heard.word for heard in keywords.listen(spotter, [sound])] == order
    foreign_sounds = said([tone(pitches, rng) for pitches in OTHERS * 3], rng)
    assert not list(keywords.listen(spotter, [foreign_sounds]))
    for nothing in (faint_noise(20 * RATE, rng), np.zeros(5 * RATE, np.float32)):
        assert not list(keywords.listen(spotter, [nothing]))
    assert spotter(faint_noise(RATE // 2, rng))[0][0] == "_silence_"


def test_words_and_noise_of_ones_own(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    (tmp_path / "noise" / "_background_noise_").mkdir(parents=True)
    soundfile.write(tmp_path / "noise" / "_background_noise_" / "a.wav", np.zeros(RATE), RATE)
    (tmp_path / "noise" / "up").symlink_to(folder / "up")
    (tmp_path / "noise" / "dip").symlink_to(folder / "dip")
    (tmp_path / "others" / "deeper").mkdir(parents=True)
    for number in range(30):
        sound = tone(OTHERS[number % 2], rng)
        soundfile.write(tmp_path / "others" / "deeper" / f"{number}.wav", sound, RATE)
    assert {clip.word for clip in find_unknown(tmp_path / "others")} == {"_unknown_"}
    assert {clip.word for clip in find_clips([tmp_path / "noise"])} == {"up", "dip"}
    assert [path.name for path in find_noises([tmp_path / "noise"])] == ["a.wav"]
    spotter = keywords.train(
        tmp_path / "noise", unknown=str(tmp_path / "others"), epochs=12, **SMALL
    )
    assert spotter.words == ("_silence_", "_unknown_", "dip", "up")
    assert spotter(tone(OTHERS[0], rng))[0][0] == "_unknown_"
    assert spotter(tone(KEYWORDS["up"], rng))[0][0] == "up"


def test_which_classes_there_are(folder: Path) -> None:
    for options, words in (
        ({"unknown": "none"}, ("_silence_", "dip", "up")),
        ({"unknown": "none", "silence": False}, ("dip", "up")),
        ({"bidirectional": True}, ("_silence_", "dip", "up")),
        ({"words": "up"}, ("_silence_", "_unknown_", "up")),
    ):
        assert keywords.train(folder, steps=1, **SMALL, **options).words == words


def test_what_is_made(rng: np.random.Generator) -> None:
    frames = [np.full((10, 3), i, np.float32) + np.arange(10)[:, None] / 16 for i in (0, 1, 2)]
    frames = [each.astype(np.float32) for each in frames]
    make = foreign(frames, np.array([0, 0, 1]))
    backwards, joined = 0, 0
    for _ in range(100):
        made = make(rng)
        if (np.diff(made[:, 0]) < 0).all():
            backwards += 1
            assert any((made == each[::-1]).all() for each in frames)
            continue
        joined += 1
        first, last = int(made[0, 0]), int(made[-1, 0])
        assert (first == 2) != (last == 2)
        cut = int((made[:, 0].astype(int) == first).sum())
        assert 3 <= cut <= 7
        np.testing.assert_array_equal(
            made, np.concatenate([frames[first][:cut], frames[last][cut:]])
        )
    assert backwards > 20
    assert joined > 20

    settings = keywords.Options(bands=20).settings()
    loud = np.float32(0.5) * rng.standard_normal(RATE // 4).astype(np.float32)
    for noises in ([], [loud], [np.zeros(0, np.float32), loud]):
        make = silence(noises, [20, 50], settings)
        assert {len(make(rng)) for _ in range(40)} == {20, 50}


def test_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder 'mde': --unknown takes a folder"):
        keywords.train(folder, unknown="mde", steps=1, **SMALL)
    with pytest.raises(ValueError, match=r"no sound files in .*, the folder of unknown words"):
        keywords.train(folder, unknown=str(tmp_path), steps=1, **SMALL)
