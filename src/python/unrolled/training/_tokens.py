"""Token stores: files of tokens, larger than memory if need be, read by memory mapping.

A store is three arrays in NumPy's own format (.npy, version 1.0), one behind the other:

    tokens     (N,)    unsigned integers of the smallest type that holds them all, little-endian
    starts     (D+1,)  int64, where each of the D documents begins, and N
    metadata   (M,)    uint8, a JSON object: "format", "version", "size" (how many different
                       tokens there are), "crc32" (of the bytes of both), "metadata" (the user's)

So `numpy.load(path, mmap_mode="r")` gives the tokens to any other program. What comes last is
known only when everything is written, and shows that a file is whole.
"""

import json
import os
import zlib
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from ._atomic import replacing
from ._types import Array

#: Version of the layout described here; raised when older readers would misread a newer file.
_VERSION = 1

_FORMAT = "unrolled tokens"

#: Bytes that `TokenStore.verify` reads at a time.
_CHUNK = 1 << 24


class TokenStoreError(ValueError):
    """A file is not a token store that can be read; the text says why."""


class TokenStore:
    """A file of tokens that `write_tokens` wrote; opening it reads next to nothing of them.

    Args:
        path: the file.

    Attributes:
        path: the file.
        tokens: (N,) unsigned integers, all documents one after the other, mapped from the file:
            what is used is read, and memory that runs short is given back.
        starts: (D+1,) int64, where each document begins, and N.
        size: how many different tokens there are: each is below it.
        crc32: checksum of tokens and starts, which identifies them.
        metadata: what the writer added, JSON values.

    Raises:
        FileNotFoundError: there is no such file.
        TokenStoreError: the file is truncated, damaged, of another kind or of a newer format.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise TokenStoreError(f"{path} is a folder, not a token store")
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        with self.path.open("rb") as file:
            try:
                self.tokens = _map_array(file)
                self.starts = _map_array(file)
                values = json.loads(bytes(_map_array(file)))
            except ValueError as error:
                raise TokenStoreError(
                    f"{path} is no token store, or a truncated or damaged one ({error})"
                ) from error
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            raise TokenStoreError(f"{path} is a file of NumPy, but no token store of unrolled")
        version = values.get("version")
        if isinstance(version, int) and version > _VERSION:
            raise TokenStoreError(
                f"{path} has format version {version}, this unrolled reads up to {_VERSION}: "
                "update it with pip install -U unrolled"
            )
        try:
            self.size = int(values["size"])
            self.crc32 = int(values["crc32"])
            self.metadata = dict(values["metadata"])
        except (KeyError, TypeError, ValueError) as error:
            raise TokenStoreError(f"{path} is damaged: its metadata lack {error}") from error
        if self.tokens.dtype.kind != "u" or not _are_starts(self.starts, self.tokens.size):
            raise TokenStoreError(f"{path} is damaged: its documents are not where they should be")

    def __len__(self) -> int:
        """How many documents there are."""
        return self.starts.size - 1

    def document(self, index: int) -> Array:
        """Returns the tokens of a document, from 0 to D - 1, as a view into `tokens`."""
        if not 0 <= index < len(self):
            raise IndexError(f"[TokenStore] there are {len(self)} documents, no number {index}")
        return self.tokens[self.starts[index] : self.starts[index + 1]]

    def verify(self) -> None:
        """Reads all of the file, and compares its checksum.

        Raises:
            TokenStoreError: the file is damaged.
        """
        crc32, step = 0, _CHUNK // self.tokens.itemsize
        for start in range(0, self.tokens.size, step):
            crc32 = zlib.crc32(self.tokens[start : start + step].data, crc32)
        if zlib.crc32(self.starts.data, crc32) != self.crc32:
            raise TokenStoreError(f"{self.path} is damaged: its checksum does not match")


class TokenWriter:
    """Takes the tokens of a store; `write_tokens` gives one.

    Attributes:
        metadata: JSON-able values to keep with the tokens; written at the end.
        tokens: how many tokens there are so far.
    """

    def __init__(self, file: IO[bytes], size: int, metadata: Mapping[str, Any] | None) -> None:
        self.metadata = dict(metadata or {})
        self.tokens = 0
        self._file = file
        self._size = size
        self._dtype = np.min_scalar_type(size - 1).newbyteorder("<")
        self._starts = array("q", [0])
        self._crc32 = 0
        self._write_header()

    def append(self, tokens: Array) -> None:
        """Adds tokens to the document under way.

        Shapes: tokens (n,) integers.

        Raises:
            ValueError: they are not integers from 0 to size - 1.
        """
        if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
            raise ValueError(
                "[TokenWriter] expected integer tokens of shape (n,), "
                f"got {tokens.dtype} of shape {tokens.shape}"
            )
        if not tokens.size:
            return
        if tokens.min() < 0 or tokens.max() >= self._size:
            raise ValueError(
                f"[TokenWriter] expected tokens in 0..{self._size - 1}, "
                f"got {tokens.min()}..{tokens.max()}"
            )
        data = np.ascontiguousarray(tokens, self._dtype).data
        self._crc32 = zlib.crc32(data, self._crc32)
        self._file.write(data)
        self.tokens += tokens.size

    def end_document(self) -> None:
        """Ends the document under way; the next token begins another."""
        self._starts.append(self.tokens)

    def _write_header(self) -> None:
        # NumPy pads this header so that any number of tokens fits into the same place.
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.tokens,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def _finish(self) -> None:
        if self._starts[-1] != self.tokens:
            self.end_document()
        starts = np.array(self._starts, "<i8")
        values = {
            "format": _FORMAT,
            "version": _VERSION,
            "size": self._size,
            "crc32": zlib.crc32(starts.data, self._crc32),
            "metadata": self.metadata,
        }
        for part in (starts, np.frombuffer(json.dumps(values).encode(), np.uint8)):
            np.lib.format.write_array(self._file, part, (1, 0), allow_pickle=False)
        self._file.seek(0)
        self._write_header()


@contextmanager
def write_tokens(
    path: str | os.PathLike[str], *, size: int, metadata: Mapping[str, Any] | None = None
) -> Iterator[TokenWriter]:
    """Writes a token store piece by piece, in memory for one piece and 8 bytes a document.

        with write_tokens("corpus.tokens", size=256) as writer:
            for document in documents:
                writer.append(document)
                writer.end_document()

    A file of that name is replaced in one step at the end of the block; where the block raises, it
    stays as it was. Only one program may write a store at a time.

    Args:
        path: where to; the folder must exist.
        size: how many different tokens there are; decides the type, uint8 up to 256 and so on.
        metadata: JSON-able values to keep with the tokens.

    Raises:
        ValueError: size is less than 1.
        OSError: the file cannot be written.
    """
    if size < 1:
        raise ValueError(f"[write_tokens] expected size >= 1, got {size}")
    with replacing(Path(path)) as partial, partial.open("wb") as file:
        writer = TokenWriter(file, size, metadata)
        yield writer
        writer._finish()


def _map_array(file: IO[bytes]) -> Array:
    """Maps the one-dimensional array at the file's position, and goes behind it."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"a header of version {version}")
    try:
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except (SyntaxError, TokenError, TypeError) as error:  # NumPy lets some of them through
        raise ValueError("a header that cannot be read") from error
    if len(shape) != 1 or dtype.hasobject:
        raise ValueError(f"an array of {dtype} of shape {shape}")
    offset = file.tell()
    end = offset + shape[0] * dtype.itemsize
    if not offset <= end <= os.fstat(file.fileno()).st_size:
        raise ValueError(f"it should be at least {end} bytes long")
    if end == offset:  # nothing cannot be mapped
        return np.zeros(shape, dtype)
    # A plain view: each piece taken from an np.memmap would be one too, at a cost.
    mapped = np.memmap(file, dtype, "r", offset, shape).view(np.ndarray)
    file.seek(end)
    return mapped


def _are_starts(starts: Array, tokens: int) -> bool:
    return bool(
        starts.dtype == np.int64
        and starts.size
        and starts[0] == 0
        and starts[-1] == tokens
        and (np.diff(starts) >= 0).all()
    )
