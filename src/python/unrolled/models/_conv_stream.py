"""A convolutional front end while the sound goes on."""

import copy

import numpy as np

from ..layers._types import Array
from ._acoustic_stream import AcousticStream
from ._conv_front_end import ConvFrontEnd


class ConvStream:
    """An `AcousticStream` of a model whose recurrent layers read a `ConvFrontEnd`.

    It keeps the frames that a later step will see again, fewer than the front end's reach. What a
    step shares with the one before is computed again.

    Args:
        front_end: a copy is kept.
        steps: reads what comes out of it, one step at a time.
        bands: F, of the frames.
    """

    def __init__(self, front_end: ConvFrontEnd, steps: AcousticStream, bands: int) -> None:
        self._front_end, self._steps = copy.deepcopy(front_end), steps
        self._held = np.empty((0, bands), front_end.dtype)

    def __call__(self, frames: Array) -> Array:
        """Takes the next frames (T, F); returns the outputs (N, H) of steps now complete."""
        if frames.ndim != 2 or frames.shape[1] != self._held.shape[1]:
            raise ValueError(
                "[AcousticStream] expected frames of shape (T, F) = "
                f"(T, {self._held.shape[1]}), got {frames.shape}"
            )
        held, front_end = np.concatenate([self._held, frames]), self._front_end
        steps = max((len(held) - front_end.reach) // front_end.stride + 1, 0)
        self._held = held[steps * front_end.stride :].copy()
        return self._steps(front_end(held[:, None])[:, 0])

    def reset(self) -> None:
        """Begins anew: the next frame is the first of another sound."""
        self._steps.reset()
        self._held = self._held[:0]
