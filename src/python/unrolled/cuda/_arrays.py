"""The library that an array on a device comes from: its memory, its stream, its copies to hosts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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

    def empty(self, shape: Sequence[int], dtype: str = "float32") -> Any:
        """An uninitialised array."""


@dataclass(frozen=True)
class _Torch:
    index: int

    @property
    def stream(self) -> int:
        torch: Any = import_extra("torch", "torch")
        return int(torch.cuda.current_stream(self.index).cuda_stream)

    def empty(self, shape: Sequence[int], dtype: str = "float32") -> Any:
        torch: Any = import_extra("torch", "torch")
        return torch.empty(
            tuple(shape), dtype=getattr(torch, dtype), device=torch.device("cuda", self.index)
        )


@dataclass(frozen=True)
class _CuPy:
    index: int

    @property
    def stream(self) -> int:
        cupy: Any = import_extra("cupy", "cuda")
        return int(cupy.cuda.get_current_stream(self.index).ptr)

    def empty(self, shape: Sequence[int], dtype: str = "float32") -> Any:
        cupy: Any = import_extra("cupy", "cuda")
        with cupy.cuda.Device(self.index):
            return cupy.empty(tuple(shape), dtype)


def array_module(where: str, array: Any) -> ArrayModule:
    """The library of `array`: torch's tensors are torch's, everything else is CuPy's.

    Raises TypeError for what lies on no CUDA device; `where` is the function in its text.
    """
    if not is_device_array(array):
        raise TypeError(
            f"[{where}] expected x to be an array of a CUDA device, got {type(array).__name__}"
        )
    if type(array).__module__.partition(".")[0] == "torch":
        return _Torch(array.device.index)
    if hasattr(array, "__dlpack_device__"):
        return _CuPy(array.__dlpack_device__()[1])
    cupy: Any = import_extra("cupy", "cuda")
    return _CuPy(cupy.cuda.Device().id)


def to_host(values: Any) -> Any:
    """A copy on the host of what lies on a device (which is waited for); the same otherwise."""
    if not is_device_array(values):
        return values
    if hasattr(values, "cpu"):  # torch
        return values.cpu().numpy()
    cupy: Any = import_extra("cupy", "cuda")
    return cupy.asnumpy(values)
