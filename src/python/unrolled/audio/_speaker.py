"""Features from which is taken what a speaker, his microphone and his room add to all of them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ._features import Features, FeatureSettings
from ._normalisation import Normalisation, Speaker

#: Frames with speech after which sums are scaled anew.
_BLOCK = 512

#: Less than this, in logs of energy, is less than the rounding of 16-bit samples: no room is so
#: quiet, but a sound that was filled up with zeros.
_NOTHING = 0.0


@dataclass(frozen=True, eq=False)
class SpeakerNormalisation(Normalisation):
    """The global normalisation less the offset of the speaker, as far as he was heard.

    A microphone, a room, loudness and a voice add about the same to all log energies, and so to
    their cosine transforms. With z the frames after the global normalisation:

        y_t = z_t - S_t / N_t
        S_t = a S_{t-1} + z_t - typical,  N_t = a N_{t-1} + 1      where frame t is speech
        S_t = S_{t-1},                    N_t = N_{t-1}            elsewhere
        S_0 = 0,  N_0 = prior,  a = 1 - 1 / memory
        e_t = loudness . x_t,  f_t = min(f_{t-1} + drift, e_t),  c_t = max(c_{t-1} - drift, e_t)
        frame t is speech where e_t > f_t + max(above, (c_t - f_t) / 2)

    `typical` is the mean of z in speech, so that the offset of a speaker like the others is 0 and a
    speaker who was not heard yet is treated as by the global normalisation: `prior` frames of a
    typical speaker have been heard before, and are forgotten like all others. The floor f and the
    ceiling c follow the quietest and the loudest frames, whatever the gain; what is nearer to the
    floor changes nothing, so that a long silence leaves the offset alone. A frame depends on those
    before it and not on those to come: a stream has the frames of the whole sound, bit for bit.

    Shapes: T frames, F numbers each.

    Attributes:
        typical: (F,) float32, mean of the frames with speech after the global normalisation.
        loudness: (F,) float32, see `FeatureSettings.loudness`.
        prior: frames of a typical speaker that a new one begins with.
        memory: frames with speech that are remembered, more than 1.
        above: by how much speech is louder than the quietest frames, in logs of energy.
        drift: by how much the floor may rise, and the ceiling fall, from frame to frame.

    Source: the prior is that of Kaldi's online cepstral mean normalisation (Povey et al., "The
    Kaldi speech recognition toolkit", 2011), with a memory that fades instead of a window.
    """

    typical: Features
    loudness: Features
    prior: float = 50.0
    memory: float = 1000.0
    above: float = 1.5
    drift: float = 0.005

    by_speaker: ClassVar[bool] = True

    def __post_init__(self) -> None:
        shapes = {each.shape for each in (self.mean, self.typical, self.loudness)}
        vectors = np.concatenate([self.typical.ravel(), self.loudness.ravel()])
        numbers = (self.prior, self.memory, self.above, self.drift)
        good = len(shapes) == 1 and np.isfinite(vectors).all() and all(map(math.isfinite, numbers))
        good = good and self.prior > 0 and self.memory > 1
        if not (good and self.above >= 0 and self.drift >= 0):
            raise ValueError(
                "[SpeakerNormalisation] expected finite vectors of one shape (F,), prior > 0, "
                "memory > 1, above >= 0 and drift >= 0"
            )

    def speaker(self) -> "HeardSpeaker":
        """Begins with a speaker of whom nothing is known yet."""
        return HeardSpeaker(self)

    def general(self, frames: NDArray[Any]) -> Features:
        """Returns z: frames (T, F) after the global normalisation."""
        return super().__call__(frames)

    def __call__(self, frames: NDArray[Any]) -> Features:
        """Returns the normalised frames (T, F) of a sound of a speaker who was never heard."""
        return self.speaker()(frames)

    @classmethod
    def of_speech(
        cls, sequences: Iterable[NDArray[Any]], settings: FeatureSettings
    ) -> "SpeakerNormalisation":
        """The figures of all frames of sequences (T, F), and of the speech in them.

        Raises:
            ValueError: there is no frame.
        """
        sequences = list(sequences)
        whole = Normalisation.of(sequences)
        nothing = np.zeros_like(whole.mean)
        plain = cls(whole.mean, whole.deviation, nothing, settings.loudness)
        count, total = 0, np.zeros(len(nothing))
        for frames in sequences:
            speech = plain.general(frames)[plain.speaker().speech(frames)]
            count += len(speech)
            total += speech.sum(axis=0, dtype=np.float64)
        typical = np.float32(total / max(count, 1))
        return cls(whole.mean, whole.deviation, typical, settings.loudness)

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        own = {
            "typical": self.typical.tolist(),
            "loudness": self.loudness.tolist(),
            "prior": self.prior,
            "memory": self.memory,
            "above": self.above,
            "drift": self.drift,
        }
        return {**super().to_json(), "speaker": own}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SpeakerNormalisation":
        """The figures that `to_json` gave.

        Raises:
            ValueError: they are of another kind.
        """
        whole, own = Normalisation.from_json(values), dict(values["speaker"])
        typical, loudness = (np.asarray(own.pop(name), np.float32) for name in _VECTORS)
        numbers = {name: float(own.pop(name)) for name in _NUMBERS}
        return cls(whole.mean, whole.deviation, typical, loudness, **numbers)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """What the frames (_BLOCK, 1) with speech since the last scaling count, a^-1, a^-2, ..."""
        fade = 1.0 - 1.0 / self.memory
        weights: NDArray[np.float64] = np.power(fade, -np.arange(1.0, _BLOCK + 1.0))[:, None]
        return weights


_VECTORS = ("typical", "loudness")
_NUMBERS = ("prior", "memory", "above", "drift")


def normalisation_from_json(values: Mapping[str, Any]) -> Normalisation:
    """Returns the normalisation, of either kind, whose `to_json` gave the values; raises as it."""
    kind = SpeakerNormalisation if "speaker" in values else Normalisation
    return kind.from_json(values)


class HeardSpeaker(Speaker):
    """A speaker with what his sound was like up to now; see `SpeakerNormalisation`.

    Memory does not grow with the sound, and nothing drifts: what was heard long ago is forgotten.
    """

    normalisation: SpeakerNormalisation

    def __init__(self, normalisation: SpeakerNormalisation) -> None:
        super().__init__(normalisation)
        self.reset()

    def reset(self) -> None:
        """Forgets the speaker: the next frame is of somebody else."""
        count = len(self.normalisation.mean)
        # a^-k S and, last, a^-k N, k frames with speech after the last scaling. Instead of all sums
        # shrinking with each frame, what each frame adds grows: a cumulative sum does it.
        self._sums = np.append(np.zeros(count), self.normalisation.prior)
        self._place = 0
        self._offset = np.zeros(count, np.float32)
        self._floor, self._ceiling = math.inf, -math.inf

    def __call__(self, frames: Features) -> Features:
        """Takes the next frames (T, F), any T; returns them normalised."""
        normal = self.normalisation.general(frames)
        speech = self.speech(frames)
        count = sum(speech)
        if not count:
            normal -= self._offset
        elif count == len(speech):
            normal -= self._heard(normal)[1:]
        else:
            normal -= self._heard(normal[speech])[np.cumsum(speech)]
        return normal

    def speech(self, frames: Features) -> list[bool]:
        """Returns which of the next frames (T, F) are speech."""
        own, speech = self.normalisation, []
        floor, ceiling = self._floor, self._ceiling
        # In double precision first, so that the sum of a row does not depend on the others. Of the
        # numbers a loop is the quickest: 0.2 microseconds a frame, which takes 15 to compute.
        for loud in np.add.reduce(frames.astype(np.float64) * own.loudness, axis=1).tolist():
            floor, ceiling = floor + own.drift, ceiling - own.drift
            if _NOTHING < loud < math.inf:
                floor, ceiling = min(floor, loud), max(ceiling, loud)
                speech.append(loud > floor + max(own.above, (ceiling - floor) / 2))
            else:  # zeros, or NaN
                speech.append(False)
        self._floor, self._ceiling = floor, ceiling
        return speech

    def _heard(self, speech: Features) -> Features:
        """Takes normalised frames (N, F) with speech; returns the offset before and after each."""
        own, count = self.normalisation, len(speech)
        offsets = np.empty((count + 1, speech.shape[1]), np.float32)
        offsets[0] = self._offset
        done = 0
        while done < count:
            size = min(_BLOCK - self._place, count - done)
            sums = np.ones((size, len(self._sums)))
            np.subtract(speech[done : done + size], own.typical, out=sums[:, :-1])
            sums *= own.weights[self._place : self._place + size]
            sums[0] += self._sums
            if size > 1:
                np.add.accumulate(sums, axis=0, out=sums)
            done, self._place, self._sums = done + size, self._place + size, sums[-1].copy()
            offsets[done + 1 - size : done + 1] = sums[:, :-1] / sums[:, -1:]
            if self._place == _BLOCK:
                self._place, self._sums = 0, sums[-1] / own.weights[-1]
        self._offset = offsets[-1].copy()
        return offsets
