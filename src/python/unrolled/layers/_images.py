"""What convolutions and pooling share: windows from constructor arguments, and checks of x."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from .. import functional
from ._checks import check_array, checked_pair
from ._place import is_array
from ._types import Array, DType

#: One number, (vertical, horizontal), ((top, bottom), (left, right)) or "same".
PaddingLike: TypeAlias = (
    int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]] | Literal["same"]
)


def checked_windows(
    where: str,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int],
    padding: PaddingLike,
) -> functional.Windows:
    """Returns the windows of constructor arguments; ValueError where one is out of range."""
    return functional.Windows(
        checked_pair(where, "kernel_size", kernel_size, least=1),
        checked_pair(where, "stride", stride, least=1),
        "same" if padding == "same" else _checked_padding(where, padding),
    )


def _checked_padding(where: str, padding: PaddingLike) -> tuple[tuple[int, int], tuple[int, int]]:
    if isinstance(padding, str):
        raise ValueError(f'[{where}] expected padding to be numbers or "same", got {padding!r}')
    if isinstance(padding, Sequence) and all(isinstance(side, Sequence) for side in padding):
        if len(padding) != 2:
            raise ValueError(
                f"[{where}] expected padding ((top, bottom), (left, right)), got {padding}"
            )
        sides = [
            checked_pair(where, "padding", side, least=0)  # type: ignore[arg-type]
            for side in padding
        ]
        return sides[0], sides[1]
    down, right = checked_pair(where, "padding", padding, least=0)  # type: ignore[arg-type]
    return (down, down), (right, right)


def padding_text(windows: functional.Windows) -> str:
    """The padding as a constructor takes it, in its shortest form; "" where there is none."""
    if windows.padding == "same":
        return ", padding='same'"
    (top, bottom), (left, right) = windows.padding
    if top == bottom and left == right:
        return f", padding={(top, left)}" if top or left else ""
    return f", padding={windows.padding}"


def check_images(where: str, x: Array, channels: int | None, dtype: DType | None = None) -> None:
    """Raises unless x is (N, H, W, C), with `channels` and of `dtype` where they are given."""
    letters = "x of shape (N, H, W, C)"
    if not is_array(x):
        raise TypeError(f"[{where}] expected {letters}, got {type(x).__name__}")
    if x.ndim != 4:
        raise ValueError(f"[{where}] expected {letters}, got {x.shape}")
    shape = (*x.shape[:3], x.shape[3] if channels is None else channels)
    check_array(where, letters, x, shape, x.dtype if dtype is None else dtype)
