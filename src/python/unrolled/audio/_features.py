"""Log-mel and MFCC features, the same frames whether the sound comes at once or in pieces."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._extras import import_extra
from ._files import Samples

Features = NDArray[np.float32]

#: No sound has more samples a second, and no frame is longer, in seconds.
_MOST_RATE, _LONGEST = 1_000_000, 10.0

#: Samples that are handed on at a time: as a list each takes 32 bytes.
_PIECE = 1 << 18

#: Kaldi's features are defined on 16-bit samples.
_FULL_SCALE = 32768.0


@dataclass(frozen=True)
class FeatureSettings:
    """What is computed from the sound.

    A frame is the spectrum of `window` seconds; frames follow each other every `hop` seconds.

    Attributes:
        kind: "mel": logs of the energies of mel bands; "mfcc": their cosine transform.
        bands: mel bands.
        coefficients: of "mfcc", how many are kept.
        rate: samples a second.
        window: seconds of a frame.
        hop: seconds from frame to frame.
        low: lowest frequency in Hz.
        high: highest frequency in Hz; 0 = half of the rate.

    Source: Kaldi's fbank and mfcc, by kaldi-native-fbank: Povey's window, pre-emphasis 0.97, no
    dither. Only whole windows make frames.
    """

    kind: Literal["mel", "mfcc"] = "mel"
    bands: int = 40
    coefficients: int = 20
    rate: int = 16_000
    window: float = 0.025
    hop: float = 0.010
    low: float = 20.0
    high: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("mel", "mfcc"):
            raise ValueError(f"[FeatureSettings] expected kind 'mel' or 'mfcc', got {self.kind!r}")
        if self.bands < 1:
            raise ValueError(f"[FeatureSettings] expected bands >= 1, got {self.bands}")
        if self.kind == "mfcc" and not 1 <= self.coefficients <= self.bands:
            raise ValueError(
                "[FeatureSettings] expected 1 <= coefficients <= bands, "
                f"got {self.coefficients} and {self.bands}"
            )
        if not (
            0 < self.rate <= _MOST_RATE
            and 0 < self.hop <= _LONGEST
            and 2 / self.rate <= self.window <= _LONGEST
        ):
            raise ValueError(
                f"[FeatureSettings] expected a rate in 1 .. {_MOST_RATE}, a hop of at most "
                f"{_LONGEST:g} seconds and a window of two samples .. {_LONGEST:g} seconds, "
                f"got {self.rate}, {self.hop} and {self.window}"
            )
        half = self.rate / 2
        if not 0 <= self.low < (self.high or half) <= half:
            raise ValueError(
                f"[FeatureSettings] expected 0 <= low < high <= {half:g} Hz, half of the rate, "
                f"got {self.low} and {self.high}"
            )

    @property
    def size(self) -> int:
        """Numbers of a frame."""
        return self.bands if self.kind == "mel" else self.coefficients

    @property
    def loudness(self) -> Features:
        """Weights (F,): the sum of a frame with them is the mean log energy of its bands."""
        if self.kind == "mel":
            return np.full(self.bands, 1.0 / self.bands, np.float32)
        weights = np.zeros(self.coefficients, np.float32)
        weights[0] = self.bands**-0.5  # the transform is orthonormal
        return weights

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)


class FeatureStream:
    """Sound in, frames out, as they become whole::

        stream = FeatureStream(FeatureSettings())
        for samples in pieces:                       # (N,) each, any N
            frames = stream.push(samples)            # (T, F), T may be 0

    Shapes: T frames, F numbers each.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        self.settings = settings
        self._computer: Any = None
        self.reset()

    def reset(self) -> None:
        """Begins anew with the next samples."""
        self._computer = _make_computer(self.settings)
        self._done = 0

    def push(self, samples: Samples) -> Features:
        """Takes the next samples, -1..1; returns the frames that are now whole.

        Raises:
            ValueError: they are not (N,), or not finite.
        """
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise ValueError(
                "[FeatureStream] expected finite samples of shape (N,), got "
                + ("NaN or infinity" if samples.ndim == 1 else f"{samples.shape}")
            )
        scaled = samples * np.float32(_FULL_SCALE)
        starts = range(0, max(len(scaled), 1), _PIECE)
        parts = [self._take(scaled[start : start + _PIECE]) for start in starts]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _take(self, scaled: Samples) -> Features:
        # A list of the same numbers: an array would be converted element by element, slowly.
        self._computer.accept_waveform(self.settings.rate, scaled.tolist())
        ready = self._computer.num_frames_ready
        frames = np.empty((ready - self._done, self.settings.size), np.float32)
        for place in range(len(frames)):
            frames[place] = self._computer.get_frame(self._done + place)
        # What was read is let go, so that memory does not grow.
        self._computer.pop(len(frames))
        self._done = ready
        return frames


def extract_features(samples: Samples, settings: FeatureSettings) -> Features:
    """Returns the frames (T, F) of a whole sound (N,): those that a `FeatureStream` gives."""
    return FeatureStream(settings).push(samples)


def _make_computer(settings: FeatureSettings) -> Any:
    kaldi = import_extra("kaldi_native_fbank", "speech")
    options = kaldi.FbankOptions() if settings.kind == "mel" else kaldi.MfccOptions()
    frame = options.frame_opts
    frame.samp_freq = settings.rate
    frame.frame_length_ms = 1000.0 * settings.window
    frame.frame_shift_ms = 1000.0 * settings.hop
    frame.dither = 0.0
    options.mel_opts.num_bins = settings.bands
    options.mel_opts.low_freq = settings.low
    options.mel_opts.high_freq = settings.high
    if settings.kind == "mel":
        return kaldi.OnlineFbank(options)
    options.num_ceps = settings.coefficients
    options.use_energy = False  # c0 instead
    return kaldi.OnlineMfcc(options)
