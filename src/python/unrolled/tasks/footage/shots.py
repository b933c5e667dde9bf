"""From files to shots: what is seen of each clip is kept on disk, and read when it is needed."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.video import FrameCache, FrameSettings, read_frames

from .._video_clips import VideoClip
from .._video_demo import RATE, SIDE, demo_clip
from .._watch import watched
from .data import Shot
from .eyes import Eyes


def look_at(clips: Sequence[VideoClip], eyes: Eyes, folder: str | None) -> list[Shot]:
    """Returns shots of clips; a bar is shown while what is not in the cache is computed.

    Args:
        clips: which ones.
        eyes: what is read of them.
        folder: of the cache; None = the user's.

    Raises:
        FileNotFoundError, VideoError: a file is not there, or is no video.
    """
    cache = eyes.cache(folder)
    return [_shot(clip, cache) for clip in watched(clips, "frames")]


def _shot(clip: VideoClip, cache: FrameCache) -> Shot:
    frames = cache.read(clip.path, clip.start, clip.end)
    # A copy, so that no map of the file is held.
    times = np.array(frames.times)
    read = partial(_frames, cache, clip)
    return Shot(clip.name, times, read, clip.label, clip.text, clip.segments)


def _frames(cache: FrameCache, clip: VideoClip) -> NDArray[Any]:
    return cache.read(clip.path, clip.start, clip.end).images


#: Clips that `demo_shots` holds out.
_HELD_OUT = 500


def demo_shots(count: int, eyes: Eyes) -> tuple[list[Shot], list[Shot]]:
    """Returns digits that move: so many clips to train on, and others that are held out.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: the eyes are not made for such frames.
    """
    if not eyes.raw or eyes.settings.shape != (SIDE, SIDE, 1):
        raise ValueError(
            f"--demo makes grey frames of {SIDE} x {SIDE} for the small network: leave out what "
            "says otherwise"
        )
    settings = replace(eyes.settings, image_rate=RATE)
    training = [_demo_shot(i, False, settings) for i in watched(range(count), "clips")]
    return training, [_demo_shot(i, True, settings) for i in range(_HELD_OUT)]


def _demo_shot(index: int, held_out: bool, settings: FrameSettings) -> Shot:
    clip = demo_clip(index, 0, held_out)
    # Held, since to make them again each time would take a tenth of training: 13 kB a clip.
    images, times = read_frames(clip.images, settings)
    read = partial(np.asarray, images)
    return Shot(f"clip {index}", times, read, str(clip.label), clip.caption, clip.segments)
