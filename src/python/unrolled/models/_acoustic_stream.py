"""An acoustic model while the sound goes on."""

from collections.abc import Callable, Iterable

import numpy as np

from ..layers import Recurrent, Stream
from ..layers._types import Array

#: What the recurrent layers read, (1, K) for each step, of frames (T, F).
#: The last of them may be too few for another step.
See = Callable[[Array], Iterable[Array]]


class AcousticStream:
    """Frames in, outputs of the recurrent layers out, as soon as a step sees all of its frames.

    ::

        stream = model.stream()
        for frames in pieces:                        # (T, F) each, any T
            hidden = stream(frames)                  # (N, H), N may be 0

    Bit for bit the outputs that the model has over the whole sequence. Memory does not grow with
    its length: frames are kept that a later step will see again, and what such a step shares with
    the one before is computed again. The parameters are a snapshot of the model's at the creation;
    a stream serves one caller.

    Shapes: T frames, F features, N steps, K features of a step, H hidden.

    Args:
        rnn: the recurrent layers.
        see: what they read.
        features: F.
        reach: frames that a step sees.
        stride: frames from step to step.
    """

    def __init__(
        self, rnn: "Recurrent[object]", see: See, *, features: int, reach: int, stride: int
    ) -> None:
        self._see, self._reach, self._stride = see, reach, stride
        self._rnn: Stream[object] = rnn.stream(1)
        self._held = np.empty((0, features), rnn.dtype)  # frames that a later step will see
        self._width = rnn.output_size

    def __call__(self, frames: Array) -> Array:
        """Takes the next frames; returns the outputs of the steps that are now complete."""
        features = self._held.shape[1]
        if frames.ndim != 2 or frames.shape[1] != features:
            raise ValueError(
                f"[AcousticStream] expected frames of shape (T, F) = (T, {features}), "
                f"got {frames.shape}"
            )
        held = np.concatenate([self._held, frames])
        steps = max((len(held) - self._reach) // self._stride + 1, 0)
        hidden = np.empty((steps, self._width), held.dtype)
        for step, seen in enumerate(self._see(held)):
            self._rnn(seen, out=hidden[step : step + 1])
        self._held = held[steps * self._stride :].copy()
        return hidden

    def reset(self) -> None:
        """Begins anew: the next frame is the first of another sound."""
        self._rnn.reset()
        self._held = self._held[:0]


def side_by_side(stack: int, stride: int) -> See:
    """Returns what steps see of frames alone: `stack` of them, every `stride`."""

    def see(frames: Array) -> Iterable[Array]:
        for start in range(0, len(frames) - stack + 1, stride):
            yield frames[start : start + stack].reshape(1, -1)

    return see
