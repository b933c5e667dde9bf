"""Compiling a cell with the system's compiler, once: objects stay in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import functional
from .._extras import import_extra, nvidia_folders

_COMPILERS = ("c++", "g++", "clang++")
_PATIENCE = 2.0  # seconds before a line says what takes so long
_LANGUAGE = ("-std=c++20", "-shared", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden")


def compile_unit(name: str, source: str, isa: str) -> Path:
    """The shared object of a source file with one cell, from the cache or compiled now.

    It lies in `$XDG_CACHE_HOME/unrolled/cells` (`~/.cache` without the variable) under a hash of
    all that it depends on: the source, the kernels' headers, the flags, the compiler's version.
    Where there is no compiler, any compiler's will do.

    Args:
        name: what messages call the cell.
        source: C++ that includes `kernels/export_cell.hpp`.
        isa: the instruction set, which decides the flags.

    Raises:
        RuntimeError: there is no compiler, or it fails, or no cache; the text says what to do.
    """
    include = functional.include_folder()
    try:
        flags = (include / "flags" / isa).read_text(encoding="utf-8")
    except OSError as error:
        raise RuntimeError(
            f"[cell {name}] expected the kernels' headers in {include}, where the package's "
            f"installation puts them: {error}"
        ) from error
    folder = _cache_folder(name)
    stem = f"{name}-{isa}-{_digest(source, _headers(include), flags, *_LANGUAGE)}"
    compiler = _compiler()
    if compiler is None:
        compiled = sorted(folder.glob(f"{stem}-*.so"))
        if compiled:
            return compiled[0]
        raise RuntimeError(
            f"[cell {name}] expected a C++20 compiler on the path, the one that CXX names or "
            f"one of {', '.join(_COMPILERS)}, found none: install one, as with "
            '"apt install g++" or "xcode-select --install"'
        )
    version = _version(name, tuple(compiler))
    path = folder / f"{stem}-{_digest(*compiler, version)}.so"
    if not path.exists():
        common, gnu = flags.splitlines()
        options = [*_LANGUAGE, *common.split(), f"-DUNROLLED_ISA={isa}", f"-I{include}"]
        options += gnu.split() if "Free Software Foundation" in version else []
        _compile(name, [*compiler, *options], source, path)
    return path


def compile_device_unit(name: str, source: str) -> Path:
    """The shared object of a source file with one cell for CUDA; otherwise as `compile_unit`.

    It is for the compute capability of CuPy's current device.

    Args:
        name: what messages call the cell.
        source: C++ that includes `cuda/export_cell.hpp`.

    Raises:
        RuntimeError: there is no nvcc, or it fails, or no cache; the text says what to do.
    """
    cupy: Any = import_extra("cupy", "cuda")
    include, nvcc = functional.include_folder(), find_nvcc()
    if nvcc is None:
        raise RuntimeError(
            f"[cell {name}] expected nvcc of CUDA 13, the one that CUDACXX names or one on the "
            "path, found none: install NVIDIA's toolkit, or "
            "`pip install nvidia-cuda-nvcc nvidia-cuda-cccl`"
        )
    options = [
        *("-std=c++20", "-O2", "-shared", "-x", "cu", "-Xcompiler", "-fPIC,-fvisibility=hidden"),
        f"-arch=sm_{cupy.cuda.Device().compute_capability}",
    ]
    version = _version(name, (nvcc,))
    digest = _digest(source, _headers(include), *options, nvcc, version)
    path = _cache_folder(name) / f"{name}-cuda-{digest}.so"
    if not path.exists():
        _compile(name, [nvcc, *options, f"-I{include}"], source, path)
    return path


def find_nvcc() -> str | None:
    """CUDACXX, else nvcc on the path, else that of NVIDIA's packages."""
    packaged = [str(folder / "cu13" / "bin" / "nvcc") for folder in nvidia_folders()]
    candidates = [os.environ.get("CUDACXX") or "nvcc", *packaged]
    return next(filter(None, map(shutil.which, candidates)), None)


def _compile(name: str, command: list[str], source: str, path: Path) -> None:
    """Puts the whole file in place; another process that builds it too puts the same one there."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unit, built = Path(folder, "cell.cpp"), Path(folder, "cell.so")
        unit.write_text(source, encoding="utf-8")
        _run(name, [*command, str(unit), "-o", str(built)])
        os.replace(built, path)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _compiler() -> list[str] | None:
    """The command that compiles C++: CXX, or the first of the usual names on the path."""
    chosen = shlex.split(os.environ.get("CXX", ""))
    for candidate in [chosen] if chosen else [[usual] for usual in _COMPILERS]:
        program = shutil.which(candidate[0])
        if program is not None:
            return [program, *candidate[1:]]
    return None


@lru_cache
def _version(name: str, compiler: tuple[str, ...]) -> str:
    shown = subprocess.run(
        [*compiler, "--version"], capture_output=True, text=True, check=False, errors="replace"
    )
    if shown.returncode != 0:
        raise RuntimeError(
            f"[cell {name}] expected {compiler[0]} --version to work, got: {shown.stderr.strip()}"
        )
    return shown.stdout


@lru_cache
def _headers(include: Path) -> str:
    """A hash of everything that a cell may include."""
    digest = hashlib.sha256()
    for path in sorted(include.rglob("*.hpp")):
        digest.update(str(path.relative_to(include)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _cache_folder(name: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base, "unrolled", "cells")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise RuntimeError(
            f"[cell {name}] expected to keep compiled cells in {folder}, got: {error}; let "
            "XDG_CACHE_HOME name a folder that can be written"
        ) from error
    return folder


def _run(name: str, command: list[str]) -> None:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        try:
            output, _ = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            print(f"unrolled: compiling the cell {name}, once ...", file=sys.stderr, flush=True)
            output, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(
            f"[cell {name}] expected {command[0]} to compile C++20 (GCC 10 or Clang 13 and later), "
            f"got:\n{output[-2000:]}"
        )
