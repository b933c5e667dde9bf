"""The demonstration's clips: as their captions say, reproducible, and held out in both respects."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from unrolled.tasks._translation_demo import english
from unrolled.tasks._video_demo import RATE, SIDE, demo_clip, make_demo
from unrolled.tasks._video_options import Options
from unrolled.tasks.footage.shots import demo_shots

pytest.importorskip("sklearn", reason='pip install "unrolled[recipes]"')


def middle(image: np.ndarray) -> np.ndarray:
    """Row and column of the middle of what is not black."""
    weight = image[..., 0].astype(float)
    places = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return (places * weight).sum(axis=(1, 2)) / weight.sum()


def test_digits_do_what_captions_say() -> None:
    """Of each motion: where the digit goes, and how fast; the whole digit is always seen."""
    steps = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0), "still": (0, 0)}
    for clip in make_demo(200, 3):
        assert clip.images.shape[1:] == (SIDE, SIDE, 1)
        said = re.sub(rf"^a {english(clip.label)} ", "", clip.caption).split(", then ")
        assert len(said) == len(clip.segments)
        brightness = clip.images.sum(axis=(1, 2, 3), dtype=np.int64)
        assert (brightness == brightness[0]).all()
        frame = 0
        for words, segment in zip(said, clip.segments, strict=True):
            assert segment.symbol in words
            count = round((segment.end - segment.start) * RATE)
            path = [middle(image) for image in clip.images[frame : frame + count]]
            speed = 0.0 if segment.symbol == "still" else 1.5 if "quickly" in words else 0.5
            moved = np.array(steps[segment.symbol]) * speed * (count - 1)
            # Places are whole pixels at both ends.
            assert np.abs(path[-1] - path[0] - moved).max() <= 1.0
            frame += count
        assert frame == len(clip.images)


def test_reproducible_and_one_by_one() -> None:
    clips = list(make_demo(5, 0))
    for number, clip in enumerate(clips):
        alone = demo_clip(number, 0)
        assert alone.caption == clip.caption
        np.testing.assert_array_equal(alone.images, clip.images)
    assert [clip.caption for clip in make_demo(5, 1)] != [clip.caption for clip in clips]


def test_what_is_held_out_is_new() -> None:
    training, held_out = list(make_demo(1500, 0)), list(make_demo(1500, 0, held_out=True))

    def motions(clips: list) -> set[str]:
        return {clip.caption.split(" ", 2)[2] for clip in clips}

    def digits(clips: list) -> set[bytes]:
        found = set()
        for clip in clips:
            image = clip.images[0, ..., 0]
            rows, columns = image.any(axis=1).nonzero()[0], image.any(axis=0).nonzero()[0]
            found.add(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].tobytes())
        return found

    assert len(motions(held_out)) > 80
    assert motions(training).isdisjoint(motions(held_out))
    assert len(digits(held_out)) > 300
    assert digits(training).isdisjoint(digits(held_out))
    # Every word of what is held out is learnt.
    words = {word for clip in training for word in clip.caption.replace(",", "").split()}
    assert words >= {word for clip in held_out for word in clip.caption.replace(",", "").split()}
    assert {clip.label for clip in training} == set(range(10))


def test_the_task_reads_as_many_frames_a_second_as_it_is_asked_for() -> None:
    every = Options(demo=True, height=SIDE, width=SIDE, grey=True, margin=0)
    half = replace(every, rate=RATE / 2)
    for a, b in zip(demo_shots(5, every.eyes())[0], demo_shots(5, half.eyes())[0], strict=True):
        assert (a.text, a.label, a.segments) == (b.text, b.label, b.segments)
        np.testing.assert_array_equal(a.times, np.arange(len(a.times)) / RATE)
        np.testing.assert_array_equal(b.times, a.times[::2])
        np.testing.assert_array_equal(b.read(), a.read()[::2])
