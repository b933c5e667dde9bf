"""An acoustic model while the sound goes on."""

import numpy as np

from ..layers import Recurrent, Stream
from ..layers._types import Array


class AcousticStream:
    """Frames in, outputs of the recurrent layers out, as soon as a step sees all of its frames.

    ::

        stream = model.stream()
        for frames in pieces:                        # (T, F) each, any T
            hidden = stream(frames)                  # (N, H), N may be 0

    Bit for bit the outputs that the model has over the whole sequence. Memory does not grow with
    its length. The parameters are a snapshot of the model's at the creation; a stream serves one
    caller.

    Shapes: T frames, F features, N steps, H hidden.
    """

    def __init__(self, rnn: "Recurrent[object]", stack: int, stride: int) -> None:
        self._stack, self._stride = stack, stride
        self._size = rnn.input_size // stack
        self._rnn: Stream[object] = rnn.stream(1)
        self._held = np.empty((0, self._size), rnn.dtype)  # frames that a later step will see
        self._width = rnn.output_size

    def __call__(self, frames: Array) -> Array:
        """Takes the next frames; returns the outputs of the steps that are now complete."""
        if frames.ndim != 2 or frames.shape[1] != self._size:
            raise ValueError(
                f"[AcousticStream] expected frames of shape (T, F) = (T, {self._size}), "
                f"got {frames.shape}"
            )
        held = np.concatenate([self._held, frames])
        steps = max((len(held) - self._stack) // self._stride + 1, 0)
        hidden = np.empty((steps, self._width), held.dtype)
        for step in range(steps):
            start = step * self._stride
            seen = held[start : start + self._stack].reshape(1, -1)
            self._rnn(seen, out=hidden[step : step + 1])
        self._held = held[steps * self._stride :].copy()
        return hidden

    def reset(self) -> None:
        """Begins anew: the next frame is the first of another sound."""
        self._rnn.reset()
        self._held = self._held[:0]
