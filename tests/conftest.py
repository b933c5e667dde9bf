"""The fixtures that every promise is tested over, each parametrised here once.

Cells come from the compiled module, so that a new cell is tested without an edit; every instruction
set that this CPU runs is tested on every run.
"""

from __future__ import annotations

import os

# Threads of NumPy's BLAS wait for each other in loops: where processes share the cores, a QR of a
# layer's first weights takes ten times as long. Read when NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from cuda_devices import (
    CupyDevice,
    TorchDevice,
    build_emulated,
    build_once,
    build_program,
    load,
    use_emulated,
)
from problems import CELLS, DIMS, NARROW_CELLS, Dims
from unrolled import bench, cuda, functional

os.environ["UNROLLED_OVERSUBSCRIBE"] = "1"  # teams of three on any machine; read at the first call

settings.register_profile(
    "suite",
    deadline=None,  # the machine may be busy
    derandomize=True,  # the same run for everybody
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("suite")


@pytest.fixture(params=[info.name for info in CELLS])
def cell(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[info.name for info in CELLS if info.recurrent])
def matrix_cell(request: pytest.FixtureRequest) -> str:
    """A cell with a recurrent matrix."""
    return request.param


@pytest.fixture(params=NARROW_CELLS)
def narrow_cell(request: pytest.FixtureRequest) -> str:
    """A cell that multiplies bfloat16 and int8, too."""
    return request.param


@pytest.fixture(params=functional.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = functional.isa()
    functional._force_isa(request.param)
    yield request.param
    functional._force_isa(before)


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request: pytest.FixtureRequest) -> type[np.floating]:
    return request.param


@pytest.fixture(params=DIMS, ids=lambda d: f"T{d.T}-B{d.B}-I{d.I}-H{d.H}")
def dims(request: pytest.FixtureRequest) -> Dims:
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261123)


@pytest.fixture
def threads() -> Iterator[None]:
    """Restores the number of threads that a test changes."""
    before = functional.get_num_threads()
    yield
    functional.set_num_threads(before)


@pytest.fixture
def one_thread(threads: None) -> Iterator[None]:
    """torch on one thread, and ours with it: it is faster where arrays are tiny."""
    torch = pytest.importorskip("torch", reason='pip install "unrolled[torch]"')
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def roofline() -> bench.Roofline:
    """The limits of this machine: to measure them takes longer than most runs of benchmarks."""
    return bench.measure_roofline(functional.get_num_threads())


@pytest.fixture(scope="module")
def one_roofline(roofline: bench.Roofline) -> Iterator[None]:
    """Runs of benchmarks take what is known of the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unrolled.bench._run.measure_roofline", lambda threads: roofline)
        yield


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, Path]:
    """The module _cuda of the emulated device, see cuda_devices.py, and its file."""
    path = build_once(build_emulated, tmp_path_factory)
    return load(path), path


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels of src/cuda under AddressSanitizer, see tests/cuda."""
    return build_once(build_program, tmp_path_factory)


@pytest.fixture
def emulated_device(
    emulated: tuple[ModuleType, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    yield use_emulated(monkeypatch, *emulated)
    cuda._library.require.cache_clear()


@pytest.fixture(params=["emulated", *(["cupy", "torch"] if cuda.is_available() else [])])
def device(request: pytest.FixtureRequest) -> Any:
    """A device that unrolled.cuda runs on; a GPU only where there is one."""
    if request.param == "emulated":
        return request.getfixturevalue("emulated_device")
    return CupyDevice() if request.param == "cupy" else TorchDevice()
