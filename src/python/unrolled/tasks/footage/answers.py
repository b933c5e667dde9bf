"""What a model of video may be asked for; each kind is one class in a file of its own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from unrolled.layers import Layer
from unrolled.models import VideoEncoderConfig
from unrolled.training import Array

from .data import Integers, Reading, Shot, Times

if TYPE_CHECKING:
    from .._video_options import Options

#: The mean loss over so many targets, and the pullback of that mean.
LossPullback = tuple[tuple[float, int], Callable[[float], None]]


class Answer(ABC):
    """One kind of answer: which model, what its targets are, its loss, and what it says.

    Attributes:
        kind: its name on the command line.
        unit: what its loss is the mean over.
    """

    kind: ClassVar[str]
    unit: ClassVar[str]

    @classmethod
    @abstractmethod
    def of(cls, shots: Sequence[Shot], options: "Options") -> "Answer":
        """Learns from training clips what may be said.

        Raises:
            ValueError: they do not say what this kind needs.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Returns JSON-able values for `from_json`."""

    @classmethod
    @abstractmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Answer":
        """Returns the answer that `to_json` described."""

    @abstractmethod
    def build(
        self, encoder: VideoEncoderConfig, options: "Options", rng: np.random.Generator
    ) -> Layer:
        """Returns a new model with such an encoder."""

    @abstractmethod
    def restore(self, config: Mapping[str, Any], weights: Mapping[str, Array]) -> Any:
        """Returns a model from what a checkpoint says."""

    @abstractmethod
    def target(self, shot: Shot, times: Times) -> Any:
        """Returns what the model is to say of a clip whose frames are those of `times` (T,)."""

    @abstractmethod
    def together(self, targets: Sequence[Any]) -> Any:
        """Returns the targets of several clips as the arrays that the loss takes."""

    @abstractmethod
    def loss_vjp(
        self,
        model: Any,
        images: Array,
        lengths: Integers,
        targets: Any,
        rng: np.random.Generator,
    ) -> LossPullback:
        """Returns the training loss of a batch and its pullback."""

    @abstractmethod
    def loss(self, model: Any, images: Array, lengths: Integers, targets: Any) -> tuple[float, int]:
        """Returns the mean loss without dropout, and over how many targets."""

    @abstractmethod
    def read(
        self,
        model: Any,
        images: Array,
        lengths: Integers,
        times: Sequence[Times],
    ) -> list[Reading]:
        """Returns what the model says of each clip."""

    def score(
        self,
        model: Any,
        images: Array,
        lengths: Integers,
        targets: Any,
        times: Sequence[Times],
    ) -> tuple[tuple[float, int], list[Reading]]:
        """Returns `loss`, and `read` where the part of readings that is `wrong` chooses models.

        Where they are chosen by their loss, as here, there are no readings.
        """
        return self.loss(model, images, lengths, targets), []

    def wrong(self, shots: Sequence[Shot], readings: Sequence[Reading]) -> float:
        """Returns the part of the readings of `score` that is wrong."""
        raise NotImplementedError

    @abstractmethod
    def errors(self, shots: Sequence[Shot], readings: Sequence[Reading]) -> Iterator[str]:
        """Yields lines that say how often readings are right."""
