"""Files of any kind become the same samples, and samples the same frames, whole or in pieces."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from processes import run_python
from sounds import RATE, say
from tolerances import assert_same_bits
from unrolled.audio import (
    AudioError,
    Augmentation,
    FeatureSettings,
    FeatureStream,
    Normalisation,
    audio_blocks,
    extract_features,
    read_audio,
    resample,
)
from unrolled.training import from_json

soundfile = pytest.importorskip("soundfile", reason='pip install "unrolled[speech]"')


def tone(rng: np.random.Generator, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    return say("rise", rng, seconds, rate)


@pytest.mark.parametrize(
    ("suffix", "subtype", "error"),
    [
        (".wav", "PCM_16", 2**-15),
        (".wav", "FLOAT", 0.0),
        (".wav", "IMA_ADPCM", 0.1),
        (".wav", "ULAW", 0.02),
        (".flac", "PCM_24", 2**-23),
        (".ogg", "VORBIS", 0.1),
    ],
)
def test_formats(
    suffix: str, subtype: str, error: float, tmp_path: Path, rng: np.random.Generator
) -> None:
    samples = tone(rng)
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, samples, RATE, subtype=subtype)
    read = read_audio(path, RATE)
    assert read.dtype == np.float32
    assert np.abs(read[: len(samples)] - samples).max() <= error
    assert len(samples) <= len(read) <= len(samples) + 505  # ADPCM fills its last block


@pytest.mark.parametrize("rate", [8000, 11_025, 44_100, 48_000])
def test_rates(rate: int, tmp_path: Path, rng: np.random.Generator) -> None:
    """A tone keeps its pitch and its loudness."""
    t = np.arange(rate) / rate
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * t), rate, subtype="FLOAT")
    read = read_audio(tmp_path / "a.wav", RATE)
    assert abs(len(read) - RATE) <= 1
    spectrum = np.abs(np.fft.rfft(read[2000:-2000] * np.hanning(len(read) - 4000)))
    pitch = spectrum.argmax() * RATE / (len(read) - 4000)
    assert abs(pitch - 440) < RATE / (len(read) - 4000)
    assert abs(np.abs(read[2000:-2000]).max() - 0.5) < 0.005


def test_channels_are_averaged(tmp_path: Path, rng: np.random.Generator) -> None:
    left, right = tone(rng), tone(rng)
    both = np.stack([left, right], axis=1)
    soundfile.write(tmp_path / "a.wav", both, RATE, subtype="FLOAT")
    assert_same_bits(read_audio(tmp_path / "a.wav", RATE), both.mean(axis=1))


@pytest.mark.parametrize("rate", [RATE, 22_050])
def test_pieces_are_the_whole(rate: int, tmp_path: Path, rng: np.random.Generator) -> None:
    soundfile.write(tmp_path / "a.wav", tone(rng, 3.0, rate), rate)
    whole = read_audio(tmp_path / "a.wav", RATE)
    for seconds in (0.01, 0.37, 5.0):
        blocks = list(audio_blocks(tmp_path / "a.wav", RATE, seconds=seconds))
        assert_same_bits(np.concatenate(blocks), whole)


def test_speed(rng: np.random.Generator) -> None:
    samples = tone(rng, 1.0)
    assert resample(samples, RATE, RATE) is samples
    assert abs(len(resample(samples, 1.25 * RATE, RATE)) - 0.8 * RATE) <= 1


def test_bad_files(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file '.*missing\.wav'"):
        read_audio(tmp_path / "missing.wav", RATE)
    with pytest.raises(FileNotFoundError):
        read_audio(tmp_path, RATE)
    for name, content in (("empty", b""), ("text", b"not a sound" * 100), ("head", b"RIFF....")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AudioError, match=rf"{name} is no audio that can be read"):
            read_audio(tmp_path / name, RATE)
    samples = tone(rng)
    samples[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"nan\.wav holds samples that are NaN or infinite"):
        read_audio(tmp_path / "nan.wav", RATE)
    samples[100] = 1e30
    soundfile.write(tmp_path / "loud.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"loud\.wav holds samples of 1e\+30, full scale is 1"):
        read_audio(tmp_path / "loud.wav", RATE)
    for rate in (1, 2**31 - 1):
        soundfile.write(tmp_path / "rate.wav", samples[:99], rate)
        with pytest.raises(AudioError, match=rf"says that it has {rate:,} samples a second"):
            read_audio(tmp_path / "rate.wav", RATE)
    soundfile.write(tmp_path / "none.wav", samples[:0], RATE)
    assert len(read_audio(tmp_path / "none.wav", RATE)) == 0
    soundfile.write(tmp_path / "one.wav", samples[:1], RATE)
    assert len(read_audio(tmp_path / "one.wav", RATE)) == 1
    whole = (tmp_path / "one.wav").with_name("long.wav")
    soundfile.write(whole, tone(rng, 2.0), RATE)
    (tmp_path / "cut.wav").write_bytes(whole.read_bytes()[:20_000])
    assert_same_bits(read_audio(tmp_path / "cut.wav", RATE), read_audio(whole, RATE)[:9978])


def test_a_damaged_file_gives_nothing_that_it_does_not_hold(tmp_path: Path) -> None:
    """libsndfile counts samples that it does not write: there is what memory held before.

    Where that is another byte each time, the samples or the error are the same.
    """
    samples = 0.3 * np.sin(np.arange(800.0)).reshape(400, 2)
    soundfile.write(tmp_path / "good.flac", samples, RATE, subtype="PCM_16")
    good = (tmp_path / "good.flac").read_bytes()
    for at in range(20, 60):  # a byte is missing in what describes the stream
        (tmp_path / f"{at}.flac").write_bytes(good[:at] + good[at + 1 :])
    code = f"""
        import pathlib, zlib
        from unrolled.audio import AudioError, read_audio
        for at in range(20, 60):
            try:
                samples = read_audio(pathlib.Path({str(tmp_path)!r}, f"{{at}}.flac"), {RATE})
                print(at, len(samples), zlib.crc32(samples))
            except AudioError as error:
                print(at, error)
        """
    told = [run_python(code, MALLOC_PERTURB_=byte) for byte in ("60", "200")]
    assert all(each.returncode == 0 for each in told), told[0].stderr
    assert told[0].stdout == told[1].stdout
    assert "damaged" in told[0].stdout


SETTINGS = [
    FeatureSettings(),
    FeatureSettings(kind="mfcc", bands=30, coefficients=13, rate=8000),
    FeatureSettings(window=0.032, hop=0.0125, low=60.0, high=7000.0, bands=80),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=["mel", "mfcc-8k", "mel-80"])
def test_a_stream_gives_the_frames_of_the_whole(
    settings: FeatureSettings, rng: np.random.Generator
) -> None:
    samples = tone(rng, 1.0, settings.rate)
    whole = extract_features(samples, settings)
    window, hop = settings.window * settings.rate, settings.hop * settings.rate
    assert whole.shape == (1 + int((len(samples) - window) // hop), settings.size)
    stream = FeatureStream(settings)
    for size in (1, 17, 160, 5000, len(samples)):
        parts = [
            stream.push(samples[start : start + size]) for start in range(0, len(samples), size)
        ]
        assert_same_bits(np.concatenate(parts), whole)
        stream.reset()


def test_a_long_sound_takes_little_more_memory_than_it_has(rng: np.random.Generator) -> None:
    samples = rng.standard_normal(120 * RATE).astype(np.float32)
    tracemalloc.start()
    whole = extract_features(samples, FeatureSettings())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * samples.nbytes + 3 * whole.nbytes
    stream = FeatureStream(FeatureSettings())
    parts = [stream.push(part) for part in np.array_split(samples, 50)]
    assert_same_bits(np.concatenate(parts), whole)


def test_frames_show_where_the_energy_is() -> None:
    settings = FeatureSettings(bands=20)
    t = np.arange(RATE) / RATE
    loudest = [
        extract_features(np.float32(0.1 * np.sin(2 * np.pi * pitch * t)), settings).mean(0).argmax()
        for pitch in (200, 500, 1200, 3000, 6000)
    ]
    assert loudest == sorted(set(loudest))
    quiet = extract_features(np.float32(0.01 * np.sin(2 * np.pi * 500 * t)), settings)
    loud = extract_features(np.float32(0.1 * np.sin(2 * np.pi * 500 * t)), settings)
    np.testing.assert_allclose((loud - quiet)[:, loudest[1]], np.log(100.0), atol=1e-3)


def test_short_and_silent_sounds() -> None:
    settings = FeatureSettings()
    for count in (0, 1, 399):
        assert extract_features(np.zeros(count, np.float32), settings).shape == (0, 40)
    for wrong in (np.full(500, np.nan, np.float32), np.zeros((500, 2), np.float32)):
        with pytest.raises(ValueError, match=r"expected finite samples of shape \(N,\), got"):
            extract_features(wrong, settings)
    silence = extract_features(np.zeros(RATE, np.float32), settings)
    assert silence.shape == (98, 40)
    assert np.isfinite(silence).all()


def test_settings_are_checked_and_kept() -> None:
    for settings in SETTINGS:
        kept = json.loads(json.dumps(settings.to_json()))
        assert from_json(FeatureSettings, kept, "features") == settings
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"kind": "plp"}, "kind 'mel' or 'mfcc', got 'plp'"),
        ({"kind": "mfcc", "coefficients": 41}, "1 <= coefficients <= bands, got 41 and 40"),
        ({"bands": 0}, "bands >= 1, got 0"),
        ({"hop": 0.0}, "a hop of at most 10 seconds"),
        ({"hop": np.nan}, "a hop of at most 10 seconds"),
        ({"window": 1e6}, r"two samples \.\. 10 seconds"),
        ({"rate": 0}, r"rate in 1 \.\. 1000000"),
        ({"rate": 10**9}, r"rate in 1 \.\. 1000000"),
        ({"low": 9000.0}, "low < high <= 8000 Hz"),
        ({"low": 300.0, "high": 200.0}, "got 300.0 and 200.0"),
        ({"high": 9000.0}, "low < high <= 8000 Hz"),
    ]
    for values, text in wrong:
        with pytest.raises(ValueError, match=rf"\[FeatureSettings\] expected .*{text}"):
            FeatureSettings(**values)


def test_normalisation(rng: np.random.Generator) -> None:
    parts = [rng.normal(5.0, 3.0, (frames, 4)).astype(np.float32) for frames in (3, 0, 40)]
    parts[0][:, 2] = parts[2][:, 2] = 7.0  # never varies
    normalisation = Normalisation.of(parts)
    together = normalisation(np.concatenate(parts))
    np.testing.assert_allclose(together.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(together.std(axis=0)[[0, 1, 3]], 1.0, rtol=1e-5)
    again = Normalisation.from_json(normalisation.to_json())
    assert_same_bits(again(parts[2]), normalisation(parts[2]))
    with pytest.raises(ValueError, match="at least one frame, got none"):
        Normalisation.of(parts[1:2])
    for change in ({"mean": [1.0]}, {"deviation": [0.0] * 4}, {"mean": [np.nan] * 4}):
        with pytest.raises(ValueError, match="expected finite means and deviations > 0"):
            Normalisation.from_json(normalisation.to_json() | change)


def test_augmentation_changes_what_it_says(rng: np.random.Generator) -> None:
    frames = rng.normal(10.0, 2.0, (50, 40)).astype(np.float32)
    still = {"shift": 0.0, "gain": 0.0, "noise": 0.0, "time_masks": 0, "band_masks": 0}
    assert_same_bits(Augmentation(**still)(frames, 0.01, rng), frames)

    shifts = set()
    for _ in range(60):
        moved = Augmentation(**(still | {"shift": 0.05}))(frames, 0.01, rng)
        (by,) = [s for s in range(-5, 6) if (moved[5 + s : 45 + s] == frames[5:45]).all()]
        shifts.add(by)
    assert min(shifts) < 0 < max(shifts)

    louder = Augmentation(**(still | {"gain": 2.0}))(frames, 0.01, rng) - frames
    assert np.ptp(louder) < 1e-5
    assert 0 < abs(louder[0, 0]) <= 2.0

    noisy = Augmentation(**(still | {"noise": 1.0}))(frames, 0.01, rng)
    assert (noisy >= frames - 1e-5).all()
    assert noisy.dtype == np.float32

    widths = set()
    for _ in range(60):
        masked = Augmentation(**(still | {"band_masks": 1, "band_width": 6}))(frames, 0.01, rng)
        columns = np.flatnonzero((masked != frames).any(axis=0))
        assert len(columns) <= 6
        assert all(b - a == 1 for a, b in itertools.pairwise(columns))
        widths.add(len(columns))
    assert {0, 6} <= widths

    first, second = (Augmentation()(frames, 0.01, np.random.default_rng(4)) for _ in range(2))
    assert_same_bits(first, second)
    for length in (0, 1, 2):
        assert Augmentation()(frames[:length], 0.01, rng).shape == (length, 40)
