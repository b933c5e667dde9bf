"""Clips that hold no keyword, made of what there is: silence, and words that nobody knows."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from unrolled.audio import Features, FeatureSettings, Samples, extract_features, faint_noise

Maker = Callable[[np.random.Generator], Features]

#: Half of the silence is cut out of recordings where there are any, louder or softer by up to
#: these powers of ten.
_RECORDED, _SOFTEST, _LOUDEST = 0.5, -2.0, 0.3

#: Of the unknown words so many are played backwards, the others are joined of two parts, cut
#: between these parts of a word.
_BACKWARDS, _FIRST_CUT, _LAST_CUT = 0.5, 0.35, 0.65


def silence(noises: Sequence[Samples], lengths: Sequence[int], settings: FeatureSettings) -> Maker:
    """Makes clips in which nobody speaks: of recorded noise, and of noise as of a room.

    Args:
        noises: recordings (N,) at the settings' rate; nothing: all is synthesised.
        lengths: frames of clips; one of them is drawn for each.
        settings: of the features.
    """
    noises = [noise for noise in noises if len(noise)]

    def make(rng: np.random.Generator) -> Features:
        seconds = settings.window + settings.hop * max(int(rng.choice(lengths)) - 1, 0)
        count = round(seconds * settings.rate)
        if not noises or rng.random() >= _RECORDED:
            return extract_features(faint_noise(count, rng), settings)
        noise = noises[rng.integers(len(noises))]
        start = int(rng.integers(max(len(noise) - count, 0) + 1))
        gain = np.float32(10.0 ** rng.uniform(_SOFTEST, _LOUDEST))
        # A recording shorter than a clip is played again.
        cut = np.resize(noise[start : start + count], count)
        return extract_features(gain * cut, settings)

    return make


def foreign(frames: Sequence[Features], classes: NDArray[np.int64]) -> Maker:
    """Makes words that sound like speech and are none of the keywords, out of the keywords.

    A word is played backwards, or the beginning of one is joined to the end of another: what a
    model sees of other words where there are no recordings of any. They are worth less than those,
    and a keyword that sounds the same backwards does not suit them.

    Args:
        frames: log-mel features (T, F) of clips of keywords.
        classes: (N,) which keyword each of them is.
    """

    def make(rng: np.random.Generator) -> Features:
        place = int(rng.integers(len(frames)))
        others = np.flatnonzero(classes != classes[place])
        if rng.random() < _BACKWARDS or not len(others):
            return np.ascontiguousarray(frames[place][::-1])
        end = frames[others[rng.integers(len(others))]]
        cut = rng.uniform(_FIRST_CUT, _LAST_CUT)
        begin = frames[place][: round(cut * len(frames[place]))]
        return np.concatenate([begin, end[round(cut * len(end)) :]])

    return make
