"""Sound as it might also have been: augmentation of log-mel features in training."""

from dataclasses import dataclass

import numpy as np

from ._features import Features
from ._files import Samples

#: Log energies of noise lie this far around the mean of the sound: from audible to loud.
_NOISE_LOWEST, _NOISE_HIGHEST = -6.0, 0.0


@dataclass(frozen=True)
class Augmentation:
    """How features are changed at random, each sequence by itself.

    Attributes:
        shift: seconds by which a sound may begin earlier or later; what leaves is lost, and what
            comes in is its quietest frame.
        gain: logs of energy by which a sound may be louder or softer.
        noise: probability of adding noise, of a random loudness and a random, smooth spectrum.
        time_masks: stretches of frames that are replaced by the mean, none or up to so many.
        time_width: the longest of them, as a part of the sequence.
        band_masks: the same of neighbouring bands.
        band_width: the widest of them, in bands.
        warp: part by which frequencies may be stretched or squeezed, as if the speaker's vocal
            tract were shorter or longer.

    Source of the masks: Park et al., "SpecAugment", 2019; of the warp: Jaitly and Hinton, "Vocal
    tract length perturbation (VTLP) improves speech recognition", 2013, here on mel bands.
    """

    shift: float = 0.1
    gain: float = 1.0
    noise: float = 0.5
    time_masks: int = 2
    time_width: float = 0.15
    band_masks: int = 2
    band_width: int = 6
    warp: float = 0.0

    def __call__(self, frames: Features, hop: float, rng: np.random.Generator) -> Features:
        """Returns changed features (T, F), log energies, of frames `hop` seconds apart."""
        if not len(frames):
            return frames
        changed: Features = _shifted(frames, round(rng.uniform(-1.0, 1.0) * self.shift / hop))
        changed = changed + np.float32(rng.uniform(-self.gain, self.gain))
        if self.warp:
            changed = _warped(changed, 1.0 + rng.uniform(-self.warp, self.warp))
        if rng.random() < self.noise:
            changed = np.logaddexp(changed, _noise(changed, rng), dtype=np.float32)
        steps, bands = changed.shape
        mean = changed.mean(dtype=np.float32)
        for _ in range(rng.integers(self.time_masks + 1)):
            changed[_stretch(steps, int(self.time_width * steps), rng)] = mean
        for _ in range(rng.integers(self.band_masks + 1)):
            changed[:, _stretch(bands, min(self.band_width, bands), rng)] = mean
        return changed


def _shifted(frames: Features, by: int) -> Features:
    steps = len(frames)
    by = max(min(by, steps - 1), 1 - steps)
    quiet = frames[frames.mean(axis=1).argmin()]
    result = np.empty_like(frames)
    result[:] = quiet
    if by >= 0:
        result[by:] = frames[: steps - by]
    else:
        result[:by] = frames[-by:]
    return result


def _warped(frames: Features, factor: float) -> Features:
    """Each band from `factor` times its place; above four fifths straight on to the last band."""
    last = frames.shape[1] - 1
    place = np.arange(last + 1.0)
    knee = min(0.8, 0.8 / factor) * last
    above = knee * factor + (place - knee) * (last - knee * factor) / max(last - knee, 1.0)
    read = np.clip(np.where(place <= knee, factor * place, above), 0, last)
    lower = np.minimum(read.astype(np.int64), max(last - 1, 0))
    part = (read - lower).astype(np.float32)
    warped: Features = frames[:, lower] * (1 - part) + frames[:, np.minimum(lower + 1, last)] * part
    return warped


def _noise(frames: Features, rng: np.random.Generator) -> Features:
    """Log energies (T, F) of noise: a slope and a bow over the bands, and fluctuation."""
    steps, bands = frames.shape
    place = np.linspace(-1.0, 1.0, bands)
    spectrum = rng.normal(0.0, 1.0) * place + rng.normal(0.0, 0.7) * place**2
    level = frames.mean() + rng.uniform(_NOISE_LOWEST, _NOISE_HIGHEST)
    # The energy of noise in a band is exponentially distributed, smoothed by the band's width.
    fluctuation = np.log(rng.gamma(3.0, 1.0 / 3.0, (steps, bands)))
    noise: Features = (level + spectrum + fluctuation).astype(np.float32)
    return noise


def _stretch(length: int, widest: int, rng: np.random.Generator) -> slice:
    width = int(rng.integers(widest + 1))
    start = int(rng.integers(length - width + 1))
    return slice(start, start + width)


def faint_noise(count: int, rng: np.random.Generator) -> Samples:
    """Returns samples (count,) of noise as of a room: of any colour, from silent to audible."""
    white = rng.standard_normal(count + 1)
    brown = np.cumsum(white) - np.linspace(0.0, white.sum(), count + 1)
    mix = rng.random()
    noise = (1.0 - mix) * white + mix * brown / max(float(brown.std()), 1e-9)
    level = 10.0 ** rng.uniform(-5.0, -1.5)
    faint: Samples = (level * noise[:count]).astype(np.float32)
    return faint
