"""From the bytes of pictures to what a network reads."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PixelScale:
    """What pixels of 0..255 are to a network: x = (pixel - mean) / deviation, for each colour.

    Attributes:
        mean: of red, green and blue.
        deviation: of red, green and blue, above zero.

    Raises:
        ValueError: not three numbers each, or a deviation that is not above zero.
    """

    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    deviation: tuple[float, float, float] = (128.0, 128.0, 128.0)

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.deviation) != 3 or not min(self.deviation) > 0:
            raise ValueError(
                "[PixelScale] expected three means and three deviations above zero, got "
                f"{self.mean} and {self.deviation}"
            )

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns x (..., H, W, 3) of pixels (..., H, W, 3) in red, green and blue.

        Raises:
            TypeError: the pixels are not bytes.
            ValueError: they have not three colours.
        """
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
            kind = getattr(pixels, "dtype", type(pixels).__name__)
            raise TypeError(f"[PixelScale] expected pixels of dtype uint8, got {kind}")
        if pixels.ndim < 3 or pixels.shape[-1] != 3:
            raise ValueError(
                f"[PixelScale] expected pixels of shape (..., H, W, 3), got {pixels.shape}"
            )
        x: NDArray[np.float32] = pixels - np.asarray(self.mean, np.float32)
        x /= np.asarray(self.deviation, np.float32)
        return x


#: What torchvision's and most networks exported from it were trained on.
IMAGENET_SCALE = PixelScale(
    mean=(0.485 * 255, 0.456 * 255, 0.406 * 255), deviation=(0.229 * 255, 0.224 * 255, 0.225 * 255)
)
