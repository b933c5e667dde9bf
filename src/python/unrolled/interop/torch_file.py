"""Tensors out of torch's files, without torch.

    from unrolled.interop.torch_file import read_state_dict

    layer.load_parameters(read_state_dict("weights.pth"))

A file of `torch.save` is a pickle, which may call whatever it names, beside the numbers of its
tensors. Here a pickle of the few operations and names that describe tensors is read as such a
description, and every other file is refused before anything of it has run.
"""

import io
import math
import os
import pickle
import pickletools
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..layers._types import Array

#: NumPy's name of what a torch storage holds. NumPy has no bfloat16: its 16 bits are the upper half
#: of a float32.
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}

#: The operations of protocol 2 that describe dicts, tuples, numbers, names and tensors.
_OPERATIONS = frozenset(
    """PROTO STOP MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWTRUE
    NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE BINPUT LONG_BINPUT BINGET LONG_BINGET
    SETITEM SETITEMS APPEND APPENDS GLOBAL REDUCE BUILD BINPERSID""".split()  # noqa: SIM905
)

#: What a file before torch 1.6 begins with, and the version that follows it.
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001


# Named tuples, since nothing that a pickle does to them (BUILD) changes them.
class _Kind(NamedTuple):
    """A type of storages."""

    name: str


class _Storage(NamedTuple):
    """The numbers of one or more tensors."""

    kind: _Kind
    key: str
    size: int


class _Tensor(NamedTuple):
    """A view of a storage; `offset` and `strides` count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Rebuild(NamedTuple):
    """What a pickle calls to describe a tensor."""

    what: Literal["tensor", "parameter"]

    def __call__(self, *args: Any) -> _Tensor:
        if self.what == "parameter":  # (tensor, requires_grad, hooks)
            if len(args) != 3 or not isinstance(args[0], _Tensor):
                raise pickle.UnpicklingError("a parameter is no tensor")
            return args[0]
        # (storage, offset, shape, strides, requires_grad, hooks, metadata)
        if not 6 <= len(args) <= 7 or not isinstance(args[0], _Storage):
            raise pickle.UnpicklingError("a tensor has no storage")
        storage, offset, shape, strides = args[:4]
        numbers = isinstance(shape, tuple) and isinstance(strides, tuple)
        if not (
            numbers
            and len(shape) == len(strides) <= 32
            and all(type(each) is int and each >= 0 for each in (offset, *shape, *strides))
        ):
            raise pickle.UnpicklingError("a tensor's shape is none")
        return _Tensor(storage, offset, shape, strides)


_NAMES: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild("tensor"),
    ("torch._utils", "_rebuild_parameter"): _Rebuild("parameter"),
    **{("torch", name): _Kind(name) for name in _STORAGES},
}


class _Unpickler(pickle.Unpickler):
    """Reads descriptions of tensors, and refuses every name that is none of `_NAMES`."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {module:.60}.{name:.60}, which no tensor needs"
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        # ("storage", kind, key, device, count), and in a legacy file a view, always None
        if not (
            isinstance(pid, tuple)
            and len(pid) in (5, 6)
            and isinstance(pid[1], _Kind)
            and isinstance(pid[2], str)
            and type(pid[4]) is int
            and pid[4] >= 0
            and pid[5:] in ((), (None,))
        ):
            raise pickle.UnpicklingError("a storage is none that torch writes")
        return _Storage(pid[1], pid[2], pid[4])


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Returns the tensors in a file of `torch.save` by name: of a state dict or a checkpoint.

    Names of dicts within dicts are joined by dots; what is no tensor is left out. Arrays are
    read-only views of what was read, as strided as the tensors are, and tensors that share memory
    still do. bfloat16 becomes float32, which holds the same numbers.

    Both of torch's formats are read, the zip file and the one before torch 1.6. Nothing in the file
    is trusted: no code of it runs, and no more is allocated than its size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, is damaged, or holds what no tensor needs; the text says
            what.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            if zipfile.is_zipfile(file):
                return _read_zip(file)
            file.seek(0)
            return _read_legacy(memoryview(file.read()))
        except (
            *(pickle.UnpicklingError, zipfile.BadZipFile, EOFError, AttributeError, LookupError),
            *(TypeError, ValueError, OverflowError, NotImplementedError, RecursionError),
            *(OSError, RuntimeError),  # a place before the file, a zip file with a password
            DeprecationWarning,  # of a string that no tensor needs, where warnings are errors
        ) as error:
            raise ValueError(f"{path} is no file of torch tensors: {error}") from error


def _read_zip(file: Any) -> dict[str, Array]:
    """The zip format: NAME/data.pkl, NAME/data/KEY for each storage, NAME/byteorder."""
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError(f"expected one data.pkl in it, got {len(roots)}")
        left = os.fstat(file.fileno()).st_size

        def read(name: str) -> bytes:
            # Stored as they are, and together no larger than the file: no entry unfolds, and no two
            # can lie over each other.
            nonlocal left
            if (info := entries.get(roots[0] + name)) is None:
                raise ValueError(f"{name:.60} is missing in it")
            left -= info.file_size
            if info.compress_type != zipfile.ZIP_STORED or left < 0:
                raise ValueError(f"{name} in it is larger than the file")
            return archive.read(info)

        little = roots[0] + "byteorder" not in entries or read("byteorder") == b"little"
        described, _ = _unpickle(memoryview(read("data.pkl")), 0)
        return _arrays(described, lambda key: memoryview(read(f"data/{key}")), little=little)


def _read_legacy(data: memoryview) -> dict[str, Array]:
    """The format before torch 1.6: five pickles, then each storage's count and numbers."""
    place, pickles = 0, []
    for _ in range(5):
        described, place = _unpickle(data, place)
        pickles.append(described)
        if pickles[0] != _LEGACY_MAGIC:
            raise ValueError("it begins like neither of torch's formats")
    _, version, system, tensors, keys = pickles
    if version != _LEGACY_VERSION or not isinstance(system, dict) or not isinstance(keys, list):
        raise ValueError("its header is not that of torch's format")
    # What follows are the storages in the order of `keys`; how wide their numbers are, the tensors
    # say.
    kinds = {tensor.storage.key: tensor.storage.kind for _, tensor in _tensors(tensors)}
    parts: dict[str, memoryview] = {}
    for key in keys:
        if not isinstance(key, str) or key not in kinds:
            raise ValueError("it holds a storage that no tensor names")
        count = int.from_bytes(data[place : place + 8], "little")
        end = place + 8 + count * _width(kinds[key])
        if end > len(data):
            raise ValueError(f"it ends within the storage {key:.60}")
        parts[key] = data[place + 8 : end]
        place = end
    return _arrays(tensors, parts.__getitem__, little=bool(system.get("little_endian", True)))


def _unpickle(data: memoryview, start: int) -> tuple[Any, int]:
    """What the pickle at `start` describes, and where it ends."""
    stream = io.BytesIO(data[start:])
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name not in _OPERATIONS:
            raise ValueError(f"its pickle does {operation.name}, which no tensor needs")
        # A memo of that length is allocated before it is filled.
        if operation.name == "LONG_BINPUT" and int(argument or 0) > len(data):
            raise ValueError("its pickle remembers more than it has")
    end = stream.tell()
    stream.seek(0)
    return _Unpickler(stream).load(), start + end


def _tensors(described: Any) -> Iterator[tuple[str, _Tensor]]:
    """Every tensor in dicts within dicts, with its dotted name."""
    if not isinstance(described, dict):
        raise ValueError(f"expected a dict of tensors in it, got {type(described).__name__}")
    stack: list[tuple[str, dict[Any, Any]]] = [("", described)]
    seen = set()
    while stack:
        prefix, items = stack.pop()
        if id(items) in seen:  # it may hold itself
            raise ValueError("a dict is in it twice")
        seen.add(id(items))
        inner = []
        for key, value in dict.items(items):  # a pickle may have given it an `items`
            if isinstance(value, _Tensor | dict) and not isinstance(key, str | int):
                raise ValueError(f"expected names of tensors, got a {type(key).__name__}")
            if isinstance(value, _Tensor):
                yield f"{prefix}{key}", value
            elif isinstance(value, dict):
                inner.append((f"{prefix}{key}.", value))
        stack += reversed(inner)


def _arrays(
    described: Any, storage: Callable[[str], memoryview], *, little: bool
) -> dict[str, Array]:
    """The tensors as arrays, each storage read once."""
    flat: dict[_Storage, Array] = {}
    arrays: dict[str, Array] = {}
    for name, tensor in _tensors(described):
        if name in arrays:
            raise ValueError(f"two tensors in it are {name:.60}")
        if tensor.storage not in flat:
            flat[tensor.storage] = _numbers(tensor.storage, storage, little=little)
        arrays[name] = _view(name, flat[tensor.storage], tensor)
    return arrays


def _width(kind: _Kind) -> int:
    name = _STORAGES[kind.name]
    return 2 if name == "bfloat16" else np.dtype(name).itemsize


def _numbers(what: _Storage, storage: Callable[[str], memoryview], *, little: bool) -> Array:
    """The numbers of a storage in this machine's order of bytes, (count,), read-only."""
    data = storage(what.key)
    if len(data) != what.size * _width(what.kind):
        raise ValueError(
            f"the storage {what.key:.60} has {len(data)} bytes, not {what.size} numbers of "
            f"{_width(what.kind)}"
        )
    name = _STORAGES[what.kind.name]
    bits = np.dtype("u2" if name == "bfloat16" else name)
    numbers: Array = np.frombuffer(data, bits.newbyteorder("<" if little else ">"))
    if little != (sys.byteorder == "little"):
        numbers = numbers.astype(bits)
    if name == "bfloat16":
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    numbers.flags.writeable = False
    return numbers


def _view(name: str, numbers: Array, tensor: _Tensor) -> Array:
    size = math.prod(tensor.shape)
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((length - 1) * stride for length, stride in steps)
    if size and (last >= len(numbers) or size > len(numbers)):
        raise ValueError(
            f"{name:.60} of shape {tensor.shape} does not fit into its {len(numbers)} numbers"
        )
    if not size:
        return np.zeros(tensor.shape, numbers.dtype)
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
