"""A trained model of video, ready for files, arrays and streams."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled import functional
from unrolled.models import CaptionModel, VideoModel
from unrolled.training import Array
from unrolled.video import Frame, Normalisation, Source

from ._fits import check_fit
from .footage.answers import Answer
from .footage.class_answer import ClassAnswer
from .footage.clip_answer import ClipAnswer
from .footage.data import Reading, Times
from .footage.eyes import Eyes

if TYPE_CHECKING:
    from ._video_options import Options

#: Frames that are read and answered together at most: bounds the memory of a long video.
LONGEST = 3000


@dataclass(frozen=True)
class Watcher:
    """A trained model, and all that it takes to use it.

    Attributes:
        model: the network.
        eyes: what is read of a video.
        normalisation: of that.
        answer: what the model was trained to say.
        options: how it was trained.
    """

    model: VideoModel | CaptionModel
    eyes: Eyes
    normalisation: Normalisation
    answer: Answer
    options: "Options"

    def __post_init__(self) -> None:
        has = self.model.encoder.image[-1]
        check_fit("channels", has, "normalisation", len(self.normalisation.mean))

    def __call__(self, source: Source) -> Reading:
        """Returns what the model says of a video.

        Args:
            source: a file that FFmpeg reads, a folder of images, or an array (T, H, W, C) of uint8
                in the size and the colours of the model's frames.

        Raises:
            FileNotFoundError, VideoError: there is no such file, or it is no video.
            ValueError: it has more frames than are answered together; a model that reads forwards
                alone can `stream` it.
        """
        frames = self.eyes.read(source)
        if len(frames.times) > LONGEST:
            raise ValueError(
                f"the video has {len(frames.times):,} frames, and {LONGEST:,} at most are looked "
                "at together: cut it, or stream it through a model trained with --no-bidirectional"
            )
        return self.look(frames.images, frames.times)

    def look(self, frames: Array, times: Times) -> Reading:
        """The same of frames (T, ...) as `Eyes` read them, with their times (T,)."""
        images = self.prepared(frames)
        lengths = np.array([len(images)], np.int64)
        return self.answer.read(self.model, images, lengths, [times])[0]

    def prepared(self, frames: Array) -> Array:
        """Returns frames (T, ...) as the network reads them: their middle, normalised."""
        return self.eyes.prepared(frames, self.model.encoder.image, self.normalisation)

    def stream(self) -> Any:
        """Starts a stream of the model, which takes `prepared` frames; see `VideoStream`.

        Raises:
            ValueError: the model reads backwards too, or writes texts.
        """
        if not isinstance(self.model, VideoModel):
            raise ValueError("a model that writes texts reads the whole clip first: no stream")
        return self.model.stream()

    def watch(self, source: Source) -> Iterator[tuple[float, Array]]:
        """Yields for each frame, as it comes, its time and the probabilities (V,) of the outputs.

        Of a model that answers for clips they are those for the clip so far. Any length will do, in
        constant memory.

        Raises:
            ValueError: the model reads backwards too, writes texts, or is one of sentences.
        """
        if not self.classes:
            raise ValueError(
                f"a model of {self.answer.kind}s is asked for a whole clip: only one of classes, "
                "for a clip or for each frame, says something while it looks"
            )
        stream = self.stream()
        frame: Frame
        for frame in self.eyes.stream(source):
            logits = stream(self.prepared(frame.image[None])[0])
            yield frame.time, np.exp(functional.log_softmax(logits.astype(np.float64)))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of a model of classes, none of another."""
        return self.answer.classes if isinstance(self.answer, ClassAnswer) else ()

    @property
    def about_clips(self) -> bool:
        """Whether the answer is one label for a clip."""
        return isinstance(self.answer, ClipAnswer)
