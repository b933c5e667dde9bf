"""Clips as features, and the scenes of training that are made of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unrolled.audio import (
    Augmentation,
    Features,
    FeatureSettings,
    Normalisation,
    Speaker,
    extract_features,
    read_audio,
    resample,
)
from unrolled.training import Array, pad_sequences

from ._clips import Clip
from ._speakers import normalised, perhaps_new, speakers_before
from ._watch import watched

#: Of the scenes, so many have another clip before them, and so many of those are no word.
_WITH_CONTEXT, _BETWEEN = 0.5, 0.25

#: A part of a word up to this one is not yet, or no longer, that word.
_PART_OF_WORD = 0.4


@dataclass(frozen=True)
class Scene:
    """Features (T, F), of which those from `start` on are the word `word`.

    `speaker` is what was known when they began, None: nothing.
    """

    frames: Features
    start: int
    word: int
    speaker: Speaker | None = None


@dataclass(frozen=True)
class Sounds:
    """Scenes side by side.

    Shapes: T frames, B scenes, F features.

    Attributes:
        frames: (T, B, F) normalised features, zero behind the end of each.
        lengths: (B,) frames of each.
        starts: (B,) where the word begins.
        classes: (B,) int64.
        others: (B,) int64, classes of the words that are mixed in.
        part: of `classes` in the mix, 0..1; `others` have the rest.
    """

    frames: Array
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]
    classes: NDArray[np.int64]
    others: NDArray[np.int64]
    part: float


def together(
    scenes: Sequence[Scene],
    normalisation: Normalisation,
    others: Sequence[Scene] = (),
    part: float = 1.0,
) -> Sounds:
    """Puts scenes side by side, each mixed with the word of another one (mixup).

    Args:
        scenes: B scenes.
        normalisation: of their features, before they are mixed.
        others: B scenes; nothing: none is mixed in.
        part: what of a mixed scene is its own, 0..1.

    Source: Zhang et al., "mixup: beyond empirical risk minimization", 2018.
    """
    frames = [normalised(scene.frames, scene.speaker, normalisation) for scene in scenes]
    if others:
        whole = (normalised(other.frames, other.speaker, normalisation) for other in others)
        words = [each[other.start :] for each, other in zip(whole, others, strict=True)]
        starts = [scene.start for scene in scenes]
        frames = [_mixed(*each, part) for each in zip(frames, starts, words, strict=True)]
    padded, lengths = pad_sequences(frames)
    return Sounds(
        padded,
        lengths,
        np.array([scene.start for scene in scenes], np.int64),
        np.array([scene.word for scene in scenes], np.int64),
        np.array([other.word for other in others or scenes], np.int64),
        part,
    )


def _mixed(frames: Features, start: int, word: Features, part: float) -> Features:
    """Normalised frames, of which those from `start` on are mixed with those of a word."""
    end = start + len(word)
    mixed = np.zeros((max(len(frames), end), frames.shape[1]), np.float32)
    mixed[: len(frames)] = frames
    mixed[start:] *= np.float32(part)
    mixed[start:end] += np.float32(1.0 - part) * word
    return mixed


@dataclass
class ClipFeatures:
    """The features of clips, at one speed or several.

    Attributes:
        frames: of each clip at the first speed, then of each at the next.
        classes: (N,) of each of `frames`.
        speeds: how many there are.
        speakers: the name of the speaker of each, a voice at another speed being another one;
            None: not known.
        before: what is known of the speaker when each begins; None: nothing.
    """

    frames: list[Features]
    classes: NDArray[np.int64]
    speeds: int = 1
    speakers: list[str | None] = field(default_factory=list)
    before: list[Speaker | None] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        clips: Sequence[Clip],
        words: Sequence[str],
        settings: FeatureSettings,
        speeds: Sequence[float] = (1.0,),
    ) -> "ClipFeatures":
        """Reads clips.

        Raises:
            AudioError: a clip is no audio.
        """
        number = {word: place for place, word in enumerate(words)}
        parts: list[list[Features]] = [[] for _ in speeds]
        for clip in watched(clips, "features"):
            samples = read_audio(clip.path, settings.rate)
            for part, speed in zip(parts, speeds, strict=True):
                # Taken as sound of a higher rate it has fewer samples and is over sooner.
                faster = resample(samples, speed * settings.rate, settings.rate)
                part.append(extract_features(faster, settings))
        classes = np.array([number[clip.word] for clip in clips], np.int64)
        return cls(
            [each for part in parts for each in part],
            np.tile(classes, len(speeds)),
            len(speeds),
            [clip.speaker and f"{speed} {clip.speaker}" for speed in speeds for clip in clips],
            [None] * (len(speeds) * len(clips)),
        )

    def meet(self, normalisation: Normalisation) -> "ClipFeatures":
        """Hears all clips, so that `before` says what a normalisation knows then; returns them."""
        self.before = speakers_before(normalisation, self.frames, self.speakers)
        return self

    @property
    def count(self) -> int:
        """How many clips there are, each counted once."""
        return len(self.frames) // self.speeds

    def scene(self, row: int) -> Scene:
        """One of `frames` as it is."""
        return Scene(self.frames[row], 0, int(self.classes[row]), self.before[row])

    def order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Returns every clip once, in random order, each at a random speed."""
        count = self.count
        order: NDArray[np.int64] = rng.permutation(count)
        return order + count * rng.integers(self.speeds, size=count)

    def add(
        self,
        count: int,
        word: int,
        make: Callable[[np.random.Generator], Features],
        rng: np.random.Generator,
    ) -> None:
        """Adds so many clips of `word`, made anew for each speed.

        What is known when they begin is that of clips drawn by chance: it does not tell the word.
        """
        size = self.count
        frames: list[Features] = []
        before: list[Speaker | None] = []
        parts = [slice(part * size, (part + 1) * size) for part in range(self.speeds)]
        for rows in parts:
            frames += self.frames[rows]
            frames += [make(rng) for _ in range(count)]
        for rows in parts:
            before += self.before[rows]
            before += [self.before[rows][i] for i in rng.integers(size, size=count)]
        own = self.classes.reshape(self.speeds, size)
        self.classes = np.pad(own, ((0, 0), (0, count)), constant_values=word).ravel()
        self.frames, self.before = frames, before


@dataclass(frozen=True)
class Scenes:
    """What is trained on: clips, changed at random, some of them after another one.

    A model that listens hears a word after others, and between them the end of one and the
    beginning of the next. Half of the scenes have another clip before the word; a quarter of these
    break off early in it, and what was heard last is silence, no word.

    Attributes:
        clips: what scenes are made of.
        silence: the class of silence; None: every scene is a clip by itself.
        change: how clips are changed at random; None: not.
        hop: seconds from frame to frame.
    """

    clips: ClipFeatures
    silence: int | None
    change: Augmentation | None
    hop: float

    def make(self, row: int, rng: np.random.Generator) -> Scene:
        """Returns a scene of the clip in `row`."""
        own = self._changed(row, rng)
        word = int(self.clips.classes[row])
        speaker = perhaps_new(self.clips.before[row], rng)
        if self.silence is None or rng.random() >= _WITH_CONTEXT:
            return Scene(own, 0, word, speaker)
        before = self._changed(int(rng.integers(len(self.clips.frames))), rng)
        if rng.random() >= _BETWEEN:
            return Scene(np.concatenate([before, own]), len(before), word, speaker)
        heard = own[: int(_PART_OF_WORD * rng.random() * len(own))]
        start = round((1.0 - _PART_OF_WORD * rng.random()) * len(before))
        return Scene(np.concatenate([before, heard]), start, self.silence, speaker)

    def _changed(self, row: int, rng: np.random.Generator) -> Features:
        frames = self.clips.frames[row]
        return frames if self.change is None else self.change(frames, self.hop, rng)
