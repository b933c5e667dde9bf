"""The devices that unrolled.cuda is tested on: one that is emulated, and a GPU where there is one.

The emulated one is the module _cuda itself, compiled with the kernels as plain C++ (tests/cuda) and
with a CUDA run time and a cuBLAS whose memory is the host's (tests/cuda_runtime).
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import unrolled.cuda

ROOT = Path(__file__).resolve().parents[1]
STREAM = 0x5000  # of the emulated device: neither the default nor one of the protocols' names


def build_emulated(folder: Path) -> Path:
    """Compiles the module; takes most of a minute."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    pybind11 = pytest.importorskip("pybind11", reason='pip install "pybind11>=3.1"')
    if compiler is None:
        pytest.skip("needs g++ or clang++")
    sources = [
        *sorted((ROOT / "src" / "cuda").glob("*.cu")),
        *sorted((ROOT / "src" / "cuda" / "host").glob("*.cpp")),
        *(ROOT / "src" / "cpp" / "api" / name for name in ("plan.cpp", "array.cpp")),
        ROOT / "tests" / "cuda" / "emulation.cpp",
        *sorted((ROOT / "tests" / "cuda_runtime").glob("*.cpp")),
    ]
    includes = [ROOT / path for path in ("tests/cuda_runtime", "src", "src/cpp", "tests")]
    system = [pybind11.get_include(), sysconfig.get_path("include")]
    module = folder / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
    subprocess.run(
        [
            compiler,
            *("-std=c++20", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread"),
            *("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
            *(f"-I{path}" for path in includes),
            *(f"-isystem{path}" for path in system),
            *("-x", "c++", *sources, "-o", module),
        ],
        check=True,
    )
    return module


def load(path: Path) -> ModuleType:
    """The extension module at `path`; pybind11 makes one module of a name, and this is another."""
    spec = importlib.util.spec_from_file_location("emulated._cuda", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class EmulatedArray:
    """An array of the emulated device: an interface to memory of the host, nothing else."""

    def __init__(self, host: np.ndarray, *, read_only: bool = False, stream: int | None = None):
        self.host, self.read_only, self.stream = host, read_only, stream

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.host.shape,
            "typestr": self.host.dtype.str,
            "data": (self.host.__array_interface__["data"][0], self.read_only),
            "strides": self.host.__array_interface__["strides"],
            "stream": self.stream,
            "version": 3,
        }

    @property
    def nbytes(self) -> int:
        return self.host.nbytes


@dataclass(frozen=True)
class EmulatedModule:
    """The array library of the emulated device. New arrays are full of NaN."""

    stream: int = STREAM

    def empty(self, shape: Sequence[int], dtype: str = "float32") -> EmulatedArray:
        host = np.empty(shape, dtype)
        host.view(np.uint8).fill(0xFF)
        return EmulatedArray(host)


class EmulatedDevice:
    """Moves arrays to and from the device, and counts what it was asked to do."""

    name = "emulated"

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))

    def put(self, host: np.ndarray) -> EmulatedArray:
        return EmulatedArray(host.copy())

    def get(self, array: EmulatedArray) -> np.ndarray:
        return array.host.copy()

    def view(self, array: EmulatedArray, function: Any) -> EmulatedArray:
        """`function` of the array, as a view."""
        return EmulatedArray(function(array.host))

    def repeat(self, array: EmulatedArray, shape: tuple[int, ...]) -> EmulatedArray:
        return EmulatedArray(np.broadcast_to(array.host, shape))

    def write(self, array: EmulatedArray, host: np.ndarray) -> None:
        """Changes the array in place."""
        array.host[...] = host

    def count(self, what: str) -> int:
        counted: int = self.library[f"count_{what}"]()
        return counted


class CupyDevice:
    """A GPU through CuPy."""

    name = "cupy"

    def __init__(self) -> None:
        self.cupy = pytest.importorskip("cupy", reason='pip install "unrolled[cuda]"')

    def put(self, host: np.ndarray) -> Any:
        return self.cupy.asarray(host)

    def get(self, array: Any) -> np.ndarray:
        return self.cupy.asnumpy(array)

    def view(self, array: Any, function: Any) -> Any:
        return function(array)

    def repeat(self, array: Any, shape: tuple[int, ...]) -> Any:
        return self.cupy.broadcast_to(array, shape)

    def write(self, array: Any, host: np.ndarray) -> None:
        array[...] = self.cupy.asarray(host)


class TorchDevice:
    """A GPU through torch."""

    name = "torch"

    def __init__(self) -> None:
        self.torch = pytest.importorskip("torch", reason='pip install "unrolled[torch]"')
        if not self.torch.cuda.is_available():
            pytest.skip("needs a torch with CUDA")

    def put(self, host: np.ndarray) -> Any:
        return self.torch.from_numpy(host.copy()).cuda()

    def get(self, array: Any) -> np.ndarray:
        return array.cpu().numpy()

    def view(self, array: Any, function: Any) -> Any:
        return function(array)

    def repeat(self, array: Any, shape: tuple[int, ...]) -> Any:
        return self.torch.broadcast_to(array, shape)

    def write(self, array: Any, host: np.ndarray) -> None:
        array.copy_(self.torch.from_numpy(host))


def use_emulated(monkeypatch: pytest.MonkeyPatch, module: ModuleType, path: Path) -> EmulatedDevice:
    """Makes unrolled.cuda run on the emulated device until the test ends."""
    monkeypatch.setitem(__import__("sys").modules, "unrolled._cuda", module)
    monkeypatch.setattr(unrolled, "_cuda", module, raising=False)
    monkeypatch.setattr("unrolled.cuda._library._candidates", lambda: [str(path)])
    monkeypatch.setattr("unrolled.cuda._scan.array_module", lambda where, array: EmulatedModule())
    unrolled.cuda._library.require.cache_clear()
    return EmulatedDevice(path)
