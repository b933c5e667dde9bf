"""The library that an array on a device comes from: its memory, its stream, its copies to hosts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .._extras import import_extra

_CUDA = (2, 13)  # DLPack's numbers of a CUDA device and of its managed memory


def is_device_array(array: Any) -> bool:
    """Whether `array` lies in the memory of a CUDA device."""
    if hasattr(array, "__dlpack_device__"):
        return array.__dlpack_device__()[0] in _CUDA
    return hasattr(array, "__cuda_array_interface__")


class ArrayModule(Hashable, Protocol):
    """What a scan needs of an array library, on one device."""

    @property
    def stream(self) -> int:
        """The current stream, a cudaStream_t."""

    def empty(self, shape: Sequence[int], dtype: Any = np.float32) -> Any:
        """An uninitialised array."""


@dataclass(frozen=True)
class Torch:
    """torch on a device."""

    index: int

    @property
    def stream(self) -> int:
        torch: Any = import_extra("torch", "torch")
        return int(torch.cuda.current_stream(self.index).cuda_stream)

    def empty(self, shape: Sequence[int], dtype: Any = np.float32) -> Any:
        torch: Any = import_extra("torch", "torch")
        kind = getattr(torch, np.dtype(dtype).name)
        return torch.empty(tuple(shape), dtype=kind, device=torch.device("cuda", self.index))


@dataclass(frozen=True)
class CuPy:
    """CuPy on a device."""

    index: int

    @classmethod
    def current(cls) -> CuPy:
        """That of CuPy's current device."""
        cupy: Any = import_extra("cupy", "cuda")
        return cls(int(cupy.cuda.Device().id))

    @property
    def stream(self) -> int:
        cupy: Any = import_extra("cupy", "cuda")
        return int(cupy.cuda.get_current_stream(self.index).ptr)

    def empty(self, shape: Sequence[int], dtype: Any = np.float32) -> Any:
        cupy: Any = import_extra("cupy", "cuda")
        with cupy.cuda.Device(self.index):
            return cupy.empty(tuple(shape), dtype)


def array_module(where: str, array: Any) -> ArrayModule:
    """The library of `array`: torch's tensors are torch's, everything else is CuPy's.

    Raises TypeError for what lies on no CUDA device; `where` is the function in its text.
    """
    if not is_device_array(array):
        raise TypeError(
            f"[{where}] expected an array of a CUDA device, got a {type(array).__name__}"
        )
    if type(array).__module__.partition(".")[0] == "torch":
        return Torch(array.device.index)
    if hasattr(array, "__dlpack_device__"):
        return CuPy(array.__dlpack_device__()[1])
    return CuPy.current()


def empty(shape: Sequence[int], dtype: Any = np.float32) -> Any:
    """An uninitialised CuPy array on its current device."""
    return CuPy.current().empty(shape, dtype)


def to_device(values: Any) -> Any:
    """A copy of an array of the host as a CuPy array on its current device."""
    cupy: Any = import_extra("cupy", "cuda")
    return cupy.asarray(values)


def to_host(values: Any) -> Any:
    """A copy on the host of what lies on a device (which is waited for); the same otherwise."""
    if not is_device_array(values):
        return values
    if hasattr(values, "cpu"):  # torch
        return values.cpu().numpy()
    cupy: Any = import_extra("cupy", "cuda")
    return cupy.asnumpy(values)


def zero(array: Any) -> None:
    """Sets all elements to zero."""
    array[...] = 0
