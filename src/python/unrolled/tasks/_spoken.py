"""Utterances as arrays: features, what is said in them, and where."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from unrolled.audio import (
    Features,
    FeatureSettings,
    Normalisation,
    Speaker,
    extract_features,
    read_audio,
)
from unrolled.layers._place import move
from unrolled.training import Array, pad_sequences

from ._pronounced import best_pronunciations
from ._speakers import normalised, speakers_before
from ._utterances import Pronunciations, Segment, Utterance, labels_at
from ._watch import watched


@dataclass(frozen=True)
class Spoken:
    """Utterances as features, and what is said in each.

    Attributes:
        frames: (T, F) of each.
        symbols: the symbols of each.
        segments: the same with times; none of an utterance whose times are not known.
        words: the words of each; none where they are not known.
        alternatives: of the words of each how they may be said; none where the symbols are known.
        speakers: the name of the speaker of each; None: not known.
        before: what is known of the speaker when each begins; None: nothing.
    """

    frames: Sequence[Features]
    symbols: Sequence[Sequence[str]]
    segments: Sequence[Sequence[Segment]]
    words: Sequence[Sequence[str]]
    alternatives: Sequence[Sequence[Pronunciations]]
    speakers: Sequence[str | None]
    before: Sequence[Speaker | None]

    @classmethod
    def of(cls, utterances: Sequence[Utterance], settings: FeatureSettings) -> "Spoken":
        """Reads the sounds of utterances; raises as `read_audio`."""
        return cls(
            [
                extract_features(read_audio(each.path, settings.rate), settings)
                for each in watched(utterances, "features")
            ],
            [each.symbols for each in utterances],
            [each.segments for each in utterances],
            [each.words for each in utterances],
            [each.alternatives for each in utterances],
            [each.speaker for each in utterances],
            [None] * len(utterances),
        )

    def meet(self, normalisation: Normalisation) -> "Spoken":
        """Hears all utterances; returns them with what a normalisation knows before each."""
        return replace(self, before=speakers_before(normalisation, self.frames, self.speakers))

    @property
    def known(self) -> tuple[str, ...]:
        """All symbols that may be said, in order."""
        ways = (way for words in self.alternatives for word in words for way in word)
        return tuple(sorted(set(chain.from_iterable(chain(self.symbols, ways)))))

    def rows(self, chosen: Sequence[int]) -> "Spoken":
        """Some of them."""
        return Spoken(*([getattr(self, own.name)[i] for i in chosen] for own in fields(self)))

    def chained(self, length: int, hop: float) -> "Spoken":
        """Every `length` utterances after each other as one; the last may be shorter.

        Where the times of one are not known, those of the chain are not. Its speaker is the first.
        """
        rows = range(len(self.frames))
        chains = [self.rows(rows[i : i + length]) for i in rows[::length]]
        return Spoken(
            [np.concatenate(each.frames) for each in chains],
            [list(chain.from_iterable(each.symbols)) for each in chains],
            [each._in_a_row(hop) for each in chains],
            [list(chain.from_iterable(each.words)) for each in chains],
            [list(chain.from_iterable(each.alternatives)) for each in chains],
            [each.speakers[0] for each in chains],
            [each.before[0] for each in chains],
        )

    def _in_a_row(self, hop: float) -> list[Segment]:
        if not all(self.segments):
            return []
        lengths = [len(frames) * hop for frames in self.frames]
        starts = np.cumsum([0.0, *lengths[:-1]]).tolist()
        return [
            segment.later(start)
            for start, segments in zip(starts, self.segments, strict=True)
            for segment in segments
        ]


@dataclass(frozen=True)
class Batch:
    """Utterances side by side.

    Shapes: T frames, B utterances, F features, S symbols. Labels are outputs of the model, 1 +
    symbol.

    Attributes:
        frames: (T, B, F) normalised features, zero behind the end of each.
        lengths: (B,) frames of each.
        labels: (B, S) what is said, of words with several pronunciations the usual one.
        counts: (B,) symbols of each.
        alternatives: as of `Spoken`.
        places: (T, B) the label that is said in each frame, 0 in pauses; -1 where it is not known.
    """

    frames: Array
    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]
    counts: NDArray[np.int64]
    alternatives: Sequence[Sequence[Pronunciations]]
    places: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        spoken: Spoken,
        symbols: Sequence[str],
        settings: FeatureSettings,
        normalisation: Normalisation,
    ) -> "Batch":
        """Puts utterances side by side; what is not among `symbols` is left out."""
        label = {symbol: place for place, symbol in enumerate(symbols, 1)}
        frames, lengths = pad_sequences(
            [
                normalised(each, speaker, normalisation)
                for each, speaker in zip(spoken.frames, spoken.before, strict=True)
            ]
        )
        said = [[label[symbol] for symbol in row if symbol in label] for row in spoken.symbols]
        labels, counts = pad_sequences([np.array(row, np.int64) for row in said])
        middle = settings.window / 2  # of a frame
        places, _ = pad_sequences(
            [
                labels_at(segments, middle + settings.hop * np.arange(float(len(each))), label)
                for each, segments in zip(spoken.frames, spoken.segments, strict=True)
            ],
            value=-1,
        )
        padded = np.ascontiguousarray(labels.T)
        return cls(frames, lengths, padded, counts, spoken.alternatives, places)

    def fitting(
        self, logits: Array, steps: NDArray[np.int64], symbols: Sequence[str]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns `labels` and `counts` with the pronunciation of each word that fits best.

        Args:
            logits: (N, B, V) of CTC.
            steps: (B,) of each utterance.
            symbols: as of `of`.
        """
        if not any(self.alternatives):
            return self.labels, self.counts
        logits = move(logits, "cpu")
        label = {symbol: place for place, symbol in enumerate(symbols, 1)}
        rows = []
        for row, words in enumerate(self.alternatives):
            spoken = self.labels[row, : self.counts[row]]
            if words:
                ways = best_pronunciations(logits[: steps[row], row], words, label)
                said = [label[s] for way in ways for s in way if s in label]
                spoken = np.array(said, np.int64)
            rows.append(spoken)
        labels, counts = pad_sequences(rows)
        return np.ascontiguousarray(labels.T), counts

    def step_places(self, steps: NDArray[np.int64], stack: int, stride: int) -> NDArray[np.int64]:
        """Returns `places` (N, B) in the middle frame of each step of a model.

        Args:
            steps: (B,) how many steps each utterance has.
            stack: frames that a step sees.
            stride: frames from step to step.
        """
        count = int(steps.max(initial=0))
        middle = stride * np.arange(count) + (stack - 1) // 2
        places = self.places[np.minimum(middle, len(self.places) - 1)]
        return np.where(np.arange(count)[:, None] < steps, places, -1)
