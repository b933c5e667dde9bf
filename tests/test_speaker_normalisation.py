"""Features from which the offset of a speaker is taken as far as he was heard: in a stream as in
training and of a whole file."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from sounds import say
from speakers import SETTINGS, F, fitted, talk
from tolerances import assert_close
from unrolled.audio import (
    FeatureSettings,
    Normalisation,
    SpeakerNormalisation,
    extract_features,
    normalisation_from_json,
)
from utterances import utter


def plain(norm: SpeakerNormalisation, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The equations, a frame after another in float64: y (T, F), and which frames are speech."""
    fade = 1.0 - 1.0 / norm.memory
    total, count, floor, ceiling = np.zeros(x.shape[1]), norm.prior, np.inf, -np.inf
    result, speech = np.empty(x.shape), np.zeros(len(x), bool)
    for t, frame in enumerate(x.astype(np.float64)):
        z = (frame - norm.mean) / norm.deviation
        loud = float(frame @ norm.loudness)
        floor, ceiling = floor + norm.drift, ceiling - norm.drift
        if 0.0 < loud < np.inf:
            floor, ceiling = min(floor, loud), max(ceiling, loud)
            speech[t] = loud > max(floor + norm.above, (floor + ceiling) / 2)
        if speech[t]:
            total = fade * total + z - norm.typical
            count = fade * count + 1.0
        result[t] = z - total / count
    return result, speech


@pytest.mark.parametrize("frames", [0, 1, 2, 39, 3000])
@pytest.mark.parametrize("changed", [{}, {"prior": 3.0, "memory": 20.0}, {"above": 0.0}])
def test_equations(changed: dict[str, float], frames: int) -> None:
    norm = fitted(**changed)
    x = talk(np.random.default_rng(1), frames)
    x[300:420] = -15.9  # a gap of zeros
    expected, speech = plain(norm, x)
    if frames == 3000:
        assert speech.sum() > 1000  # sums are scaled anew after 512
    # z of single precision takes two roundings, the offset and its subtraction two more.
    assert_close(norm(x), expected, K=4, kind="elementwise")
    np.testing.assert_array_equal(norm.speaker().speech(x), speech)


def test_typical_speech_has_no_offset() -> None:
    x = talk(np.random.default_rng(2), 1000)
    norm = SpeakerNormalisation.of_speech([x], SETTINGS)
    speech = np.array(norm.speaker().speech(x))
    mean = norm.general(x)[speech].mean(axis=0, dtype=np.float64)
    assert_close(norm.typical, mean, K=4, kind="elementwise")
    # Who was not heard is treated as by the global normalisation.
    still = x[~speech][:50]
    np.testing.assert_array_equal(norm(still), Normalisation.of([x])(still))
    silent = np.full((9, F), -15.9, np.float32)
    assert not SpeakerNormalisation.of_speech([silent], SETTINGS).typical.any()
    with pytest.raises(ValueError, match="at least one frame"):
        SpeakerNormalisation.of_speech([], SETTINGS)


@pytest.mark.parametrize("seed", range(4))
def test_pieces_have_the_bits_of_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    norm, x = fitted(), talk(rng, 3000)
    x[500:520] = -15.9
    speaker, parts, place = norm.speaker(), [], 0
    while place < len(x):
        size = int(rng.choice([0, 1, 1, 1, 2, 10, 511, 512, 513]))
        parts.append(speaker(x[place : place + size]))
        place += size
    np.testing.assert_array_equal(np.concatenate(parts), norm(x))


def test_bits_do_not_depend_on_the_layout_of_frames() -> None:
    norm, x = fitted(), talk(np.random.default_rng(3), 700)
    np.testing.assert_array_equal(norm(np.asfortranarray(x)), norm(x))
    np.testing.assert_array_equal(norm(np.repeat(x, 2, axis=0)[::2]), norm(x))


def test_a_channel_is_forgotten_as_the_prior_is() -> None:
    """A constant offset b of all log energies leaves b P a^n / N after n frames with speech."""
    norm, x = fitted(), talk(np.random.default_rng(4), 4000)
    b = np.linspace(-3.0, 2.0, F).astype(np.float32)
    change = norm(x + b).astype(np.float64) - norm(x)
    n = np.cumsum(norm.speaker().speech(x))
    left = norm.prior * (1 - 1 / norm.memory) ** n
    left /= left + norm.memory * (1 - (1 - 1 / norm.memory) ** n)
    assert left[0] == 1.0
    assert left[-1] < 0.02  # after 22 s with speech
    # The difference of two arrays as of `test_equations`, of the scale of what is subtracted.
    scale = np.abs(norm(x + b)).max()
    assert_close(
        change / scale, left[:, None] * (b / norm.deviation) / scale, K=8, kind="elementwise",
        dtype=np.float32,
    )  # fmt: skip


def test_another_microphone_is_hardly_heard() -> None:
    pytest.importorskip("kaldi_native_fbank", reason='pip install "unrolled[speech]"')
    rng = np.random.default_rng(5)
    settings = FeatureSettings(bands=20)
    spoken = np.concatenate([utter(rng, 5)[0] for _ in range(40)])
    spoken += 1e-3 * rng.standard_normal(len(spoken)).astype(np.float32)  # a room
    one = extract_features(spoken, settings)
    norm = SpeakerNormalisation.of_speech([one], settings)
    late = slice(len(one) // 2, None)
    for other, most in (
        (0.25 * spoken, 0.01),  # softer by 12 dB, less than a hundredth of which is left
        (0.25 * np.convolve(spoken, [1.0, -0.6])[: len(spoken)], 0.1),  # and high rather than low
    ):
        two = extract_features(other.astype(np.float32), settings)
        own = np.abs(norm(two) - norm(one))[late].mean()
        assert own < most * np.abs(norm.general(two) - norm.general(one))[late].mean()
    n = sum(norm.speaker().speech(one[: late.start]))
    weight = norm.prior * (1 - 1 / norm.memory) ** n
    assert weight / (weight + norm.memory * (1 - (1 - 1 / norm.memory) ** n)) < 0.01


def test_silence_changes_nothing() -> None:
    rng = np.random.default_rng(6)
    norm = fitted()
    speaker, other = norm.speaker(), norm.speaker()
    x, probe = talk(rng, 2000), np.full((1, F), 5.0, np.float32)
    speaker(x), other(x)
    before = speaker.copy()(probe)
    speaker(talk(rng, 100_000, speech=0.0))  # 17 minutes of a room
    speaker(np.full((100_000, F), -15.9, np.float32))  # and of zeros
    np.testing.assert_array_equal(speaker(probe), before)
    assert (before != norm.speaker()(probe)).any()


def test_one_quiet_frame_does_not_make_noise_speech() -> None:
    """As where a file begins in zeros: once there was speech, noise is nearer to zeros."""
    rng = np.random.default_rng(15)
    x = talk(rng, 1000)
    x[:20], x[20:40] = 5.0, 11.0
    x[10] = 0.5
    found, loud = np.array(fitted().speaker().speech(x)), x.mean(axis=1)
    assert not found[20:][loud[20:] < 5.5].any()
    assert found[20:][loud[20:] > 9.0].all()


def test_speakers_are_reset_carried_and_copied() -> None:
    rng = np.random.default_rng(7)
    norm, first, second = fitted(), talk(rng, 900), talk(rng, 300)
    speaker = norm.speaker()
    speaker(first)
    known = speaker.copy()
    carried = speaker(second)
    np.testing.assert_array_equal(carried, norm(np.concatenate([first, second]))[900:])
    np.testing.assert_array_equal(known(second), carried)
    assert (carried != norm(second)).any()
    speaker.reset()
    np.testing.assert_array_equal(speaker(second), norm(second))
    alike = Normalisation.of([first]).speaker()
    whole = alike(first)
    alike.reset()
    np.testing.assert_array_equal(alike.copy()(first), whole)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_frame(value: float) -> None:
    norm, x = fitted(), talk(np.random.default_rng(8), 900)
    x[[450, 451]] = -15.9
    expected = norm(x)
    x[450, 2] = value
    with np.errstate(invalid="ignore"):
        changed = norm(x)
    assert not np.isfinite(changed[450, 2])
    np.testing.assert_array_equal(np.delete(changed, 450, axis=0), np.delete(expected, 450, axis=0))


def test_three_hours_in_constant_memory() -> None:
    """The offset at the end is that of the last frames with speech alone: nothing drifts."""
    rng = np.random.default_rng(9)
    norm, speaker = fitted(memory=200.0), fitted(memory=200.0).speaker()
    piece = talk(rng, 10_000)
    speaker(piece)
    tracemalloc.start()
    for _ in range(107):
        result = speaker(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * piece.nbytes
    # 9,000 times a half of 200 frames: what is older counts less than the last bit. Behind it the
    # floor of a repeated piece is that of the first but for the rounding of the time.
    expected, _ = plain(norm, np.concatenate([piece, piece]))
    assert_close(result[-100:], expected[-100:], K=4, kind="elementwise")


def test_figures_are_kept() -> None:
    norm, x = fitted(prior=12.0, memory=50.0), talk(np.random.default_rng(10), 200)
    again = normalisation_from_json(norm.to_json())
    assert isinstance(again, SpeakerNormalisation)
    np.testing.assert_array_equal(again(x), norm(x))
    old = {name: norm.to_json()[name] for name in ("mean", "deviation")}
    assert type(normalisation_from_json(old)) is Normalisation
    own = norm.to_json()["speaker"]
    for name, value in (
        ("typical", [0.0]), ("typical", [np.nan] * F), ("loudness", "x"), ("prior", 0.0),
        ("memory", 1.0), ("memory", np.inf), ("drift", -1.0), ("above", None),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            normalisation_from_json({**old, "speaker": {**own, name: value}})


def test_loudness_is_the_mean_log_energy() -> None:
    pytest.importorskip("kaldi_native_fbank", reason='pip install "unrolled[speech]"')
    sound = say("rise", np.random.default_rng(11))
    mel, mfcc = FeatureSettings(bands=23), FeatureSettings(kind="mfcc", bands=23, coefficients=9)
    loud = extract_features(sound, mel).astype(np.float64) @ mel.loudness
    of_cepstra = extract_features(sound, mfcc).astype(np.float64) @ mfcc.loudness
    # Both sum 23 logs; the transform multiplies each.
    assert_close(of_cepstra, loud, K=2 * 23, kind="forward", dtype=np.float32)
