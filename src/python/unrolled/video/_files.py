"""Videos of any kind and length, folders of images and arrays, as frames of one size."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._arrays import ARRAY_ENDINGS, array_pictures, file_pictures, image_paths
from ._containers import decode
from ._errors import VideoError
from ._sampling import Picture, sample
from ._scaling import Images, Scaler, as_picture
from ._settings import FrameSettings

#: A file, a folder of images, image files in order, or an array (T, H, W, C) or (T, H, W), uint8.
Source: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Images

#: Bytes that `read_frames` holds at most.
_MOST_BYTES = 4 * 2**30

#: These change nothing of a picture that has its size already.
_WHOLE_CROPS = ("none", "centre", "pad")


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
        time: when it is shown, in seconds from the beginning of the file.
        image: (H, W, C) uint8, or the features (F,) that were made of it.
    """

    time: float
    image: NDArray[Any]


class Frames(NamedTuple):
    """Frames in a row.

    Attributes:
        images: (T, H, W, C) uint8, or features (T, F).
        times: (T,) float64, when each is shown, in seconds.
    """

    images: NDArray[Any]
    times: NDArray[np.float64]


def stream_frames(
    source: Source,
    settings: FrameSettings,
    *,
    start: float = 0.0,
    end: float | None = None,
    threads: int = 1,
) -> Iterator[Frame]:
    """Yields the frames of a video as they are decoded, of any length in bounded memory.

    Args:
        source: a file that FFmpeg reads or an array of NumPy (.npy, .npz); a folder of images, in
            the order of their names; image files; or an array (T, H, W, C) or (T, H, W) of uint8.
        settings: which frames, which part of them, in what size.
        start: seconds at which to begin. Where a file has an index, what lies before is skipped.
        end: seconds at which to stop; None = at the end.
        threads: that decode; 0 = as many as the decoder likes.

    Parts of a file that cannot be decoded are left out with a `DamagedVideoWarning` at the end, as
    is the end of one that was cut off.

    Raises:
        FileNotFoundError: there is no such file or folder.
        VideoError: it is no video, or holds no picture, or too large ones.
        ValueError: start or end make no sense.
    """
    if not 0.0 <= start < (np.inf if end is None else end):
        raise ValueError(f"[stream_frames] expected 0 <= start < end, got {start!r} and {end!r}")
    first, last = _exact(start), None if end is None or end == np.inf else _exact(end)
    pictures = _pictures(source, settings, first, threads)
    frame, make = None, _Framer(settings)
    for picture in sample(pictures, settings.rate, first, last, _name(source)):
        frame = Frame(float(picture.time), make(picture))
        yield frame
    if frame is None:
        until = "its end" if end is None else f"{end:g} s"
        raise VideoError(f"{_name(source)} has no frame between {start:g} s and {until}")


def _exact(seconds: float) -> Fraction:
    """0.4 s as 2/5, at which a frame may stand, not as the float beside it."""
    return Fraction(float(seconds)).limit_denominator(1_000_000)


def _pictures(
    source: Source, settings: FrameSettings, start: Fraction, threads: int
) -> Iterator[Picture]:
    """The pictures of any source, stored as they are."""
    if isinstance(source, np.ndarray):
        yield from _timed(array_pictures(source, "array"), settings)
        return
    if not isinstance(source, (str, os.PathLike)):
        yield from _timed(map(_first_image, map(Path, source)), settings)
        return
    path = Path(source)
    if path.is_dir():
        paths = image_paths(path)
        if not paths:
            raise VideoError(f"there are no images in the folder {path}")
        yield from _timed(map(_first_image, paths), settings)
    elif not path.is_file():
        raise FileNotFoundError(f"no file or folder {str(path)!r}")
    elif path.suffix.lower() in ARRAY_ENDINGS:
        yield from _timed(file_pictures(path), settings)
    else:
        yield from decode(path, start, threads)


def _timed(images: Iterable[Any], settings: FrameSettings) -> Iterator[Picture]:
    """Pictures of a source that knows no times."""
    length = 1 / Fraction(settings.image_rate).limit_denominator(10_000)
    for number, image in enumerate(images):
        yield Picture(number * length, image, length)


def _first_image(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}")
    with closing(decode(path, Fraction(0), 1)) as pictures:
        return next(pictures).image


def _name(source: Source) -> str:
    """What errors call a source."""
    if isinstance(source, np.ndarray):
        return "array"
    return str(source) if isinstance(source, (str, os.PathLike)) else "images"


class _Framer:
    """Makes frames of pictures; arrays that are frames already need no PyAV."""

    def __init__(self, settings: FrameSettings) -> None:
        self._settings = settings
        self._scaler: Scaler | None = None

    def __call__(self, picture: Picture) -> Images:
        image = picture.image
        if isinstance(image, np.ndarray):
            if image.shape == self._settings.shape and self._settings.crop in _WHOLE_CROPS:
                return np.array(image)
            image = as_picture(image)
        if self._scaler is None:
            self._scaler = Scaler(self._settings)
        return self._scaler(image, picture.aspect)


def read_frames(
    source: Source,
    settings: FrameSettings,
    *,
    limit: int | None = None,
    start: float = 0.0,
    end: float | None = None,
    threads: int = 1,
) -> Frames:
    """Returns the frames (T, H, W, C) of a video and their times (T,): those of `stream_frames`.

    Args:
        source, settings, start, end, threads: as of `stream_frames`.
        limit: reads so many frames at most, and leaves the rest.

    Raises:
        VideoError: besides what `stream_frames` raises, frames would take more than 4 GiB.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ValueError(
            f"[read_frames] expected a limit of 1 frame or more, or None, got {limit!r}"
        )
    most = _MOST_BYTES // int(np.prod(settings.shape))
    images: list[Images] = []
    times: list[float] = []
    frames = stream_frames(source, settings, start=start, end=end, threads=threads)
    for time, image in islice(frames, limit):
        if len(images) >= most:
            raise VideoError(
                f"{_name(source)} has more than {most:,} frames, 4 GiB: take them one by one with "
                "stream_frames, or give a limit, a lower rate or a smaller size"
            )
        images.append(image)
        times.append(time)
    stacked = np.stack(images) if images else np.zeros((0, *settings.shape), np.uint8)
    return Frames(stacked, np.array(times, np.float64))
