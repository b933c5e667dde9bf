"""Pictures that lie in arrays, in memory or in .npy and .npz files."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ._errors import VideoError

#: Endings of image files that are taken from folders; a sequence of files may name any.
IMAGE_ENDINGS = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
)

#: Endings of files that hold an array.
ARRAY_ENDINGS = frozenset((".npy", ".npz"))


def array_pictures(array: NDArray[Any], name: str) -> Iterator[NDArray[np.uint8]]:
    """Yields the pictures (H, W, C), C = 1 or 3, of an array (T, H, W, C) or (T, H, W).

    Raises:
        VideoError: it is no such array of uint8.
    """
    _check(array.dtype, array.shape, name)
    for image in array:
        yield _with_channels(image)


def file_pictures(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yields the pictures of an .npy file, or of the array `frames` in an .npz file, one at a time.

    Raises:
        VideoError: it holds no such array, or is damaged.
    """
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                yield from _stored_pictures(file, str(path))
            return
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            member = "frames.npy" if "frames.npy" in names or len(names) != 1 else names[0]
            with archive.open(member) as file:
                yield from _stored_pictures(file, str(path))
    except (zipfile.BadZipFile, KeyError, EOFError, ValueError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(
            f"{path} holds no array of frames ({error}); expected (T, H, W, C) or (T, H, W) of "
            "uint8 as of numpy.save, in an .npz file alone or under the name frames"
        ) from error


def _stored_pictures(file: IO[bytes], name: str) -> Iterator[NDArray[np.uint8]]:
    """The pictures of an array in NumPy's format, read one by one."""
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"version {version} of NumPy's format")
    shape, fortran, dtype = read_header(file)
    _check(dtype, shape, name)
    if fortran:
        raise VideoError(f"{name} is stored column by column: save numpy.ascontiguousarray of it")
    size = int(np.prod(shape[1:]))
    for number in range(shape[0]):
        data = file.read(size)
        if len(data) < size:
            raise VideoError(f"{name} ends within frame {number} of {shape[0]}")
        yield _with_channels(np.frombuffer(data, np.uint8).reshape(shape[1:]))


def _check(dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> None:
    good = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))
    if dtype != np.uint8 or not good or 0 in shape:
        raise VideoError(
            f"{name}: expected frames (T, H, W, C) or (T, H, W) of uint8, C = 1 or 3, none of them "
            f"0, got {shape} of {dtype}"
        )


def _with_channels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image[..., None] if image.ndim == 2 else image


def image_paths(folder: Path) -> list[Path]:
    """Returns the image files of a folder in the order of their names, 2 before 10."""
    images = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)
    return sorted(images, key=lambda path: _natural(path.name))


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
