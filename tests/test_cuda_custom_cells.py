"""A cell written as equations runs on a CUDA device, as its twin in the reference does."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from problems import Dims, make_problem
from test_cuda_host import Run, check
from tolerances import assert_close
from unrolled import reference

pytest.importorskip("sympy", reason='pip install "unrolled[cells]"')

import custom_cells

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree"
)


@pytest.fixture
def own_device(
    emulated: Any, emulated_device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The emulated device, for which cells are compiled as plain C++."""
    # What a cell launches runs in the emulation of the module: its symbols are for all from here.
    ctypes.CDLL(str(emulated[1]), mode=ctypes.RTLD_GLOBAL)

    def build(name: str, source: str) -> Path:
        unit, built = tmp_path / f"{name}.cpp", tmp_path / f"{name}.so"
        unit.write_text(source)
        flags = ["-std=c++20", "-O1", "-shared", "-fPIC", "-fvisibility=hidden"]
        flags += [f"-I{ROOT / folder}" for folder in ("src", "src/cpp", "tests")]
        subprocess.run(["g++", *flags, unit, "-o", built], check=True)
        return built

    monkeypatch.setattr("unrolled.cells._cell.compile_device_unit", build)
    monkeypatch.setattr("unrolled.cuda._cells._loaded", {})
    return emulated_device


@pytest.mark.parametrize("name", ["custom_gru", "custom_peephole", "custom_min_gru"])
def test_it_is_the_reference(own_device: Any, name: str) -> None:
    """With a recurrent product, with parameters of units, and without a product."""
    problem = make_problem(name, Dims(6, 3, 4, 37), np.float32, ragged=True, resets=True)
    for path in ("steps", "persistent"):
        check(problem, Run(own_device, problem, path=path).vjp())
    layer = unrolled.Recurrent(name, 4, 37, rng=np.random.default_rng(1)).to("cuda")
    y, _ = layer(own_device.put(problem.x))
    assert y.shape == (6, 3, 37)


def test_a_graph_of_it(own_device: Any) -> None:
    """From the third call with the same arrays on: what its kernels put there is kept, too."""
    layer = unrolled.Recurrent("custom_rnn", 4, 5, rng=np.random.default_rng(1)).to("cuda")
    steps = layer.stream(2)
    x = np.random.default_rng(2).standard_normal((5, 2, 4)).astype(np.float32)
    parameters = [own_device.get(p).astype(np.float64) for p in layer.parameters.values()]
    truth, _ = reference.scan("custom_rnn", x.astype(np.float64), None, *parameters)
    for t in range(5):
        y = own_device.get(steps(own_device.put(x[t])))
        assert_close(y, truth[t], K=6 * 20, kind="ranks")


def test_without_a_compiler(emulated_device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.cells._compiler.find_nvcc", lambda: None)
    monkeypatch.setattr("unrolled.cuda._cells._loaded", {})
    layer = unrolled.Recurrent(custom_cells.custom_rnn, 4, 5).to("cuda")
    with pytest.raises(RuntimeError, match=r"\[cell custom_rnn\] expected nvcc of CUDA 13"):
        layer(emulated_device.put(np.zeros((3, 2, 4), np.float32)))
