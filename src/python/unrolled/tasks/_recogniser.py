"""A trained recogniser of phonemes or words: from sound to segments with their probabilities."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unrolled import functional
from unrolled.audio import FeatureSettings, Normalisation, Samples, read_frames
from unrolled.models import AcousticModel
from unrolled.training import Array

from ._saved import PathLike
from ._utterances import Segment

if TYPE_CHECKING:
    from .phonemes import Options

#: Prefixes that the search keeps.
_WIDTH = 8

#: A symbol reaches so many seconds beyond the steps that say it, unless the next one is nearer.
_REACH = 0.06


@dataclass(frozen=True)
class Recogniser:
    """A trained model, and all that it takes to use it.

    Attributes:
        model: the network; output 0 is the blank of CTC, output i + 1 symbol i.
        symbols: what it tells apart.
        settings: of its features.
        normalisation: of its features.
        options: how it was trained.
    """

    model: AcousticModel
    symbols: tuple[str, ...]
    settings: FeatureSettings
    normalisation: Normalisation
    options: "Options"

    @property
    def step(self) -> float:
        """Seconds from one step of the model to the next."""
        return self.settings.hop * self.model.stride

    def logits(self, sound: PathLike | Samples) -> Array:
        """Returns the logits (N, 1 + symbols) of each step of a sound.

        Args:
            sound: a file of any format, or samples (N,) of -1..1 at `settings.rate`.

        Raises:
            FileNotFoundError, AudioError: the file is not there, or is no audio.
        """
        frames = read_frames(sound, self.settings, self.normalisation)
        logits: Array = self.model(frames[:, None])[:, 0]
        return logits

    def __call__(self, sound: PathLike | Samples) -> list[Segment]:
        """Returns what is said, symbol by symbol, with times and probabilities."""
        return self.segments(self.logits(sound))

    def segments(self, logits: Array) -> list[Segment]:
        """Returns the most probable symbols of logits (N, 1 + symbols), with their places.

        The search sums over all ways to place the symbols; times and probabilities are those of the
        best one: a symbol is where the model says it, and reaches half-way to the next.
        """
        best = best_symbols(logits)
        path, _ = functional.ctc_align(logits[:, None], np.array([best], np.int64))
        probabilities = np.exp(functional.log_softmax(logits.astype(np.float64)))
        places = [np.flatnonzero(path[:, 0] == i) for i in range(len(best))]
        # The middle of what a step sees.
        middle = self.settings.window / 2 + self.settings.hop * (self.model.stack - 1) / 2
        first = [middle + self.step * float(steps[0]) for steps in places]
        last = [middle + self.step * float(steps[-1]) for steps in places]
        found = []
        for i, symbol in enumerate(best):
            start = max(first[i] - _REACH, 0.0)
            end = last[i] + _REACH
            if i > 0:
                start = max(start, (last[i - 1] + first[i]) / 2)
            if i + 1 < len(best):
                end = min(end, (last[i] + first[i + 1]) / 2)
            probability = float(probabilities[places[i], symbol].mean())
            found.append(Segment(self.symbols[symbol - 1], start, end, probability))
        return found


def best_symbols(logits: Array) -> list[int]:
    """Returns the most probable outputs, blanks taken out, of logits (N, 1 + symbols)."""
    beam = functional.CtcBeam(logits.shape[1], width=_WIDTH)
    beam.step(logits)
    return beam.spell(beam.prefixes()[0])
