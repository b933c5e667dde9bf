"""Pixels brought to about mean 0 and deviation 1: the figures of `Normalisation` for channels."""

from collections.abc import Iterable

import numpy as np

from ..audio import Normalisation
from ._scaling import Images

#: Levels by which pixels of a channel differ at least, so that a black one is not blown up.
_LEAST_DEVIATION = 1.0


def fixed_normalisation(channels: int) -> Normalisation:
    """Returns (x - 127) / 128 for each channel, as networks from TensorFlow were trained with."""
    return Normalisation(np.full(channels, 127, np.float32), np.full(channels, 128, np.float32))


def imagenet_normalisation() -> Normalisation:
    """Returns the figures of ImageNet's photographs, red, green and blue.

    Source: those that torchvision states for its pretrained networks, times 255.
    """
    figures = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32) * np.float32(255)
    return Normalisation(figures[0], figures[1])


def measured_normalisation(clips: Iterable[Images]) -> Normalisation:
    """Returns the figures of all pixels of clips (T, H, W, C) together.

    Raises:
        ValueError: there is no pixel.
    """
    pixels = (np.reshape(clip, (-1, clip.shape[-1])) for clip in clips)
    measured = Normalisation.of(pixels)
    return Normalisation(measured.mean, np.maximum(measured.deviation, _LEAST_DEVIATION))
