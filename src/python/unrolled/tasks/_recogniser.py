"""A trained recogniser of phonemes or words: from sound to segments with their probabilities."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unrolled import functional
from unrolled.audio import (
    FeatureSettings,
    FeatureStream,
    Normalisation,
    Samples,
    Speaker,
    audio_blocks,
    read_frames,
)
from unrolled.models import AcousticModel
from unrolled.training import Array

from ._dictionary import Dictionary
from ._fits import check_features, check_fit
from ._long_sound import cut_at_pauses, stream_logits
from ._pronounced import best_pronunciations
from ._saved import PathLike
from ._utterances import Pronunciations, Segment, as_words

if TYPE_CHECKING:
    from .phonemes import Options

#: Prefixes that the search keeps.
WIDTH = 8

#: A symbol reaches so many seconds beyond the steps that say it, unless the next one is nearer.
_REACH = 0.06

#: Seconds of sound that a model which reads backwards too reads at a time, and on either side.
WINDOW, CONTEXT = 60.0, 5.0

#: Seconds of sound that are searched at a time.
SHORTEST, LONGEST = 20.0, 40.0


@dataclass(frozen=True)
class Recogniser:
    """A trained model, and all that it takes to use it.

    Attributes:
        model: the network; output 0 is the blank of CTC, output i + 1 symbol i. One that was
            trained with times has as many outputs more: what a step lies in, a pause or a symbol.
        symbols: what it tells apart.
        settings: of its features.
        normalisation: of its features.
        options: how it was trained.
        dictionary: words and their phonemes, if it was trained with one.
    """

    model: AcousticModel
    symbols: tuple[str, ...]
    settings: FeatureSettings
    normalisation: Normalisation
    options: "Options"
    dictionary: Dictionary | None = None

    def __post_init__(self) -> None:
        if self.model.pooled:
            raise ValueError("the model has one answer for a sound, and none for each step")
        check_features(self.model, self.settings, self.normalisation)
        has, one = self.model.head.output_size, self.outputs
        check_fit("outputs", has, "symbols and the blank", one, 2 * one)

    @property
    def outputs(self) -> int:
        """How many outputs CTC has: the blank and the symbols."""
        return 1 + len(self.symbols)

    @property
    def timed(self) -> bool:
        """Whether the model has outputs for what each step lies in."""
        return self.model.head.output_size > self.outputs

    def seconds(self, step: float) -> float:
        """Returns the middle of what a step of the model sees, in seconds."""
        first = self.settings.window / 2 + self.settings.hop * (self.model.stack - 1) / 2
        return first + self.settings.hop * self.model.stride * step

    def logits(self, sound: PathLike | Samples, speaker: Speaker | None = None) -> Array:
        """Returns the logits (N, V) of each step of a sound.

        Args:
            sound: a file of any format, or samples (N,) of -1..1 at `settings.rate`.
            speaker: who speaks, `normalisation.speaker()`, if he is heard in several sounds; it
                goes on. None: somebody who was never heard.

        Raises:
            FileNotFoundError, AudioError: the file is not there, or is no audio.
        """
        frames = read_frames(sound, self.settings, speaker or self.normalisation)
        logits: Array = self.model(frames[:, None])[:, 0]
        return logits

    def __call__(self, sound: PathLike | Samples, speaker: Speaker | None = None) -> list[Segment]:
        """Returns what is said, symbol by symbol, with times and probabilities.

        Arguments and errors as of `logits`; memory does not grow with the length of a file.
        """
        if isinstance(sound, np.ndarray):
            return list(self.hear((sound,), speaker=speaker))
        return list(self.hear(audio_blocks(sound, self.settings.rate), speaker=speaker))

    def hear(
        self,
        pieces: Iterable[Samples],
        decode: Callable[[Array], list[Segment]] | None = None,
        *,
        speaker: Speaker | None = None,
    ) -> Iterator[Segment]:
        """Yields what is said in a sound of any length, in constant memory.

        Args:
            pieces: samples (N,) of -1..1 at `settings.rate`, any N.
            decode: from logits (N, V) to segments; None = `segments`. A `WordReader` yields words.
            speaker: as of `logits`.
        """
        decode = self.segments if decode is None else decode
        normalise = speaker or self.normalisation.speaker()
        features, seconds = FeatureStream(self.settings), self.seconds(1) - self.seconds(0)
        logits = stream_logits(
            self.model,
            (normalise(features.push(samples)) for samples in pieces),
            window=round(WINDOW / seconds),
            context=round(CONTEXT / seconds),
        )
        place = 0.0
        for first, part in cut_at_pauses(
            logits,
            self.outputs if self.timed else 0,
            2 * self.outputs if self.timed else self.outputs,
            shortest=round(SHORTEST / seconds),
            longest=round(LONGEST / seconds),
        ):
            for segment in decode(part):
                moved = segment.later(first * seconds)
                yield replace(moved, start=max(moved.start, place))
                place = moved.end

    def segments(self, logits: Array) -> list[Segment]:
        """Returns the most probable symbols of logits (N, V), with their places.

        The search sums over all ways to place the symbols.
        """
        return self.place(logits, best_symbols(logits[:, : self.outputs]))

    def pronunciations(
        self, logits: Array, words: Sequence[Pronunciations]
    ) -> list[tuple[str, ...]]:
        """Returns which of its pronunciations each word has in logits (N, V)."""
        return best_pronunciations(logits[:, : self.outputs], words, self._label)

    @property
    def _label(self) -> dict[str, int]:
        return {symbol: label for label, symbol in enumerate(self.symbols, 1)}

    def align(
        self,
        sound: PathLike | Samples,
        said: Sequence[str],
        *,
        dictionary: Dictionary | None = None,
        speaker: Speaker | None = None,
    ) -> list[Segment]:
        """Returns where in a sound lies what is known to be said: forced alignment.

        Of the pronunciations of each word those are taken that fit the sound best together; a word
        has its phonemes as parts. Memory grows with the square of the length: some minutes will do.

        Args:
            sound: as of `logits`.
            said: the words, in lower case; without a dictionary, symbols of the model.
            dictionary: how the words may be said, in symbols of the model.
            speaker: as of `logits`.

        Raises:
            FileNotFoundError, AudioError: the file is not there, or is no audio.
            ValueError: a word is not in the dictionary, a symbol is not one of the model's, or the
                sound is too short for what is said.
        """
        entries = {s: ((s,),) for s in self.symbols} if dictionary is None else dictionary.entries
        if missing := [word for word in said if word not in entries]:
            raise ValueError(f"it is not known how {missing[0]!r} is said")
        logits, label = self.logits(sound, speaker), self._label
        spoken = self.pronunciations(logits, [entries[word] for word in said])
        if missing := [s for way in spoken for s in way if s not in label]:
            raise ValueError(f"the model does not know the symbol {missing[0]!r}")
        parts = self.place(logits, [label[s] for way in spoken for s in way])
        return parts if dictionary is None else as_words(said, list(map(len, spoken)), parts)

    def place(self, logits: Array, labels: Sequence[int]) -> list[Segment]:
        """Returns where in logits (N, V) a sequence of labels, 1 + symbol, is said.

        The most probable way to place them is taken (Viterbi). Of a model that was trained with
        times, a symbol lasts as long as its steps; of another, CTC says it at some moment, and it
        reaches half-way to the next.

        Raises:
            ValueError: there are too few steps.
        """
        places = aligned(logits[:, self.outputs :] if self.timed else logits, labels)
        first, last = [int(steps[0]) for steps, _ in places], [int(s[-1]) for s, _ in places]
        if self.timed:
            bounds = [
                (self.seconds(a - 0.5), self.seconds(b + 0.5))
                for a, b in zip(first, last, strict=True)
            ]
        else:
            bounds = self._bounds_of_spikes(first, last)
        return [
            Segment(self.symbols[label - 1], start, end, probability)
            for label, (_, probability), (start, end) in zip(labels, places, bounds, strict=True)
        ]

    def _bounds_of_spikes(
        self, first: Sequence[int], last: Sequence[int]
    ) -> list[tuple[float, float]]:
        bounds = []
        for i, (a, b) in enumerate(zip(first, last, strict=True)):
            start, end = max(self.seconds(a) - _REACH, 0.0), self.seconds(b) + _REACH
            if i > 0:
                start = max(start, self.seconds((last[i - 1] + a) / 2))
            if i + 1 < len(first):
                end = min(end, self.seconds((b + first[i + 1]) / 2))
            bounds.append((start, end))
        return bounds


def aligned(logits: Array, labels: Sequence[int]) -> list[tuple[NDArray[np.intp], float]]:
    """Returns where each label is said in logits (N, V), by the most probable way to place all.

    Of each label the steps, and its mean probability in them (Viterbi). ValueError: there are too
    few steps.
    """
    path, scores = functional.ctc_align(logits[:, None], np.array([labels], np.int64))
    if labels and scores[0] == -np.inf:
        raise ValueError(f"a sound of {len(logits)} steps is too short for {len(labels)} symbols")
    probabilities = np.exp(functional.log_softmax(logits.astype(np.float64)))
    places = [np.flatnonzero(path[:, 0] == i) for i in range(len(labels))]
    return [
        (steps, float(probabilities[steps, label].mean()))
        for label, steps in zip(labels, places, strict=True)
    ]


def best_symbols(logits: Array) -> list[int]:
    """Returns the most probable outputs, blanks taken out, of logits (N, 1 + symbols) of CTC."""
    beam = functional.CtcBeam(logits.shape[1], width=WIDTH)
    beam.step(np.ascontiguousarray(logits))
    return beam.spell(beam.prefixes()[0])
