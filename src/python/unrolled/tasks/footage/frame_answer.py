"""A label for each frame."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from unrolled import functional
from unrolled.layers._place import move
from unrolled.models import VideoModel
from unrolled.training import Array, cross_entropy_vjp, pad_sequences

from .._utterances import Segment, labels_at
from .class_answer import ClassAnswer
from .data import Integers, Reading, Shot, Times

if TYPE_CHECKING:
    from .._video_options import Options

#: What a frame is called in which nothing happens.
NOTHING = "_nothing_"


class FrameAnswer(ClassAnswer):
    """What happens in each frame; the first class is nothing."""

    kind: ClassVar[str] = "frame"
    unit: ClassVar[str] = "frames"

    @classmethod
    def of(cls, shots: Sequence[Shot], options: "Options") -> "FrameAnswer":
        """What happens in the clips."""
        symbols = [segment.symbol for shot in shots for segment in shot.segments]
        if not symbols:
            raise ValueError(
                "there are no times in the training clips: --answer frame needs to know what "
                "happens from when to when"
            )
        return cls((NOTHING, *sorted(set(symbols) - {NOTHING})))

    def target(self, shot: Shot, times: Times) -> Integers:
        """(T,) the class of each frame, -1 where it is not known."""
        label = {name: place for place, name in enumerate(self.classes)}
        return labels_at(shot.segments, times, label)

    def together(self, targets: Sequence[Integers]) -> Integers:
        """(T, B)."""
        return pad_sequences(targets, value=-1)[0]

    def logits_loss_vjp(
        self, logits: Array, lengths: Integers, targets: Integers
    ) -> tuple[tuple[float, int], Callable[[float], Array]]:
        """Cross-entropy of each frame."""
        flat = logits.reshape(-1, logits.shape[2])
        loss, pullback = cross_entropy_vjp(flat, targets.reshape(-1))
        return loss, lambda dloss: pullback(dloss).reshape(logits.shape)

    def read(
        self,
        model: VideoModel,
        images: Array,
        lengths: Integers,
        times: Sequence[Times],
    ) -> list[Reading]:
        """What is seen, one after the other, with its times."""
        logits = move(model(images, lengths), "cpu")
        p = np.exp(functional.log_softmax(logits.astype(np.float64)))
        readings = []
        for row, (length, shown) in enumerate(zip(lengths, times, strict=True)):
            rows = np.ascontiguousarray(p[:length, row].T)
            best = rows.argmax(axis=0)
            segments = tuple(self._segments(best, rows, shown))
            text = " ".join(segment.symbol for segment in segments)
            sure = float(rows[best, np.arange(length)].mean()) if length else 0.0
            readings.append(Reading(text, sure, self.classes, rows, segments))
        return readings

    def _segments(self, best: Integers, rows: Array, times: Times) -> Iterator[Segment]:
        """Runs of frames of one class, but for nothing."""
        ends = np.append(times[1:], times[-1:] + _step(times))
        for place, group in groupby(range(len(best)), key=lambda t: int(best[t])):
            frames = list(group)
            if place:
                sure = float(rows[place, frames].mean())
                first, last = float(times[frames[0]]), float(ends[frames[-1]])
                yield Segment(self.classes[place], first, last, sure)

    def errors(self, shots: Sequence[Shot], readings: Sequence[Reading]) -> Iterator[str]:
        """The share of frames whose class is right."""
        right = count = 0
        for shot, reading in zip(shots, readings, strict=True):
            truth = self.target(shot, shot.times)
            known = truth >= 0
            right += int((reading.rows.argmax(axis=0) == truth)[known].sum())
            count += int(known.sum())
        yield f"right      {right / max(count, 1):.2%} of {count:,} frames"


def _step(times: Times) -> float:
    """How long a frame is shown, in the median."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.04
