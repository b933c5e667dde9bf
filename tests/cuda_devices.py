"""The devices that unrolled.cuda is tested on: one that is emulated, and a GPU where there is one.

The emulated one is the module _cuda itself, compiled with the kernels as plain C++ (tests/cuda) and
with a CUDA run time and a cuBLAS whose memory is the host's (tests/cuda_runtime).
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

import unrolled.cuda
from dlpack import Managed, ManagedVersioned, capsule_name, capsule_pointer

ROOT = Path(__file__).resolve().parents[1]
STREAM = 0x5000  # of the emulated device: neither the default nor one of the protocols' names


def build_once(build: Callable[[Path], Path], factory: pytest.TempPathFactory) -> Path:
    """What `build(folder)` makes, once for all processes of a run of tests.

    It stays below $UNROLLED_TEST_BUILDS for the next run, or lies in a folder of this one.
    """
    kept = os.environ.get("UNROLLED_TEST_BUILDS")
    run = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent  # the worker's own is below that of the run
    folder = Path(kept or run / "builds", build.__name__)
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "made"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        if not made.exists():
            made.write_text(str(build(folder)))
    return Path(made.read_text())


def build_emulated(folder: Path) -> Path:
    """Compiles the module; takes most of a minute."""
    pybind11 = pytest.importorskip("pybind11", reason='pip install "unrolled[test]"')
    host = sorted((ROOT / "src" / "cuda" / "host").glob("*.cpp"))
    module = [path for path in host if path.stem in {"models", "module"}]
    units = {"module": module, "host": [path for path in host if path not in module]}
    for name, paths in units.items():  # as in src/cuda/CMakeLists.txt
        lines = [f'#include "{path}"' for path in paths]
        (folder / f"{name}.cpp").write_text("\n".join([*lines, ""]))
    sources = [
        *(folder / f"{name}.cpp" for name in units),
        ROOT / "tests" / "cuda" / "emulation.cpp",
        *sorted((ROOT / "tests" / "cuda_runtime").glob("*.cpp")),
    ]
    system = [pybind11.get_include(), sysconfig.get_path("include")]
    return _compile(
        folder / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}",
        sources,
        *("-shared", "-fPIC", "-fvisibility=hidden", "-pthread"),
        *(f"-I{ROOT / 'tests' / 'cuda_runtime'}", *(f"-isystem{path}" for path in system)),
    )


def build_program(folder: Path) -> Path:
    """Compiles tests/cuda with the kernels, which takes longer than all its runs."""
    sources = sorted((ROOT / "tests" / "cuda").glob("*.cpp"))
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    return _compile(folder / "program", sources, *sanitizers)


def _compile(output: Path, sources: Sequence[Path], *flags: str) -> Path:
    """Compiles sources with the kernels as plain C++."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs g++ or clang++")
    kernels = [
        *sorted((ROOT / "src" / "cuda").glob("*.cu")),
        *(
            ROOT / "src" / "cpp" / "api" / f"{name}.cpp"
            for name in ("array", "gates", "plan", "windows")
        ),
    ]
    includes = [f"-I{ROOT / path}" for path in ("src", "src/cpp", "tests")]
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    given = ["-std=c++20", "-O1", *flags, *includes, *warnings, "-x", "c++", "-c"]

    def build(number: int, source: Path) -> Path:
        made = output.with_name(f"{number}-{source.stem}.o")
        subprocess.run([compiler, *given, source, "-o", made], check=True)
        return made

    files = [*sources, *kernels]  # those that take longest first
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(build, range(len(files)), files))
    subprocess.run([compiler, *flags, *objects, "-o", output], check=True)
    for made in objects:
        made.unlink()
    return output


def run_program(program: Path, what: str, given: bytes) -> np.ndarray:
    """What the program writes of what it is given."""
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder, "given"), Path(folder, "results")
        path.write_bytes(given)
        done = subprocess.run(
            [program, what, path, output], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return np.fromfile(output, np.float32)


def run_numbered(
    program: Path, what: str, which: int, seed: int, sizes: Sequence[int], arrays: Sequence[Any]
) -> Callable[..., np.ndarray]:
    """What one of the program's functions gives, taken by shapes one after the other."""
    numbers = np.array([which, seed, *sizes], np.int64).tobytes()
    parts = [part if isinstance(part, bytes) else part.tobytes() for part in arrays]
    values, begin = run_program(program, what, numbers + b"".join(parts)), 0

    def take(*shape: int) -> np.ndarray:
        nonlocal begin
        begin += int(np.prod(shape))
        assert begin <= values.size
        return values[begin - int(np.prod(shape)) : begin].reshape(shape)

    return take


def load(path: Path) -> ModuleType:
    """The extension module at `path`; pybind11 makes one module of a name, and this is another."""
    spec = importlib.util.spec_from_file_location("emulated._cuda", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def refuse_host(function: Any, args: Sequence[Any]) -> None:
    if any(type(array) is np.ndarray and array.size > 1 for array in args):
        raise TypeError(f"{function.__name__} of arrays of CuPy and of NumPy")


class EmulatedArray(np.ndarray):
    """An array of the emulated CuPy: memory of the host that says that it lies on a device.

    As CuPy's, it takes part in NumPy's functions, but not together with arrays of NumPy.
    """

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        refuse_host(function, args)
        result = super().__array_function__(function, types, args, options)
        return result.view(EmulatedArray) if isinstance(result, np.ndarray) else result

    def __array_ufunc__(self, function: Any, method: str, *args: Any, **options: Any) -> Any:
        refuse_host(function, args)
        out = options.pop("out", ())
        given = [a.view(np.ndarray) if isinstance(a, EmulatedArray) else a for a in (*args, *out)]
        options |= {"out": tuple(given[len(args) :])} if out else {}
        result = getattr(function, method)(*given[: len(args)], **options)
        return out[0] if out else np.asarray(result).view(EmulatedArray)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __dlpack__(self, *, stream: int | None = None, **options: Any) -> Any:
        capsule = np.asarray(self).__dlpack__(**options)
        name = capsule_name(capsule)
        struct = Managed if name == b"dltensor" else ManagedVersioned
        struct.from_address(capsule_pointer(capsule, name)).tensor.device_type = 2
        return capsule


class InterfaceArray:
    """Another library's array, which has the CUDA array interface alone."""

    def __init__(
        self, host: np.ndarray, *, read_only: bool = False, stream: int | None = None
    ) -> None:
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


class EmulatedCurrent(AbstractContextManager[None]):
    """cupy.cuda.Device."""

    used: ClassVar[list[int]] = []

    def __init__(self, index: int = 0) -> None:
        self.id = index

    def use(self) -> None:
        EmulatedCurrent.used.append(self.id)

    def __exit__(self, *error: object) -> None:
        pass


class EmulatedCuPy(ModuleType):
    """What unrolled calls of CuPy, for the emulated device. New arrays are full of NaN."""

    def __init__(self) -> None:
        super().__init__("cupy")
        self.ndarray = EmulatedArray
        # Work on a stream is done at once, so that nobody has to wait for it.
        stream = SimpleNamespace(ptr=STREAM, wait_event=lambda event: None)
        self.cuda = SimpleNamespace(
            Device=EmulatedCurrent,
            Stream=lambda non_blocking: stream,
            Event=lambda disable_timing: SimpleNamespace(record=lambda stream: None),
            get_current_stream=lambda index=0: stream,
        )

    def empty(self, shape: Sequence[int], dtype: Any) -> EmulatedArray:
        array = np.empty(shape, dtype)
        array.view(np.uint8).fill(0xFF)
        return array.view(EmulatedArray)

    def asarray(self, host: np.ndarray) -> EmulatedArray:
        return np.array(host, order="C").view(EmulatedArray)

    def asnumpy(self, array: EmulatedArray) -> np.ndarray:
        return np.array(array)


class EmulatedDevice:
    """Moves arrays to and from the device, and counts what it was asked to do."""

    name = "emulated"

    def __init__(self, path: Path, cupy: EmulatedCuPy) -> None:
        self.library, self.cupy = ctypes.CDLL(str(path)), cupy

    def put(self, host: np.ndarray) -> Any:
        return self.cupy.asarray(host)

    def get(self, array: Any) -> np.ndarray:
        return self.cupy.asnumpy(array)

    def repeat(self, array: Any, shape: tuple[int, ...]) -> Any:
        strides = [s if n > 1 else 0 for n, s in zip(array.shape, array.strides, strict=True)]
        return np.lib.stride_tricks.as_strided(array, shape, strides, subok=True)

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

    def repeat(self, array: Any, shape: tuple[int, ...]) -> Any:
        return self.cupy.broadcast_to(array, shape)


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

    def repeat(self, array: Any, shape: tuple[int, ...]) -> Any:
        return self.torch.broadcast_to(array, shape)


def use_emulated(monkeypatch: pytest.MonkeyPatch, module: ModuleType, path: Path) -> EmulatedDevice:
    """Makes unrolled.cuda run on the emulated device until the test ends."""
    cupy = EmulatedCuPy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "unrolled._cuda", module)
    monkeypatch.setattr(unrolled, "_cuda", module, raising=False)
    monkeypatch.setattr("unrolled.cuda._library._candidates", lambda: [str(path)])
    unrolled.cuda._library.require.cache_clear()
    return EmulatedDevice(path, cupy)
