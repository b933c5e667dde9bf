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

from .. import functional

_COMPILERS = ("c++", "g++", "clang++")
_PATIENCE = 2.0  # seconds before a line says what takes so long
_LANGUAGE = ("-std=c++20", "-shared", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden")


def compile_unit(name: str, source: str, isa: str) -> Path:
    """The shared object of a source file with one cell, from the cache or compiled now.

    It lies in `$XDG_CACHE_HOME/unrolled/cells` (`~/.cache` without the variable) under a hash of
    all that it depends on: the source, the kernels' headers, the flags, the compiler's version.

    Args:
        name: what messages call the cell.
        source: C++ that includes `kernels/export_cell.hpp`.
        isa: the instruction set, which decides the flags.

    Raises:
        RuntimeError: there is no compiler, or it fails; the text says what to do.
    """
    compiler = _compiler(name)
    version = _version(name, tuple(compiler))
    include = functional.include_folder()
    try:
        common, gnu = (include / "flags" / isa).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise RuntimeError(
            f"[cell {name}] expected the kernels' headers in {include}, where the package's "
            f"installation puts them: {error}"
        ) from error
    flags = [*_LANGUAGE, *common.split(), f"-DUNROLLED_ISA={isa}"]
    flags += gnu.split() if "Free Software Foundation" in version else []
    parts = (source, _headers(include), *flags, *compiler, version)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    path = _cache_folder() / f"{name}-{isa}-{key}.so"
    if path.exists():
        return path
    # Whoever is first puts the whole file in place; another process that built it too puts the same
    # one there.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unit, built = Path(folder, "cell.cpp"), Path(folder, "cell.so")
        unit.write_text(source, encoding="utf-8")
        command = [*compiler, *flags, f"-I{include}", str(unit), "-o", str(built)]
        _run(name, command)
        os.replace(built, path)
    return path


def _compiler(name: str) -> list[str]:
    """The command that compiles C++: CXX, or the first of the usual names on the path."""
    chosen = shlex.split(os.environ.get("CXX", ""))
    for candidate in [chosen] if chosen else [[usual] for usual in _COMPILERS]:
        program = shutil.which(candidate[0])
        if program is not None:
            return [program, *candidate[1:]]
    wanted = f"the compiler that CXX names ({chosen[0]})" if chosen else ", ".join(_COMPILERS)
    raise RuntimeError(
        f"[cell {name}] expected a C++20 compiler, {wanted}, on the path, found none: install one, "
        'as with "apt install g++" or "xcode-select --install", or let CXX name it'
    )


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


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base, "unrolled", "cells")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
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
