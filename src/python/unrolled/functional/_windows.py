"""Which places of an image a kernel sees: its size, its steps and the zeros around the image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Padding = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Windows:
    """Windows over images (H, W).

    Place (i, j) of the result sees rows i*s - top .. i*s - top + h - 1 of an image and columns
    j*s' - left .. j*s' - left + w - 1; there are H' x W' places,

        H' = (H + top + bottom - h) // s + 1,  W' = (W + left + right - w) // s' + 1

    Args:
        kernel: (h, w).
        stride: (s, s').
        padding: ((top, bottom), (left, right)), or "same": H' = ceil(H / s) and W' = ceil(W / s'),
            with the odd row below and the odd column on the right, as TensorFlow has it.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: Padding | Literal["same"] = ((0, 0), (0, 0))

    def around(self, height: int, width: int) -> Padding:
        """Returns ((top, bottom), (left, right)) for images (H, W)."""
        return _around(self, height, width)

    def places(self, where: str, height: int, width: int) -> tuple[int, int]:
        """Returns (H', W') for images (H, W).

        Raises:
            ValueError: the kernel is larger than the image with its padding; names `where`.
        """
        return _places(self, where, height, width)

    def steps(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Returns (s, s', top, left) for images (H, W), as the kernels want them."""
        (top, _), (left, _) = self.around(height, width)
        return (*self.stride, top, left)


# A network asks the same again and again, and the answer took most of a small layer's time.
@lru_cache(maxsize=1024)
def _around(windows: Windows, height: int, width: int) -> Padding:
    if windows.padding != "same":
        return windows.padding
    sides = []
    for size, kernel, stride in zip((height, width), windows.kernel, windows.stride, strict=True):
        both = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        sides.append((both // 2, both - both // 2))
    return sides[0], sides[1]


@lru_cache(maxsize=1024)
def _places(windows: Windows, where: str, height: int, width: int) -> tuple[int, int]:
    sizes = []
    around = _around(windows, height, width)
    for size, kernel, stride, padding in zip(
        (height, width), windows.kernel, windows.stride, around, strict=True
    ):
        if size < 1 or size + sum(padding) < kernel:
            raise ValueError(
                f"[{where}] expected images (H, W) of at least the kernel's size "
                f"{windows.kernel} less the padding {around}, got {(height, width)}"
            )
        sizes.append((size + sum(padding) - kernel) // stride + 1)
    return sizes[0], sizes[1]
