"""Features brought to mean 0 and variance 1, with the figures of the training data."""

import copy
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ._features import Features, FeatureSettings, extract_features
from ._files import Samples, read_audio


@dataclass(frozen=True, eq=False)
class Normalisation:
    """(x - mean) / deviation for each of the F numbers of a frame.

    Attributes:
        mean: (F,) float32.
        deviation: (F,) float32, never 0.
    """

    mean: Features
    deviation: Features

    #: Whether it learns of a speaker while he speaks.
    by_speaker: ClassVar[bool] = False

    def speaker(self) -> "Speaker":
        """Begins with a speaker of whom nothing is known yet."""
        return Speaker(self)

    def __call__(self, frames: NDArray[Any]) -> Features:
        """Returns normalised frames (..., F), float32; pixels (..., C) of uint8, too."""
        rows, mean, deviation = frames, self.mean, self.deviation
        if frames.ndim > 2:
            # Axes that end with few numbers, as the colours of pixels, are gone through line by
            # line.
            lines = frames.shape[-2]
            rows = frames.reshape(*frames.shape[:-2], lines * frames.shape[-1])
            mean, deviation = np.tile(mean, lines), np.tile(deviation, lines)
        normal: Features = rows - mean
        normal /= deviation
        return normal.reshape(frames.shape)

    @classmethod
    def of(cls, sequences: Iterable[NDArray[Any]]) -> "Normalisation":
        """The figures of all frames of sequences (T, F) together.

        Raises:
            ValueError: there is no frame.
        """
        count, total, squares = 0, np.float64(0), np.float64(0)
        for frames in sequences:
            count += len(frames)
            total = total + frames.sum(axis=0, dtype=np.float64)
            squares = squares + np.square(frames, dtype=np.float64).sum(axis=0)
        if not count:
            raise ValueError("[Normalisation] expected at least one frame, got none")
        mean = total / count
        variance = np.maximum(squares / count - mean**2, 1e-6)
        return cls(np.float32(mean), np.float32(np.sqrt(variance)))

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Normalisation":
        """The figures that `to_json` gave.

        Raises:
            ValueError: they are not two lists of as many finite numbers.
        """
        mean, deviation = (np.asarray(values[name], np.float32) for name in ("mean", "deviation"))
        good = mean.ndim == 1 and mean.shape == deviation.shape and np.isfinite(mean).all()
        if not (good and np.isfinite(deviation).all() and (deviation > 0).all()):
            raise ValueError(
                "[Normalisation] expected finite means and deviations > 0 of one shape"
            )
        return cls(mean, deviation)


class Speaker:
    """Normalises the frames of a sound, or of several of one speaker, as they come.

    This one is of a `Normalisation` that treats all speakers alike, so that it has nothing to
    remember; see `HeardSpeaker` for one that has.

    Args:
        normalisation: what it was made by.
    """

    def __init__(self, normalisation: Normalisation) -> None:
        self.normalisation = normalisation

    def __call__(self, frames: Features) -> Features:
        """Takes the next frames (T, F), any T; returns them normalised."""
        return self.normalisation(frames)

    def reset(self) -> None:
        """Forgets the speaker: the next frame is of somebody else."""

    def copy(self) -> "Speaker":
        """Returns another one that knows as much, and goes its own way."""
        return copy.copy(self)


def read_frames(
    sound: str | os.PathLike[str] | Samples,
    settings: FeatureSettings,
    normalise: Callable[[Features], Features],
) -> Features:
    """Returns the normalised frames (T, F) of a sound.

    Args:
        sound: a file of any format, or samples (N,) of -1..1 at `settings.rate`.
        settings: what is computed.
        normalise: a `Normalisation`, or a `Speaker` that goes on.

    Raises:
        FileNotFoundError, AudioError: the file is not there, or is no audio.
    """
    if isinstance(sound, (str, os.PathLike)):
        sound = read_audio(sound, settings.rate)
    return normalise(extract_features(sound, settings))
