"""One label for a clip."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from unrolled import functional
from unrolled.models import VideoEncoderConfig, VideoModel
from unrolled.training import Array, cross_entropy_vjp

from .answers import Answer, LossPullback, classes_of
from .data import Integers, Reading, Shot, Times

if TYPE_CHECKING:
    from ..video import Options


@dataclass(frozen=True)
class ClipAnswer(Answer):
    """Which of a few classes a clip is.

    Attributes:
        classes: their names.
    """

    kind: ClassVar[str] = "clip"
    unit: ClassVar[str] = "clips"

    classes: tuple[str, ...]

    @classmethod
    def of(cls, shots: Sequence[Shot], options: "Options") -> "ClipAnswer":
        """The labels of the clips."""
        return cls(classes_of([shot.label for shot in shots], "label"))

    def to_json(self) -> dict[str, Any]:
        """The classes."""
        return {"classes": list(self.classes)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ClipAnswer":
        """From the classes."""
        return cls(tuple(values["classes"]))

    def build(
        self, encoder: VideoEncoderConfig, options: "Options", rng: np.random.Generator
    ) -> VideoModel:
        """One answer for the mean of all frames."""
        return VideoModel(encoder, len(self.classes), pooled=True, rng=rng)

    def restore(self, config: Mapping[str, Any], weights: Mapping[str, Array]) -> VideoModel:
        """The model of a checkpoint."""
        return VideoModel.from_parameters(config, weights)

    def target(self, shot: Shot, times: Times) -> int:
        """The class, -1 if it is not among those that were learnt."""
        label = shot.label
        return self.classes.index(label) if label in self.classes else -1

    def together(self, targets: Sequence[int]) -> Integers:
        """(B,)."""
        return np.array(targets, np.int64)

    def loss_vjp(
        self,
        model: VideoModel,
        images: Array,
        lengths: Integers,
        targets: Integers,
        rng: np.random.Generator,
    ) -> LossPullback:
        """Cross-entropy of the class."""
        logits, pullback = model.vjp(images, lengths, rng=rng)
        loss, loss_pullback = cross_entropy_vjp(logits, targets)
        return loss, lambda dloss: pullback(loss_pullback(dloss))

    def loss(
        self, model: VideoModel, images: Array, lengths: Integers, targets: Integers
    ) -> tuple[float, int]:
        """The same without dropout."""
        return cross_entropy_vjp(model(images, lengths), targets)[0]

    def read(
        self,
        model: VideoModel,
        images: Array,
        lengths: Integers,
        times: Sequence[Times],
    ) -> list[Reading]:
        """The best class of each clip; its rows are what each frame by itself speaks for."""
        hidden, _ = model.encoder(images, lengths)
        steps = np.exp(functional.log_softmax(model.head(hidden).astype(np.float64)))
        wholes = functional.log_softmax(model(images, lengths).astype(np.float64))
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
