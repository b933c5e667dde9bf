"""Which frames of a video are read, which part of them, and in what size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

#: Left, top, right and bottom of a part of the upright picture, each 0..1.
Box = tuple[float, float, float, float]

#: Frames may have at most so many pixels on a side, read or made.
LARGEST_SIDE = 16_384


@dataclass(frozen=True)
class FrameSettings:
    """What becomes of each picture.

    Attributes:
        height: pixels of a frame from top to bottom, H.
        width: pixels from left to right, W.
        colour: three channels, red, green and blue; else one, grey.
        rate: frames a second: at each tick the frame nearest in time, of videos with a varying
            rate, too. None: every frame as it comes.
        crop: what of the upright picture is kept. "none": all, squeezed into H x W; "centre": the
            largest area in the middle with the proportions of H x W; "pad": all in its proportions,
            with black bars; or a box (left, top, right, bottom) in parts of the picture, 0..1.
        image_rate: frames a second of folders of images and of arrays, which know no times.
    """

    height: int = 224
    width: int = 224
    colour: bool = True
    rate: float | None = None
    crop: Literal["none", "centre", "pad"] | Box = "none"
    image_rate: float = 25.0

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            side = getattr(self, name)
            if isinstance(side, bool) or not isinstance(side, int) or not 0 < side <= LARGEST_SIDE:
                raise ValueError(
                    f"[FrameSettings] expected {name} of 1..{LARGEST_SIDE:,} pixels, got {side!r}"
                )
        if not isinstance(self.colour, bool):
            raise ValueError(f"[FrameSettings] expected colour True or False, got {self.colour!r}")
        if self.rate is not None and not _is_rate(self.rate):
            raise ValueError(
                "[FrameSettings] expected rate of 0.001..10,000 frames a second, or None for every "
                f"frame, got {self.rate!r}"
            )
        if not _is_rate(self.image_rate):
            raise ValueError(
                "[FrameSettings] expected image_rate of 0.001..10,000 frames a second, got "
                f"{self.image_rate!r}"
            )
        object.__setattr__(self, "crop", _checked_crop(self.crop))

    @property
    def channels(self) -> int:
        """Numbers of a pixel, C: 3 or 1."""
        return 3 if self.colour else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (H, W, C) of a frame."""
        return self.height, self.width, self.channels

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "FrameSettings":
        """The settings that `to_json` gave, through JSON or not."""
        return cls(**values)


def _is_rate(rate: object) -> bool:
    number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
    return number and 1e-3 <= rate <= 1e4  # type: ignore[operator]


def _checked_crop(crop: object) -> str | Box:
    """The crop, a box as a tuple of floats.

    Raises:
        ValueError: it is none.
    """
    if crop in ("none", "centre", "pad"):
        return str(crop)
    if isinstance(crop, Sequence) and not isinstance(crop, str) and len(crop) == 4:
        left, top, right, bottom = (float(part) for part in crop)
        sides = (left, top, right, bottom)
        inside = all(math.isfinite(part) and 0.0 <= part <= 1.0 for part in sides)
        if inside and left < right and top < bottom:
            return sides
    raise ValueError(
        "[FrameSettings] expected crop 'none', 'centre', 'pad' or a box (left, top, right, bottom) "
        f"in parts of the picture, 0 <= left < right <= 1 and 0 <= top < bottom <= 1, got {crop!r}"
    )
