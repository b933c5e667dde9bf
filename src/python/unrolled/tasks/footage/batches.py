"""Clips as batches: changed at random in training, as they are in scoring."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.training import Array, Group, counter_rng
from unrolled.video import Augmentation, Normalisation

from .answers import Answer
from .data import Batch, Integers, Shot

#: Streams of random numbers: of the order of clips, and of their changes.
_ORDER, _CHANGES = 0, 1

#: Frames that are scored at a time.
_PART = 600


@dataclass(frozen=True)
class ClipBatches:
    """Batches by their number: all clips once in each epoch, those of about one length together.

    Attributes:
        shots: the clips.
        answer: makes the targets.
        normalisation: of frames.
        change: what is changed in training; None: nothing, as of features.
        batch: clips of a batch, of all ranks together.
        seed: of order and changes.
        group: whose share is made.
    """

    shots: Sequence[Shot]
    answer: Answer
    normalisation: Normalisation
    change: Augmentation | None
    batch: int
    seed: int
    group: Group

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.shots) // self.batch)

    def __call__(self, number: int) -> Batch:
        """Returns a batch."""
        rng = counter_rng(self.seed, _CHANGES, number)
        made = [self._changed(self.shots[row], rng) for row in self._rows(number)]
        mine = made[self.group.rows(len(made))]
        images = [self.normalisation(frames) for _, frames, _ in mine]
        targets = [self.answer.target(shot, times) for shot, _, times in mine]
        return Batch(
            np.concatenate(images),
            np.array([len(each) for each in images], np.int64),
            self.answer.together(targets),
        )

    @cached_property
    def _lengths(self) -> Integers:
        return np.array([len(shot.times) for shot in self.shots])

    def _rows(self, number: int) -> list[int]:
        epoch, part = divmod(number, self.per_epoch)
        rng = counter_rng(self.seed, _ORDER, epoch)
        order = np.argsort(self._lengths * rng.uniform(0.9, 1.1, len(self.shots)))
        start = self.batch * int(rng.permutation(self.per_epoch)[part])
        rows: list[int] = order[start : start + self.batch].tolist()
        return rows

    def _changed(
        self, shot: Shot, rng: np.random.Generator
    ) -> tuple[Shot, NDArray[np.generic], NDArray[np.float64]]:
        """A clip, its frames, and the times of the clip that they show."""
        frames = shot.read()
        if self.change is None:
            return shot, frames, shot.times
        images, sources = self.change(frames, rng)
        return shot, images, shot.times[sources]


def in_parts(
    shots: Sequence[Shot], prepare: Callable[[NDArray[Any]], Array]
) -> Iterator[tuple[list[Shot], Array, Integers]]:
    """Yields clips in their order, a few at a time, with their images and lengths.

    Args:
        shots: the clips.
        prepare: makes what the network reads of frames.
    """
    some: list[Shot] = []
    for place, shot in enumerate(shots):
        some.append(shot)
        if place + 1 == len(shots) or sum(len(each.times) for each in some) >= _PART:
            images = [prepare(each.read()) for each in some]
            lengths = np.array([len(each) for each in images], np.int64)
            yield some, np.concatenate(images), lengths
            some = []
