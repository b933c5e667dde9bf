"""Hearing words while the sound goes on."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from unrolled.audio import FeatureStream, Samples, Speaker
from unrolled.training import Array

if TYPE_CHECKING:
    from ._spotter import Spotter


@dataclass(frozen=True)
class Detection:
    """A word that was heard.

    Attributes:
        word: which one.
        probability: of the word, among all that the model knows, when it was noticed.
        seconds: when it was noticed, from the beginning of the sound.
    """

    word: str
    probability: float
    seconds: float


@dataclass
class Listener:
    """Takes sound as it is made and says which words are in it::

        listener = Listener(spotter)
        for samples in pieces:                       # (N,) each, any N, at the spotter's rate
            for detection in listener(samples):
                print(detection)

    The model reads on and on; over the outputs of the last `spotter.seconds` it decides as it does
    over a clip. A word is told once, when its probability passes `threshold`, and again only after
    it has fallen below half of that. Names in underscores, as `_silence_`, are never told.

    Memory does not grow with the sound. A listener serves one caller.

    Attributes:
        spotter: a model that reads forwards only.
        threshold: the least probability of a word that is told, 0..1.
        speaker: who speaks, a `spotter.normalisation.speaker()` who was perhaps heard elsewhere;
            `speaker.reset()` begins with another one. None: somebody who was never heard.
        latencies: seconds that the latest pieces took to read, a thousand at most.

    Raises:
        ValueError: the model reads backwards too, or the threshold is outside 0..1.
    """

    spotter: "Spotter"
    threshold: float = 0.8
    speaker: Speaker | None = None
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=1000), init=False)

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0:
            raise ValueError(f"[listen] expected 0 < threshold < 1, got {self.threshold}")
        model, settings = self.spotter.model, self.spotter.settings
        self._speaker = self.speaker or self.spotter.normalisation.speaker()
        self._stream = model.stream()
        self._features = FeatureStream(settings)
        self._head = model.head.packed()
        self._step_seconds = settings.hop * model.stride
        window = max(round(self.spotter.seconds / self._step_seconds), 1)
        # The latest outputs, a ring, and their sum; in float64 it does not drift in a year.
        self._window = np.zeros((window, model.rnn.output_size), model.dtype)
        self._sum = np.zeros(model.rnn.output_size)
        self._steps = 0
        self._told: str | None = None

    def __call__(self, samples: Samples) -> list[Detection]:
        """Takes the next samples (N,), -1..1; returns what is heard now."""
        begun = time.perf_counter()
        frames = self._speaker(self._features.push(samples))
        heard = [detection for hidden in self._stream(frames) for detection in self._decide(hidden)]
        self.latencies.append(time.perf_counter() - begun)
        return heard

    def probabilities(self) -> Array:
        """Returns the probability of each word over the window as it is now."""
        count = max(min(self._steps, len(self._window)), 1)
        logits = self._head((self._sum / count).astype(self._window.dtype)[None])[0]
        powers = np.exp(logits - logits.max())
        probabilities: Array = powers / powers.sum()
        return probabilities

    def _decide(self, hidden: Array) -> Iterator[Detection]:
        place = self._steps % len(self._window)
        self._sum += hidden
        self._sum -= self._window[place]
        self._window[place] = hidden
        self._steps += 1
        probabilities = self.probabilities()
        words = self.spotter.words
        if self._told is not None and probabilities[words.index(self._told)] < self.threshold / 2:
            self._told = None
        best = int(probabilities.argmax())
        word, probability = words[best], float(probabilities[best])
        whole = 2 * self._steps >= len(self._window)
        special = word.startswith("_") and word.endswith("_")
        if whole and probability >= self.threshold and word != self._told and not special:
            self._told = word
            yield Detection(word, probability, self._steps * self._step_seconds)


def listen(
    spotter: "Spotter", pieces: Iterable[Samples], threshold: float = 0.8
) -> Iterator[Detection]:
    """Yields the words that are heard in sound of any length, as soon as they are.

    Args:
        spotter: a model that reads forwards only.
        pieces: samples (N,) each, any N, at the spotter's rate; `unrolled.audio.audio_blocks` gives
            those of a file.
        threshold: the least probability of a word that is told, 0..1.
    """
    listener = Listener(spotter, threshold)
    for samples in pieces:
        yield from listener(samples)
