"""A decoded picture becomes a frame: upright, cropped, in the wanted size and colours."""

import struct
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._extras import import_extra
from ._settings import Box, FrameSettings

#: Pictures, (H, W, C) or (T, H, W, C), 0..255.
Images = NDArray[np.uint8]

_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


class Orientation(NamedTuple):
    """How a stored picture is turned to stand upright: rows become columns, then it is mirrored.

    Attributes:
        swap: rows become columns.
        mirror: then left becomes right.
        flip: then top becomes bottom.
    """

    swap: bool = False
    mirror: bool = False
    flip: bool = False

    @classmethod
    def of(cls, frame: Any) -> "Orientation":
        """That which a frame of PyAV carries; a turn by less than a right angle is left out.

        The matrix (a, b, u, c, d, v, x, y, w) takes the point (p, q) to (ap + cq + x, bp + dq + y).
        Source: ISO/IEC 14496-12, the matrix of a track header.
        """
        side_data = frame.side_data.get("DISPLAYMATRIX")
        if side_data is None:
            return cls()
        a, b, _, c, d, *_ = struct.unpack("=9i", bytes(side_data)[:36])
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, c < 0, b < 0)
        return cls(False, a < 0, d < 0)

    def stored(self, box: Box) -> Box:
        """Returns where a box of the upright picture lies in the stored one."""
        left, top, right, bottom = box
        if self.mirror:
            left, right = 1.0 - right, 1.0 - left
        if self.flip:
            top, bottom = 1.0 - bottom, 1.0 - top
        return (top, left, bottom, right) if self.swap else (left, top, right, bottom)

    def upright(self, image: Images) -> Images:
        """Returns a stored picture (H, W, C) turned upright, a view."""
        if self.swap:
            image = image.swapaxes(0, 1)
        if self.mirror:
            image = image[:, ::-1]
        return image[::-1] if self.flip else image


def as_picture(image: Images) -> Any:
    """Returns an array (H, W, C), C = 1 or 3, as a picture of PyAV."""
    video_frame = import_extra("av", "video").VideoFrame
    image = np.ascontiguousarray(image)
    if image.shape[2] == 1:
        return video_frame.from_ndarray(image[..., 0], format="gray")
    return video_frame.from_ndarray(image, format="rgb24")


class Scaler:
    """Makes the frames of `settings` from pictures of PyAV.

    Sizes change by swscale's bilinear filter, which averages over as many pixels as become one.
    Grey goes from 0 to 255 whatever range the video has.
    """

    def __init__(self, settings: FrameSettings) -> None:
        self.settings = settings
        self._av = import_extra("av", "video")
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._cutter: tuple[tuple[object, ...], Any] | None = None

    def __call__(self, frame: Any, pixel_aspect: Fraction) -> Images:
        """Returns the frame (H, W, C) of a picture.

        Args:
            frame: a `av.VideoFrame`.
            pixel_aspect: width by height of its stored pixels.
        """
        settings = self.settings
        orientation = Orientation.of(frame)
        width, height = Fraction(frame.width) * pixel_aspect, Fraction(frame.height)
        aspect = height / width if orientation.swap else width / height
        box, rows, columns = self._plan(float(aspect))
        if box != _WHOLE:
            frame = self._cut(frame, orientation.stored(box))
        frame = self._reformatter.reformat(
            frame,
            width=rows if orientation.swap else columns,
            height=columns if orientation.swap else rows,
            format="rgb24" if settings.colour else "gray",
            interpolation="BILINEAR",
        )
        image: Images = frame.to_ndarray()
        image = orientation.upright(image if settings.colour else image[..., None])
        if image.shape == settings.shape:
            return np.ascontiguousarray(image)
        padded = np.zeros(settings.shape, np.uint8)
        top, left = (settings.height - rows) // 2, (settings.width - columns) // 2
        padded[top : top + rows, left : left + columns] = image
        return padded

    def _plan(self, aspect: float) -> tuple[Box, int, int]:
        """The box of an upright picture of these proportions, and the rows and columns it takes."""
        settings = self.settings
        rows, columns = settings.height, settings.width
        wanted = columns / rows
        if settings.crop == "none":
            return _WHOLE, rows, columns
        if settings.crop == "pad":
            if aspect > wanted:
                return _WHOLE, max(round(columns / aspect), 1), columns
            return _WHOLE, rows, max(round(rows * aspect), 1)
        if settings.crop == "centre":
            wide, high = min(wanted / aspect, 1.0), min(aspect / wanted, 1.0)
            box = ((1 - wide) / 2, (1 - high) / 2, (1 + wide) / 2, (1 + high) / 2)
            return box, rows, columns
        return settings.crop, rows, columns

    def _cut(self, frame: Any, box: Box) -> Any:
        """The part of a stored picture, without a copy."""
        left, right = _pixels(box[0], box[2], frame.width)
        top, bottom = _pixels(box[1], box[3], frame.height)
        key = (frame.width, frame.height, frame.format.name, left, top, right, bottom)
        if self._cutter is None or self._cutter[0] != key:
            graph = self._av.filter.Graph()
            parts = [
                graph.add_buffer(
                    width=frame.width,
                    height=frame.height,
                    format=frame.format.name,
                    time_base=Fraction(1, 1000),
                ),
                graph.add("crop", f"w={right - left}:h={bottom - top}:x={left}:y={top}:exact=1"),
                graph.add("buffersink"),
            ]
            for part, following in pairwise(parts):
                part.link_to(following)
            graph.configure()
            self._cutter = (key, graph)
        graph = self._cutter[1]
        graph.push(frame)
        return graph.pull()


def _pixels(start: float, end: float, size: int) -> tuple[int, int]:
    """The pixels of a part of a side, at least one."""
    first = min(round(start * size), size - 1)
    return first, max(round(end * size), first + 1)
