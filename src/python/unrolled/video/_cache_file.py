"""One entry of a cache: an array, the times of its rows, and what it was made of.

The file is the array as it lies in memory, then the times, then a line of JSON that says what both
are, then the length of that line and a mark. The array comes first so that it can be written while
its length is not known, and mapped. A file that does not end with the mark is none.
"""

import contextlib
import json
import os
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ._files import Frame, Frames

_MARK = b"unrolled frames 1"
_TAIL = struct.Struct(f"<q{len(_MARK)}s")

#: Types that are kept: truth, whole numbers, floating point.
_KINDS = "buif"


def write_entry(path: Path, stamp: str, frames: Iterable[Frame], name: str) -> Frames:
    """Writes frames as they come, in the memory of one, and then puts them in place of `path`.

    Returns them as `read_entry` does, whatever becomes of `path` meanwhile.

    Args:
        path: the entry.
        stamp: of what it is made of.
        frames: arrays of one shape and type.
        name: of the source, for errors.

    Raises:
        ValueError: there are no frames, or their shapes or types differ.
    """
    handle, partial = tempfile.mkstemp(".partial", f"{path.stem}.", path.parent)
    try:
        with open(handle, "wb") as file:
            _write(file, stamp, frames, name)
            file.flush()
            os.fsync(file.fileno())
        written = read_entry(Path(partial), stamp)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        raise
    if written is None:
        raise OSError(f"what was written to {path} cannot be read back")
    return written


def _write(file: IO[bytes], stamp: str, frames: Iterable[Frame], name: str) -> None:
    times: list[float] = []
    first: NDArray[Any] | None = None
    for time, values in frames:
        values = np.asarray(values)
        if first is None:
            first = values
            if values.dtype.kind not in _KINDS or not values.size:
                raise ValueError(f"{name}: frames {values.shape} of {values.dtype} cannot be kept")
        if (values.shape, values.dtype) != (first.shape, first.dtype):
            raise ValueError(
                f"{name}: expected frames of one shape and type, got {first.shape} of "
                f"{first.dtype}, then {values.shape} of {values.dtype}"
            )
        file.write(np.ascontiguousarray(values).data)
        times.append(float(time))
    if first is None:
        raise ValueError(f"{name}: no frames were made of it")
    file.write(np.array(times, "<f8").data)
    facts = {"shape": [len(times), *first.shape], "dtype": first.dtype.str, "stamp": stamp}
    line = json.dumps({**facts, "source": name}).encode()
    file.write(line)
    file.write(_TAIL.pack(len(line), _MARK))


def read_entry(path: Path, stamp: str) -> Frames | None:
    """Returns an entry, mapped and read only; None: there is none, or none that is whole."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _TAIL.size:
                return None
            file.seek(size - _TAIL.size)
            length, mark = _TAIL.unpack(file.read(_TAIL.size))
            start = size - _TAIL.size - length
            if mark != _MARK or not 0 <= length <= size - _TAIL.size:
                return None
            file.seek(start)
            facts = json.loads(file.read(length))
            if facts["stamp"] != stamp:
                return None
            shape, dtype = tuple(facts["shape"]), np.dtype(facts["dtype"])
            data = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            if dtype.kind not in _KINDS or data + 8 * shape[0] != start:
                return None
            file.seek(data)
            times = np.frombuffer(file.read(8 * shape[0]), "<f8")
            values = np.memmap(file, dtype, "r", shape=shape)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):  # written by something else
        return None
    return Frames(values, times)
