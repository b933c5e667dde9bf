"""Answers that are read off the logits of a model: of each frame, or of the clip."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from unrolled.models import VideoEncoderConfig, VideoModel
from unrolled.training import Array

from .answers import Answer, LossPullback
from .data import Integers

if TYPE_CHECKING:
    from .._video_options import Options


class LogitsAnswer(Answer):
    """An answer of a `VideoModel`, whose loss is one of its logits.

    Attributes:
        pooled: whether there is one answer for a clip rather than one for each frame.
    """

    pooled: ClassVar[bool] = False

    @property
    @abstractmethod
    def width(self) -> int:
        """How many outputs the model has."""

    @abstractmethod
    def logits_loss_vjp(
        self, logits: Array, lengths: Integers, targets: Any
    ) -> tuple[tuple[float, int], Callable[[float], Array]]:
        """Returns the mean loss, over how many targets, and the pullback dloss -> dlogits."""

    def build(
        self, encoder: VideoEncoderConfig, options: "Options", rng: np.random.Generator
    ) -> VideoModel:
        """An affine map of what the encoder says."""
        return VideoModel(encoder, self.width, pooled=self.pooled, rng=rng)

    def restore(self, config: Mapping[str, Any], weights: Mapping[str, Array]) -> VideoModel:
        """The model of a checkpoint."""
        return VideoModel.from_parameters(config, weights)

    def loss_vjp(
        self,
        model: VideoModel,
        images: Array,
        lengths: Integers,
        targets: Any,
        rng: np.random.Generator,
    ) -> LossPullback:
        """The loss of the logits, with dropout."""
        logits, pullback = model.vjp(images, lengths, rng=rng)
        loss, loss_pullback = self.logits_loss_vjp(logits, lengths, targets)
        return loss, lambda dloss: pullback(loss_pullback(dloss))

    def loss(
        self, model: VideoModel, images: Array, lengths: Integers, targets: Any
    ) -> tuple[float, int]:
        """The same without dropout."""
        return self.logits_loss_vjp(model(images, lengths), lengths, targets)[0]
