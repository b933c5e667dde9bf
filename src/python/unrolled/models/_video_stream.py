"""A model of video while the pictures come."""

from typing import Any

import numpy as np

from ..layers import Linear, Stream
from ..layers._types import Array
from ._video_encoder import VideoEncoder


class VideoStream:
    """Frames as they come in, an answer for each of them out::

        stream = model.stream()
        for frame in camera:                # (H, W, C) each
            logits = stream(frame)          # (V,)

    The state carries on for as long as frames come, in constant memory. The answers are those of
    the model over all frames at once, within rounding; of a pooled model, those for the clip so
    far.

    Args:
        encoder: of the model; its weights are copied.
        head: of the model.
        pooled: see `VideoModel`.

    Raises:
        ValueError: the encoder reads backwards too.
    """

    def __init__(self, encoder: VideoEncoder, head: Linear, *, pooled: bool) -> None:
        if encoder.rnn.num_directions > 1:
            raise ValueError(
                "[VideoModel] a bidirectional model needs the whole clip: only one that reads "
                "forwards can be streamed"
            )
        self._image, self._context = encoder.image, encoder.context
        self._look = encoder.packed()
        self._rnn: Stream[Any] = encoder.rnn.stream(1)
        self._head = head.packed()
        self._pooled = pooled
        self._frames: list[Array] = []
        self._sum = np.zeros((1, encoder.output_size), encoder.dtype)
        self.count = 0

    def __call__(self, frame: Array) -> Array:
        """Returns the logits (V,) after one more frame (H, W, C), or (F,) of features."""
        if frame.shape != self._image:
            raise ValueError(f"[VideoStream] expected a frame {self._image}, got {frame.shape}")
        self._frames = [*self._frames, frame][-self._context :]
        missing = self._context - len(self._frames)
        seen = np.concatenate([self._frames[0]] * missing + self._frames, axis=-1)
        hidden = self._rnn(self._look(seen[None]))
        self.count += 1
        if self._pooled:
            self._sum += hidden
            hidden = self._sum / self._sum.dtype.type(self.count)
        logits: Array = self._head(hidden)[0]
        return logits
