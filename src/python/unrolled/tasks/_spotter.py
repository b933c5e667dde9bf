"""A trained keyword spotter, ready for sound."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unrolled import functional
from unrolled.audio import FeatureSettings, Normalisation, Samples, Speaker, read_frames
from unrolled.models import AcousticModel

from ._fits import check_features, check_fit
from ._saved import PathLike

if TYPE_CHECKING:
    from .keywords import Options


@dataclass(frozen=True)
class Spotter:
    """A trained model, and all that it takes to use it.

    Attributes:
        model: the network.
        words: its classes.
        settings: of its features.
        normalisation: of its features.
        seconds: how long a clip is, in the mean; over so much of a stream it listens.
        options: how it was trained.
    """

    model: AcousticModel
    words: tuple[str, ...]
    settings: FeatureSettings
    normalisation: Normalisation
    seconds: float
    options: "Options"

    def __post_init__(self) -> None:
        if not self.model.pooled:
            raise ValueError("the model has answers for each step, and none for a sound")
        if not 0.0 < self.seconds < math.inf:
            raise ValueError(f"expected clips of more than 0 seconds, got {self.seconds}")
        check_features(self.model, self.settings, self.normalisation)
        check_fit("outputs", self.model.head.output_size, "words", len(self.words))

    def __call__(
        self, sound: PathLike | Samples, speaker: Speaker | None = None
    ) -> list[tuple[str, float]]:
        """Returns every word with its probability, the most probable first.

        Args:
            sound: a file of any format, or samples (N,) of -1..1 at `settings.rate`.
            speaker: who speaks, `normalisation.speaker()`, if he is heard in several sounds; it
                goes on. None: somebody who was never heard.

        Raises:
            FileNotFoundError, AudioError: the file is not there, or is no audio.
        """
        frames = read_frames(sound, self.settings, speaker or self.normalisation)
        log_p = functional.log_softmax(self.model(frames[:, None])[0].astype(np.float64))
        order = np.argsort(-log_p, kind="stable")
        return [(self.words[place], float(np.exp(log_p[place]))) for place in order]
