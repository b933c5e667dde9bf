"""Handwritten digits that move over a canvas, with captions, to try video with no data at hand.

The digits are scikit-learn's 1,797 images (`tasks/digits.py` says whose). A clip shows one of them
in one to three motions: "a three moves left slowly, then up quickly, then stands still". What is
held out has other images of the digits and other motions: of those of two and three parts about one
in five, so that its captions, after the digit, occur nowhere in training.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.training import counter_rng, import_extra
from unrolled.video import Images

from ._translation_demo import english
from ._utterances import Segment
from .digits import hold_out

#: Pixels of the canvas, and of a digit: two for each of the 8 x 8 of its image.
SIDE, _DIGIT = 40, 16

#: Frames a second.
RATE = 25.0

#: Frames of a motion, one of several and one alone.
_SHORTEST, _LONGEST, _LONGEST_ALONE = 6, 8, 16

#: Rows down and columns to the right.
_DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}

#: Pixels a frame. Of three motions, two may go the same way: 2 * 8 * 1.5 = SIDE - _DIGIT.
_SPEEDS = {"slowly": 0.5, "quickly": 1.5}

#: Of motions of several parts, one of so many is held out.
_HELD_OUT_ONE_OF = 5

#: Streams of random numbers.
_TRAINING, _HELD_OUT = 0, 1


class Motion(NamedTuple):
    """A part of what a digit does; without a direction it stands still."""

    direction: str = ""
    speed: str = ""

    @property
    def step(self) -> NDArray[np.float64]:
        """Rows and columns a frame."""
        if not self.direction:
            return np.zeros(2)
        return _SPEEDS[self.speed] * np.array(_DIRECTIONS[self.direction], np.float64)


@dataclass(frozen=True)
class DemoClip:
    """A digit that moves.

    Attributes:
        images: (T, 40, 40, 1) uint8, T = 6..24.
        caption: what it does, in words.
        label: the digit.
        segments: where it goes from when to when: left, right, up, down or still.
    """

    images: Images
    caption: str
    label: int
    segments: tuple[Segment, ...]


def make_demo(count: int, seed: int, held_out: bool = False) -> Iterator[DemoClip]:
    """Yields clips to train on or those that are held out; the same for the same seed.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    for index in range(count):
        yield demo_clip(index, seed, held_out)


def demo_clip(index: int, seed: int, held_out: bool = False) -> DemoClip:
    """Returns one of the clips of `make_demo`, by itself."""
    rng = counter_rng(seed, _HELD_OUT if held_out else _TRAINING, index)
    images, labels = _digits(held_out)
    number = int(rng.integers(len(labels)))
    # Motions of one, two and three parts are as frequent as each other.
    kinds = _motions(held_out)
    of_length = kinds[int(rng.integers(len(kinds)))]
    motions = of_length[int(rng.integers(len(of_length)))]
    longest = _LONGEST_ALONE if len(motions) == 1 else _LONGEST
    lengths = rng.integers(_SHORTEST, longest + 1, len(motions))
    steps = np.repeat([motion.step for motion in motions], lengths, axis=0)
    # A motion begins with its first frame.
    path = np.cumsum(steps, axis=0) - steps[0]
    low, high = path.min(axis=0), path.max(axis=0)
    start = rng.uniform(-low, SIDE - _DIGIT - high)
    places = np.rint(path + start).astype(np.int64)
    canvas = np.zeros((len(places), SIDE, SIDE, 1), np.uint8)
    for frame, (top, left) in zip(canvas, places, strict=True):
        frame[top : top + _DIGIT, left : left + _DIGIT, 0] = images[number]
    ends = np.cumsum(lengths) / RATE
    segments = tuple(
        Segment(motion.direction or "still", float(end - length / RATE), float(end))
        for motion, end, length in zip(motions, ends, lengths, strict=True)
    )
    label = int(labels[number])
    return DemoClip(canvas, f"a {english(label)} {describe(motions)}", label, segments)


def describe(motions: tuple[Motion, ...]) -> str:
    """Returns motions in words; after one that moves, "moves" is not said again."""
    parts, moving = [], False
    for motion in motions:
        if not motion.direction:
            parts.append("stands still")
        else:
            parts.append(f"{'' if moving else 'moves '}{motion.direction} {motion.speed}")
        moving = bool(motion.direction)
    return ", then ".join(parts)


@cache
def _motions(held_out: bool) -> tuple[tuple[tuple[Motion, ...], ...], ...]:
    """All sequences of motions of training or of what is held out, by their number of parts."""
    single = [Motion(*each) for each in product(_DIRECTIONS, _SPEEDS)] + [Motion()]
    kinds = []
    for parts in (1, 2, 3):
        sequences = [
            each
            for each in product(single, repeat=parts)
            # One direction twice in a row would be one motion.
            if all(a.direction != b.direction for a, b in pairwise(each))
        ]
        kinds.append(tuple(each for each in sequences if _is_held_out(each) == held_out))
    return tuple(filter(None, kinds))


def _is_held_out(motions: tuple[Motion, ...]) -> bool:
    return len(motions) > 1 and zlib.crc32(describe(motions).encode()) % _HELD_OUT_ONE_OF == 0


@cache
def _digits(held_out: bool) -> tuple[Images, NDArray[np.int64]]:
    """The images (N, 16, 16), 0..255, and classes of training or of what is held out."""
    images, labels = import_extra("sklearn.datasets", "recipes").load_digits(return_X_y=True)
    rows = hold_out(labels) == held_out
    small = np.rint(images[rows].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    scale = _DIGIT // 8
    return small.repeat(scale, axis=1).repeat(scale, axis=2), labels[rows]
