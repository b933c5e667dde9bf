"""What is known of the speakers of recordings, in training as in use."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from unrolled.audio import Features, FeatureSettings, Normalisation, Speaker, SpeakerNormalisation
from unrolled.training import counter_rng

#: Of the recordings of known speakers so many begin, in training, as if nobody had been heard yet.
_NEW = 0.5

#: Stream of random numbers of the order in which recordings of a speaker are heard.
_ORDER = 100


def fit_normalisation(
    kind: Literal["global", "speaker"], frames: Sequence[Features], settings: FeatureSettings
) -> Normalisation:
    """Returns the normalisation that was asked for, with the figures of frames (T, F) each."""
    if kind == "speaker":
        return SpeakerNormalisation.of_speech(frames, settings)
    return Normalisation.of(frames)


def speakers_before(
    normalisation: Normalisation, frames: Sequence[Features], names: Sequence[str | None]
) -> list[Speaker | None]:
    """Returns what is known of the speaker of each recording when it begins; None: nothing.

    The recordings of a speaker are heard one after another in an order drawn by chance: tables are
    often sorted by what is said, which would be taken for the speaker.

    Args:
        normalisation: of the frames; one that treats all speakers alike knows nothing.
        frames: (T, F) of each recording.
        names: of the speakers; None: not known.
    """
    before: list[Speaker | None] = [None] * len(frames)
    if not normalisation.by_speaker:
        return before
    heard: dict[str, Speaker] = {}
    for row in counter_rng(0, _ORDER, 0).permutation(len(frames)).tolist():
        name = names[row]
        if name is None:
            continue
        if name in heard:
            before[row] = heard[name].copy()
        heard.setdefault(name, normalisation.speaker())(frames[row])
    return before


def perhaps_new(speaker: Speaker | None, rng: np.random.Generator) -> Speaker | None:
    """Returns what is known of a speaker, or None at times: a model meets new ones as well."""
    return None if speaker is None or rng.random() < _NEW else speaker


def normalised(frames: Features, speaker: Speaker | None, normalisation: Normalisation) -> Features:
    """Returns the frames (T, F) of a recording normalised, after what is known of its speaker."""
    return (normalisation.speaker() if speaker is None else speaker.copy())(frames)
