"""The device code compiles for every architecture, without a warning and without local memory."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURES = ("arch=compute_80,code=sm_80", "arch=compute_90,code=[sm_90,compute_90]")


def find_nvcc() -> str | None:
    """On the path, or from NVIDIA's package nvidia-cuda-nvcc."""
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec is not None else None
    installed = [str(Path(folder, "cu13", "bin")) for folder in folders or ()]
    found = (shutil.which("nvcc", path=path) for path in (None, *installed))
    return next(filter(None, found), None)


@pytest.mark.skipif(not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree")
@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "src" / "cuda").glob("*.cu")))
def test_device_code_compiles(tmp_path: Path, name: str) -> None:
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("needs nvcc")
    flags = ["-std=c++20", "-O2", "-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra"]
    flags += ["-Xptxas", "-v"]
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
