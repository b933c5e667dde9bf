"""Which part of a frame the network reads."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray


def inner(frames: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Returns the middle (T, H, W, C) of frames that are larger, as those with a margin; a view.

    Args:
        frames: (T, H', W', C), or features (T, F), which stay as they are.
        shape: (H, W, C), or (F,).
    """
    if frames.ndim != 4:
        return frames
    top, left = (frames.shape[1] - shape[0]) // 2, (frames.shape[2] - shape[1]) // 2
    return frames[:, top : top + shape[0], left : left + shape[1]]
