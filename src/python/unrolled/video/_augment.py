"""A clip as it might also have been: augmentation in training, the same for all of its frames."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._scaling import Images

#: Parts of a frame that an erased rectangle covers.
_ERASED_LEAST, _ERASED_MOST = 0.02, 0.15

#: Bits behind the point of the weights of neighbouring pixels: their products stay below 2^16.
_BITS = 8


class Changed(NamedTuple):
    """A changed clip.

    Attributes:
        images: (T', H', W', C) uint8; a view of the clip where nothing but crop or flip changed it.
        sources: (T',) int64, which frame of the clip each is: by it labels and times of frames
            follow.
    """

    images: Images
    sources: NDArray[np.int64]


@dataclass(frozen=True)
class Augmentation:
    """How clips are changed at random, each by itself, all its frames alike.

    Attributes:
        crop: height and width of the part that is kept, anywhere; None = all. `centre` keeps the
            middle, for what is not trained on.
        shift: pixels by which the picture may move each way; its edge is repeated.
        flip: probability of mirroring left to right. Not for clips in which left is not right.
        rotation: degrees by which it may turn around the middle.
        scale: part by which it may be larger or smaller.
        brightness: levels, 0..255, by which it may be brighter or darker.
        contrast: part by which differences from grey may be larger or smaller.
        erase: probability that a rectangle, 2 to 15% of the frame, becomes grey in all frames.
        warp: part by which time may run faster or slower, as a whole and from stretch to stretch:
            frames are left out or repeated.

    Source of erasing: Zhong et al., "Random erasing data augmentation", 2020.
    """

    crop: tuple[int, int] | None = None
    shift: int = 0
    flip: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    erase: float = 0.0
    warp: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "erase"):
            self._check(name, 0.0 <= getattr(self, name) <= 1.0, "a probability")
        for name in ("scale", "contrast", "warp"):
            self._check(name, 0.0 <= getattr(self, name) < 1.0, "a part, 0 <= part < 1,")
        for name in ("shift", "rotation", "brightness"):
            self._check(name, getattr(self, name) >= 0, "a number >= 0")
        self._check("crop", self.crop is None or min(self.crop) > 0, "a height and a width > 0")

    def _check(self, name: str, good: bool, expected: str) -> None:
        if not good:
            raise ValueError(
                f"[Augmentation] expected {expected} for {name}, got {getattr(self, name)!r}"
            )

    def __call__(self, clip: Images, rng: np.random.Generator) -> Changed:
        """Returns a changed clip; the same generator gives the same change.

        Args:
            clip: (T, H, W, C) uint8; it is left alone.
            rng: of chance.

        Raises:
            ValueError: it is no such clip, or smaller than the crop.
        """
        height, width = self._size(clip)
        sources = np.arange(len(clip))
        if self.warp and len(clip):
            sources = _warped(len(clip), self.warp, rng)
        top = int(rng.integers(clip.shape[1] - height + 1))
        left = int(rng.integers(clip.shape[2] - width + 1))
        if self.shift or self.rotation or self.scale:
            rows, columns = self._places(height, width, rng)
            images = _resampled(clip[sources], rows + top, columns + left)
        else:
            images = clip[:, top : top + height, left : left + width]
            if self.warp:
                images = images[sources]
        if rng.random() < self.flip:
            images = images[:, :, ::-1]
        if self.brightness or self.contrast:
            images = self._levels(rng)[images]
        if rng.random() < self.erase:
            images = _erased(images, rng)
        return Changed(images, sources)

    def centre(self, clip: Images) -> Images:
        """Returns the middle of a clip, of the size that a changed one has; a view."""
        height, width = self._size(clip)
        top, left = (clip.shape[1] - height) // 2, (clip.shape[2] - width) // 2
        return clip[:, top : top + height, left : left + width]

    def _size(self, clip: Images) -> tuple[int, int]:
        """Height and width of what is kept of a clip."""
        if clip.ndim != 4 or clip.dtype != np.uint8:
            raise ValueError(
                f"[Augmentation] expected a clip (T, H, W, C) of uint8, got {clip.shape} of "
                f"{clip.dtype}"
            )
        height, width = self.crop or clip.shape[1:3]
        if height > clip.shape[1] or width > clip.shape[2]:
            raise ValueError(
                f"[Augmentation] expected a clip of at least the crop {self.crop}, got {clip.shape}"
            )
        return height, width

    def _places(
        self, height: int, width: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows and columns (H', W') from which each pixel of the crop is read."""
        angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation))
        # Half as large and twice as large are as probable as each other.
        zoom = (1.0 + self.scale) ** rng.uniform(-1.0, 1.0)
        down, right = rng.integers(-self.shift, self.shift + 1, 2)
        rows, columns = np.ogrid[:height, :width]
        y, x = rows - (height - 1) / 2, columns - (width - 1) / 2
        cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
        return (
            cosine * y + sine * x + (height - 1) / 2 - down,
            cosine * x - sine * y + (width - 1) / 2 - right,
        )

    def _levels(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """What becomes of each level, (256,)."""
        gain = 1.0 + rng.uniform(-self.contrast, self.contrast)
        offset = rng.uniform(-self.brightness, self.brightness)
        levels = (np.arange(256.0) - 127.5) * gain + 127.5 + offset
        changed: NDArray[np.uint8] = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
        return changed


def _warped(steps: int, warp: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which frame stands at each place when time runs unevenly; the first and the last stay."""
    speed = (1.0 + warp) ** rng.uniform(-1.0, 1.0)
    count = max(round(steps / speed), 1)
    # About a knot for eight frames; between knots time runs evenly.
    knots = max(steps // 8, 1) + 1
    pace = (1.0 + warp) ** rng.uniform(-1.0, 1.0, knots)
    place = np.concatenate([[0.0], np.cumsum(pace)])
    where = np.linspace(0.0, 1.0, count) if count > 1 else np.zeros(1)
    source = np.interp(where, place / place[-1], np.linspace(0.0, steps - 1, knots + 1))
    frames: NDArray[np.int64] = np.rint(source).astype(np.int64)
    return frames


def _resampled(clip: Images, rows: NDArray[Any], columns: NDArray[Any]) -> Images:
    """The pixels of a clip (T, H, W, C) at places (H', W'), of four neighbours each."""
    height, width = clip.shape[1:3]
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = rows.astype(np.intp), columns.astype(np.intp)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    flat = clip.reshape(len(clip), height * width, clip.shape[3])
    one = 1 << _BITS
    down = np.rint((rows - top) * one).astype(np.uint32)
    along = np.rint((columns - left) * one).astype(np.uint32)
    total: NDArray[np.uint32] = np.full(
        (len(clip), *top.shape, clip.shape[3]), one * one // 2, "u4"
    )
    for y, part_y in ((top, one - down), (bottom, down)):
        for x, part_x in ((left, one - along), (right, along)):
            weight = part_y * part_x
            if weight.any():
                pixels = flat.take((y * width + x).ravel(), axis=1).reshape(total.shape)
                total += pixels * weight[..., None]
    images: Images = (total >> (2 * _BITS)).astype(np.uint8)
    return images


def _erased(images: Images, rng: np.random.Generator) -> Images:
    """A copy with a rectangle in the mean grey of the clip."""
    height, width = images.shape[1:3]
    area = rng.uniform(_ERASED_LEAST, _ERASED_MOST) * height * width
    ratio = np.exp(rng.uniform(-1.0, 1.0))
    rows = min(max(round(np.sqrt(area * ratio)), 1), height)
    columns = min(max(round(np.sqrt(area / ratio)), 1), width)
    top = int(rng.integers(height - rows + 1))
    left = int(rng.integers(width - columns + 1))
    images = images.copy()
    images[:, top : top + rows, left : left + columns] = round(float(images.mean()))
    return images
