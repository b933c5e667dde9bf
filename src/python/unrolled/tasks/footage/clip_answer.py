"""One label for a clip."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from unrolled import functional
from unrolled.layers._place import move
from unrolled.models import VideoModel
from unrolled.training import Array, cross_entropy_vjp

from .class_answer import ClassAnswer, classes_of
from .data import Integers, Reading, Shot, Times

if TYPE_CHECKING:
    from .._video_options import Options


class ClipAnswer(ClassAnswer):
    """Which of a few classes a clip is: one answer for the mean of all frames."""

    kind: ClassVar[str] = "clip"
    unit: ClassVar[str] = "clips"
    pooled: ClassVar[bool] = True

    @classmethod
    def of(cls, shots: Sequence[Shot], options: "Options") -> "ClipAnswer":
        """The labels of the clips."""
        return cls(classes_of([shot.label for shot in shots], "label"))

    def target(self, shot: Shot, times: Times) -> int:
        """The class, -1 if it is not among those that were learnt."""
        return self.classes.index(shot.label) if shot.label in self.classes else -1

    def together(self, targets: Sequence[int]) -> Integers:
        """(B,)."""
        return np.array(targets, np.int64)

    def logits_loss_vjp(
        self, logits: Array, lengths: Integers, targets: Integers
    ) -> tuple[tuple[float, int], Callable[[float], Array]]:
        """Cross-entropy of the class."""
        return cross_entropy_vjp(logits, targets)

    def read(
        self,
        model: VideoModel,
        images: Array,
        lengths: Integers,
        times: Sequence[Times],
    ) -> list[Reading]:
        """The best class of each clip; its rows are what each frame by itself speaks for."""
        hidden, _ = model.encoder(images, lengths)
        steps = np.exp(functional.log_softmax(move(model.head(hidden), "cpu").astype(np.float64)))
        outputs = move(model.outputs(hidden, lengths), "cpu")
        wholes = functional.log_softmax(outputs.astype(np.float64))
        readings = []
        for row, (log_p, length) in enumerate(zip(wholes, lengths, strict=True)):
            ranked = [
                (self.classes[place], float(np.exp(log_p[place])))
                for place in np.argsort(-log_p, kind="stable")
            ]
            rows = np.ascontiguousarray(steps[:length, row].T)
            readings.append(Reading(*ranked[0], self.classes, rows, others=tuple(ranked[1:])))
        return readings

    def errors(self, shots: Sequence[Shot], readings: Sequence[Reading]) -> Iterator[str]:
        """The share of clips whose class is right."""
        right = sum(a.label == b.text for a, b in zip(shots, readings, strict=True))
        yield f"right      {right / max(len(readings), 1):.2%} of {len(readings):,} clips"
