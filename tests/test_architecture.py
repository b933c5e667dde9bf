"""The layers hold: an include or an import only ever points to the right.

C++     bindings, cuda/host -> api -> runtime -> cuda -> kernels -> cells -> simd
Python  cli -> tasks -> training -> models, audio, video -> layers -> cells, cuda -> functional
        -> _core
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import run_python

ROOT = Path(__file__).resolve().parents[1]
CPP, PYTHON = ROOT / "src" / "cpp", ROOT / "src" / "python" / "unrolled"

# From the bottom up; modules of one set may import each other.
CPP_LAYERS = [
    {"simd"},
    {"cells"},
    {"kernels"},
    {"cuda"},
    {"runtime"},
    {"api"},
    {"bindings", "cuda/host"},
]
PYTHON_LAYERS = [
    {"_core", "_cuda", "_extras"},
    {"functional"},
    {"cells", "cuda"},
    {"layers"},
    {"models", "audio", "video"},
    {"training", "interop"},
    {"tasks", "bench"},
    {"cli", "__main__"},
]
# The code of an ISA unit may use these alone: anything else could bring in weak AVX symbols.
HEADERS_OF_ISA_UNITS = {"cstddef", "cstdint", "immintrin.h", "arm_neon.h"}
MAX_LINES = 400

pytestmark = pytest.mark.skipif(not CPP.is_dir(), reason="runs in the source tree")


def rank(layers: list[set[str]], name: str, where: object) -> int:
    for index, names in enumerate(layers):
        if name in names:
            return index
    raise AssertionError(f"{where}: {name!r} has no place in the layers of test_architecture.py")


def sources(folder: Path, *endings: str) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in endings and "__pycache__" not in path.parts:
            yield path


def includes(path: Path) -> list[tuple[str, str]]:
    """(bracket or quote, name) of every include."""
    text = path.read_text(encoding="utf-8")
    return re.findall(r'^\s*#\s*include\s*(["<])([^">]+)[">]', text, flags=re.MULTILINE)


def cpp_layer(name: str) -> str:
    """The layer of a file by its path from src/cpp, or from src for what lies in src/cuda."""
    return "cuda/host" if name.startswith("cuda/host/") else name.split("/")[0]


def test_includes_point_right() -> None:
    checked = 0
    for path in (
        *sources(CPP, ".hpp", ".cpp"),
        *sources(ROOT / "src" / "cuda", ".hpp", ".cpp", ".cu"),
    ):
        base = CPP if CPP in path.parents else ROOT / "src"
        layer = cpp_layer(path.relative_to(base).as_posix())
        here = rank(CPP_LAYERS, layer, path)
        for kind, name in includes(path):
            if kind == "<":
                continue
            assert "/" in name, f"{path}: include {name!r} by its path from src/cpp"
            there = rank(CPP_LAYERS, cpp_layer(name), path)
            assert there <= here, f"{path}: {layer} must not include {name}"
            checked += 1
    assert checked > 20


def test_isa_units_use_no_library() -> None:
    for layer in ("simd", "cells", "kernels"):
        for path in sources(CPP / layer, ".hpp", ".cpp"):
            foreign = {name for kind, name in includes(path) if kind == "<"} - HEADERS_OF_ISA_UNITS
            assert not foreign, f"{path}: {sorted(foreign)}"


def test_gate_equations_stay_in_cells() -> None:
    """Nothing else in the C++ code names a cell."""
    names = re.compile(r"\b(lstm|gru|elman|rnn_tanh|rnn_relu)\b", re.IGNORECASE)
    for path in sources(CPP, ".hpp", ".cpp"):
        if path.parent.name == "cells":
            continue
        code = re.sub(
            r"//[^\n]*|/\*.*?\*/|R\"\w*\(.*?\)\w*\"", "", path.read_text(), flags=re.DOTALL
        )
        found = names.search(code)
        assert not found, f"{path} names the cell {found and found[0]}"


def imports(path: Path) -> set[str]:
    """Absolute dotted names of everything that the file imports, at any depth."""
    package = ["unrolled", *path.relative_to(PYTHON).parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def test_imports_point_right() -> None:
    for path in sources(PYTHON, ".py"):
        relative = path.relative_to(PYTHON)
        layer = relative.parts[0].removesuffix(".py")
        if layer in ("__init__", "reference"):
            continue
        here = rank(PYTHON_LAYERS, layer, path)
        for name in imports(path):
            package, _, module = name.partition(".")
            module = module.split(".")[0]
            if package != "unrolled" or module == "__version__":
                continue
            if module == "reference":
                assert layer in ("bench", "cells"), (  # cells adds the twins of new ones
                    f"{path}: nothing but checks may compute with the reference"
                )
                continue
            there = rank(PYTHON_LAYERS, module, path)
            assert there <= here, f"{path}: {layer} must not import {name}"


@pytest.mark.parametrize(("extension", "package"), [("_core", "functional"), ("_cuda", "cuda")])
def test_only_one_package_imports_an_extension(extension: str, package: str) -> None:
    for path in sources(PYTHON, ".py"):
        if any(name.startswith(f"unrolled.{extension}") for name in imports(path)):
            assert path.parent == PYTHON / package, path


def test_the_reference_stands_alone() -> None:
    allowed = {"__future__", "collections", "dataclasses", "typing", "numpy"}
    for path in sources(PYTHON / "reference", ".py"):
        for name in imports(path):
            assert name.startswith("unrolled.reference.") or name.split(".")[0] in allowed, path


def test_numpy_is_the_only_dependency() -> None:
    result = run_python(
        """
        import sys
        import numpy, numpy.random
        known = {name.split(".")[0] for name in sys.modules}
        import unrolled, unrolled.functional, unrolled.layers, unrolled.models, unrolled.training
        import unrolled.cuda
        new = {name.split(".")[0] for name in sys.modules} - known - set(sys.stdlib_module_names)
        print(*sorted(n for n in new if not n.startswith("_")))
        """
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["unrolled"]


def test_files_are_short() -> None:
    """A longer file says in its first lines why it is not split: `over 400 lines because ...`."""
    for folder in (ROOT / "src", ROOT / "tests", ROOT / "benchmarks"):
        for path in sources(folder, ".py", ".pyi", ".hpp", ".cpp", ".cu"):
            lines = path.read_text(encoding="utf-8").splitlines()
            excused = "over 400 lines because" in " ".join(lines[:12])
            assert len(lines) <= MAX_LINES or excused, f"{path}: {len(lines)} lines"


def isa_objects() -> list[Path]:
    """The objects of builds for this machine; sanitizers add weak symbols of their own."""
    build = ROOT / "build"
    found = build.rglob("isa_*.dir/**/*.o") if build.is_dir() else []
    return sorted(path for path in found if build / "native" not in path.parents)


def test_isa_units_share_no_symbols() -> None:
    """No weak symbol outside the unit's own namespace.

    The linker keeps one copy of a weak function for everybody. If that copy came from a unit that
    was compiled for AVX-512, the program would crash on a CPU without it.
    """
    objects, nm = isa_objects(), shutil.which("nm")
    if not objects or nm is None:
        pytest.skip("needs nm and the object files of a build in build/")
    for path in objects:
        isa = re.search(r"isa_(\w+)\.dir", str(path))[1]
        output = subprocess.run(
            [nm, "--demangle", "--defined-only", str(path)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        own = f"unrolled::{isa}::"
        for line in output.splitlines():
            kind, _, name = line[17:].partition(" ")
            if kind in "WVu" and not re.search(rf"(^|[ &*]){own}", name.split("(")[0]):
                raise AssertionError(f"{path.name} of {isa} shares {name}")
            if kind in "TDB":
                assert name.startswith(own), f"{path.name} of {isa} exports {name}"
