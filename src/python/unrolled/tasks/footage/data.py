"""Clips as arrays, and what is to be said of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.training import Array

from .._utterances import Segment

Integers = NDArray[np.int64]
Times = NDArray[np.float64]


@dataclass(frozen=True)
class Shot:
    """A clip, and what people say of it; an empty label, text or tuple is not known.

    Shapes: T frames, H, W, C height, width and channels.

    Attributes:
        name: for people.
        times: (T,) when each frame is shown, in seconds.
        read: returns the frames, (T, H, W, C) uint8, or (T, ...) float32 that a frozen network made
            of them. Thousands of clips are not held at once.
        label: its class.
        text: about it.
        segments: what happens from when to when.
    """

    name: str
    times: Times
    read: Callable[[], NDArray[Any]]
    label: str = ""
    text: str = ""
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Clips one after the other, as models read them.

    Shapes: B clips, N frames of all together.

    Attributes:
        images: (N, H, W, C), or (N, F), normalised.
        lengths: (B,) frames of each.
        targets: what the answer to each is; an `Answer` made it.
    """

    images: Array
    lengths: Integers
    targets: Any


@dataclass(frozen=True)
class Reading:
    """What a model says of a clip.

    Shapes: T frames, V rows.

    Attributes:
        text: the label, the sentence or the caption.
        probability: of it, 0..1.
        names: what the rows are: classes, symbols or words of the caption.
        rows: (V, T) the probability of each in each frame, or where each word looked.
        segments: what is seen from when to when, where that is known.
        others: other labels or texts with their probabilities, the best first.
    """

    text: str
    probability: float
    names: tuple[str, ...]
    rows: Array
    segments: tuple[Segment, ...] = ()
    others: tuple[tuple[str, float], ...] = ()
