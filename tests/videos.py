"""Videos for tests: frames whose grey says which one it is, written with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

#: Ticks a second of the videos.
CLOCK = 1000


def grey(number: int) -> int:
    """The level of a frame: levels are four apart."""
    return 4 * number % 256


def numbered(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Frames (T, H, W, 3), each of one grey that tells its number."""
    frames = np.empty((count, height, width, 3), np.uint8)
    frames[:] = np.array([grey(number) for number in range(count)])[:, None, None, None]
    return frames


def numbers_of(images: np.ndarray) -> list[int]:
    """Which frames these are, by their grey."""
    return [round(float(image.mean()) / 4) for image in images]


def write_video(
    path: Path,
    frames: np.ndarray,
    *,
    times: Sequence[float] | None = None,
    rate: int = 25,
    codec: str = "ffv1",
    pixels: str = "yuv444p",
    rotation: int | None = None,
    mirror: bool = False,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """A video of frames (T, H, W, 3), at `times` in seconds or evenly."""
    import av

    with av.open(str(path), "w", options=container or {}) as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, CLOCK)
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=mirror)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        output.start_encoding()
        for number, image in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            time = number / rate if times is None else times[number]
            picture.pts, picture.time_base = round(time * CLOCK), Fraction(1, CLOCK)
            output.mux(stream.encode(picture))
        output.mux(stream.encode())
    return path


def write_sound(path: Path, codec: str = "aac") -> Path:
    """A file that holds sound alone."""
    import av

    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream(codec, rate=16_000, layout="mono")
        for place in range(0, 16_000, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 16_000, place
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path
