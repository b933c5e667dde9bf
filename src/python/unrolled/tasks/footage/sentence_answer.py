"""A sentence in the order in which it is said, as in lip reading: CTC."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from unrolled import functional
from unrolled.layers._place import move
from unrolled.models import VideoModel
from unrolled.training import Array, pad_sequences

from .._edit_distance import error_rate
from .._recogniser import aligned
from .._speech_loss import speech_loss_vjp
from .._utterances import Segment, labels_at
from .class_answer import classes_of
from .data import Integers, Reading, Shot, Times
from .logits_answer import LogitsAnswer
from .successions import Successions

if TYPE_CHECKING:
    from .._video_options import Options


@dataclass(frozen=True)
class Sentences:
    """What is said in clips side by side.

    Shapes: B clips, S symbols, T frames. Labels are 1 + symbol, as the outputs of CTC.

    Attributes:
        labels: (B, S).
        counts: (B,).
        places: (T, B) the label that is said in each frame, 0 in pauses; -1 where it is not known.
    """

    labels: Integers
    counts: Integers
    places: Integers


@dataclass(frozen=True)
class SentenceAnswer(LogitsAnswer):
    """What is said, symbol by symbol; a frame that says nothing new says the blank.

    Connectionist temporal classification learns from the sequence alone. Where clips say when each
    symbol begins and ends, further outputs learn which one each frame lies in: pictures of lips
    hardly tell a sound from its neighbours, and this is what training begins to learn from.

    Attributes:
        symbols: words or characters.
        spelled: whether they are characters.
        timed: whether the model has outputs for what each frame lies in.
        successions: which symbols followed each other in training.
        weight: what they count in the search.
    """

    kind: ClassVar[str] = "sentence"
    unit: ClassVar[str] = "symbols"

    symbols: tuple[str, ...]
    spelled: bool
    timed: bool
    successions: Successions
    weight: float

    @classmethod
    def of(cls, shots: Sequence[Shot], options: "Options") -> "SentenceAnswer":
        """The words or the characters of the texts."""
        spelled = options.tokens == "char"
        said = [symbol for shot in shots for symbol in _cut(shot.text, spelled)]
        symbols = classes_of(said, "symbol of a text")
        label = {symbol: place for place, symbol in enumerate(symbols, 1)}
        sentences = [[label[each] for each in _cut(shot.text, spelled)] for shot in shots]
        successions = Successions.of(sentences, 1 + len(symbols))
        timed = not spelled and any(shot.segments for shot in shots)
        return cls(symbols, spelled, timed, successions, options.grammar)

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return {
            "symbols": list(self.symbols),
            "spelled": self.spelled,
            "timed": self.timed,
            "successions": self.successions.to_json(),
            "weight": self.weight,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SentenceAnswer":
        """From the fields."""
        symbols = tuple(values["symbols"])
        return cls(
            symbols,
            bool(values["spelled"]),
            bool(values["timed"]),
            Successions.from_json(values["successions"], 1 + len(symbols)),
            float(values["weight"]),
        )

    @property
    def outputs(self) -> int:
        """How many outputs CTC has: the blank and the symbols."""
        return 1 + len(self.symbols)

    @property
    def width(self) -> int:
        """These outputs; twice, with times."""
        return (2 if self.timed else 1) * self.outputs

    def target(self, shot: Shot, times: Times) -> tuple[Integers, Integers]:
        """The labels, and that of each frame; what was not learnt is left out."""
        label = {symbol: place for place, symbol in enumerate(self.symbols, 1)}
        said = [label[s] for s in _cut(shot.text, self.spelled) if s in label]
        segments = shot.segments if self.timed else ()
        return np.array(said, np.int64), labels_at(segments, times, label)

    def together(self, targets: Sequence[tuple[Integers, Integers]]) -> Sentences:
        """Puts the labels of clips side by side."""
        labels, counts = pad_sequences([said for said, _ in targets])
        places, _ = pad_sequences([each for _, each in targets], value=-1)
        return Sentences(np.ascontiguousarray(labels.T), counts, places)

    def logits_loss_vjp(
        self, logits: Array, lengths: Integers, targets: Sentences
    ) -> tuple[tuple[float, int], Callable[[float], Array]]:
        """CTC and, where times are known, a cross-entropy of each frame; see `SpeechLoss`."""
        loss, pullback = speech_loss_vjp(
            logits, lengths, targets.labels, targets.counts, targets.places, self.outputs
        )
        return (loss.mean, loss.symbols), pullback

    def read(
        self,
        model: VideoModel,
        images: Array,
        lengths: Integers,
        times: Sequence[Times],
    ) -> list[Reading]:
        """The most probable sentences; the search sums over all ways to place the symbols."""
        return self._read(model(images, lengths), lengths, times)

    def score(
        self,
        model: VideoModel,
        images: Array,
        lengths: Integers,
        targets: Any,
        times: Sequence[Times],
    ) -> tuple[tuple[float, int], list[Reading]]:
        """Both of one look at the clips: the loss of CTC grows where the model is sure."""
        logits = model(images, lengths)
        loss, _ = self.logits_loss_vjp(logits, lengths, targets)
        return loss, self._read(logits, lengths, times)

    def _read(self, logits: Array, lengths: Integers, times: Sequence[Times]) -> list[Reading]:
        logits = move(logits, "cpu")
        readings = []
        for row, (length, shown) in enumerate(zip(lengths, times, strict=True)):
            mine = np.ascontiguousarray(logits[:length, row])
            if not length:
                readings.append(Reading("", 0.0, (), np.zeros((0, 0), mine.dtype)))
                continue
            ctc = np.ascontiguousarray(mine[:, : self.outputs])
            labels = self.successions.search(ctc, self.weight)
            losses = functional.ctc_loss(ctc[:, None], np.array([labels], np.int64))
            placed = np.ascontiguousarray(mine[:, -self.outputs :])
            p = np.exp(functional.log_softmax(placed.astype(np.float64)))
            segments = self._placed(placed, labels, shown)
            text = ("" if self.spelled else " ").join(self.symbols[i - 1] for i in labels)
            kinds = sorted(set(labels))
            readings.append(
                Reading(
                    text,
                    float(np.exp(-losses[0])),
                    tuple(self.symbols[i - 1] for i in kinds),
                    np.ascontiguousarray(p[:, kinds].T),
                    segments,
                )
            )
        return readings

    def _placed(self, logits: Array, labels: Sequence[int], times: Times) -> tuple[Segment, ...]:
        """Where each symbol is said, by the most probable way to place all of them."""
        step = float(times[-1] - times[0]) / max(len(times) - 1, 1)
        return tuple(
            Segment(
                self.symbols[label - 1],
                float(times[frames[0]]),
                float(times[frames[-1]]) + step,
                sure,
            )
            for label, (frames, sure) in zip(labels, aligned(logits, labels), strict=True)
        )

    def wrong(self, shots: Sequence[Shot], readings: Sequence[Reading]) -> float:
        """The word error rate: the loss of CTC grows where it is sure of what is wrong."""
        said = [shot.text.split() for shot in shots]
        return error_rate(said, [reading.text.split() for reading in readings])

    def errors(self, shots: Sequence[Shot], readings: Sequence[Reading]) -> Iterator[str]:
        """Word and sentence accuracy; of characters, their error rate too."""
        said = [shot.text.split() for shot in shots]
        seen = [reading.text.split() for reading in readings]
        exact = sum(a == b for a, b in zip(said, seen, strict=True))
        if self.spelled:
            letters = error_rate(
                [list(shot.text) for shot in shots], [list(r.text) for r in readings]
            )
            yield f"characters {letters:.2%} wrong"
        yield f"words      {1.0 - self.wrong(shots, readings):.2%} right, of {len(said):,} clips"
        yield f"sentences  {exact / max(len(said), 1):.2%} exact"


def _cut(text: str, spelled: bool) -> list[str]:
    return list(" ".join(text.split())) if spelled else text.split()
