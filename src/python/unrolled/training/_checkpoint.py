"""Checkpoints: one .safetensors file with named arrays and JSON metadata in its header.

The file is plain data (no pickle), readable by everything that reads safetensors. Writing is
atomic: the new file is complete and on the disk before it takes the old one's name, so that a
crash at any moment leaves one whole file, the old or the new.
"""

import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._extras import import_extra
from ._atomic import replacing
from ._json import from_json
from ._types import Array

#: Version of the layout described here; raised when older readers would misread a newer file.
FORMAT_VERSION = 1

_FORMAT_NAME = "unrolled checkpoint"


class CheckpointError(ValueError):
    """A file is not a checkpoint that can be read; the text says why."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file.

    Attributes:
        arrays: arrays by name.
        metadata: JSON-able values by name.
    """

    arrays: dict[str, Array]
    metadata: dict[str, Any]


def save_checkpoint(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, Any]
) -> None:
    """Writes a checkpoint; a file of that name is replaced in one step or not at all.

    One writer per file: two at once would share the temporary file.

    Args:
        path: where to; the folder must exist.
        arrays: arrays by name, float or integer.
        metadata: JSON-able values by name.

    Raises:
        ImportError: safetensors is not installed.
        OSError: the file cannot be written; the old one is untouched.
    """
    safetensors = import_extra("safetensors.numpy", "train")
    path = Path(path)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    header = {
        "format": _FORMAT_NAME,
        "version": str(FORMAT_VERSION),
        "crc32": json.dumps({name: _crc32(array) for name, array in contiguous.items()}),
        "metadata": json.dumps(metadata),
    }
    with replacing(path) as partial:
        safetensors.save_file(contiguous, partial, metadata=header)


def load_checkpoint(path: str | os.PathLike[str], prefix: str = "") -> Checkpoint:
    """Reads a checkpoint, or the part of its arrays whose names begin with `prefix`.

    Raises:
        ImportError: safetensors is not installed.
        FileNotFoundError: there is no such file.
        CheckpointError: the file is truncated, damaged, of another kind or of a newer format.
    """
    safetensors = import_extra("safetensors", "train")
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, not a checkpoint")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            _check_header(path, header)
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            arrays = {name: file.get_tensor(name) for name in names}
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} is no checkpoint, or a truncated or damaged one ({error})"
        ) from error
    try:
        checksums = from_json(dict[str, int], json.loads(header["crc32"]), "crc32")
        metadata = from_json(dict[str, Any], json.loads(header["metadata"]), "metadata")
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: its header cannot be read ({error})") from error
    for name, array in arrays.items():
        if checksums.get(name) != _crc32(array):
            raise CheckpointError(f"{path} is damaged: the checksum of {name} does not match")
    return Checkpoint(arrays, metadata)


def _check_header(path: Path, header: Mapping[str, str]) -> None:
    if header.get("format") != _FORMAT_NAME:
        raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of unrolled")
    version = header.get("version", "")
    if not re.fullmatch("[0-9]{1,9}", version):
        raise CheckpointError(f"{path} is damaged: its format version reads {version!r}")
    if int(version) > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}, this unrolled reads up to {FORMAT_VERSION}: "
            "update it with pip install -U unrolled"
        )


def _crc32(array: Array) -> int:
    # Empty arrays cannot be viewed as bytes.
    return zlib.crc32(array.reshape(-1).view(np.uint8).data) if array.size else 0
