"""The device code compiles for every architecture, without a warning and without local memory."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from unrolled.cells._compiler import find_nvcc

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURES = ("arch=compute_80,code=sm_80", "arch=compute_90,code=[sm_90,compute_90]")


SOURCES = sorted(path.stem for path in (ROOT / "src" / "cuda").glob("*.cu"))


@pytest.mark.skipif(not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree")
@pytest.mark.parametrize("name", SOURCES)
def test_device_code_compiles(tmp_path: Path, name: str) -> None:
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("needs nvcc")
    flags = ["-std=c++20", "-O2", "-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra"]
    flags += ["-Xptxas", "-v", "--threads", str(len(ARCHITECTURES))]
    for architecture in ARCHITECTURES:
        flags += ["-gencode", architecture]
    includes = [f"-I{ROOT / folder}" for folder in ("src", "src/cpp")]
    source, output = ROOT / "src" / "cuda" / f"{name}.cu", tmp_path / f"{name}.o"
    done = subprocess.run(
        [nvcc, *flags, *includes, "-c", source, "-o", output],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Sums that do not stay in registers would go through memory in the innermost loop.
    stacks = re.findall(r"(\d+) bytes stack frame", done.stderr + done.stdout)
    assert len(stacks) >= 2 * len(ARCHITECTURES)  # of kernels
    assert set(stacks) == {"0"}


@pytest.mark.skipif(not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree")
def test_a_cell_of_ones_own_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command and the headers that users have it compiled with."""
    pytest.importorskip("sympy", reason='pip install "unrolled[cells]"')
    import custom_cells

    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("needs nvcc")
    include = tmp_path / "include"
    for source in (*(ROOT / "src" / "cpp").iterdir(), ROOT / "src" / "cuda"):
        shutil.copytree(source, include / source.name)
    device = SimpleNamespace(compute_capability="90")
    cupy = SimpleNamespace(cuda=SimpleNamespace(Device=lambda: device))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setenv("CUDACXX", nvcc)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("unrolled.functional.include_folder", lambda: include)
    built = custom_cells.custom_rnn.build_for_cuda()
    assert built.stat().st_size > 10_000
    assert custom_cells.custom_rnn.build_for_cuda() == built
