"""What the figures were measured on."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import functional

_INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "asimd", "sve")
_LIBRARIES = ("unrolled", "numpy", "torch", "onnxruntime", "onnx", "jax", "jaxlib")


@dataclass(frozen=True)
class Cache:
    """One cache: its level, its size in bytes, and how many CPUs share it."""

    level: int
    size: int
    shared_by: int


@dataclass(frozen=True)
class Machine:
    """CPU, operating system and the versions of everything that was measured."""

    cpu: str
    instructions: tuple[str, ...]
    cpus: int
    caches: tuple[Cache, ...]
    governor: str
    system: str
    python: str
    versions: dict[str, str]
    isa: str
    numpy_blas: str

    def lines(self) -> list[tuple[str, str]]:
        """The same as (what, value) for a report."""
        caches = ", ".join(
            f"L{c.level} {_bytes(c.size)}"
            + (f" shared by {c.shared_by}" if c.shared_by > 1 else "")
            for c in self.caches
        )
        return [
            ("CPU", f"{self.cpu}, {self.cpus} CPUs ({' '.join(self.instructions)})"),
            ("caches", caches or "unknown"),
            ("frequency governor", self.governor),
            ("system", f"{self.system}, Python {self.python}"),
            ("unrolled's kernels", self.isa),
            ("versions", ", ".join(f"{k} {v}" for k, v in self.versions.items())),
            ("NumPy's BLAS", self.numpy_blas),
        ]


def describe_machine() -> Machine:
    """Looks at the machine as it is now; what cannot be found out is "unknown"."""
    return Machine(
        cpu=_cpu_model(),
        instructions=_instructions(),
        cpus=available_cpus(),
        caches=caches(),
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "unknown",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions=_versions(),
        isa=functional.isa(),
        numpy_blas=_numpy_blas(),
    )


class ForeignLoad:
    """How much CPU time everybody else takes, from its creation on.

    A busy neighbour makes spinning thread pools many times slower, so a report has to say so.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._busy = self._busy_seconds()

    def cpus(self) -> float | None:
        """The average number of CPUs that others kept busy; None where the system does not tell."""
        busy = self._busy_seconds()
        if busy is None or self._busy is None:
            return None
        return max(0.0, (busy - self._busy) / (time.perf_counter() - self._started))

    @staticmethod
    def _busy_seconds() -> float | None:
        """Seconds of all CPUs that were not idle, without those of this process.

        Nor those of its children that have ended: a busy neighbour may be part of a measurement.
        """
        fields = _read("/proc/stat").partition("\n")[0].split()
        if len(fields) < 9 or fields[0] != "cpu":
            return None
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[1:9])
        ticks = user + nice + system + irq + softirq + steal
        times = os.times()
        own = time.process_time() + times.children_user + times.children_system
        return ticks / os.sysconf("SC_CLK_TCK") - own


def available_cpus() -> int:
    """How many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def caches() -> tuple[Cache, ...]:
    """The data caches that CPU 0 sees, nearest first; empty where the system does not tell."""
    found = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if _read(folder / "type") in ("Data", "Unified"):
            size, level = _read(folder / "size"), _read(folder / "level")
            if size.endswith("K") and level.isdigit():
                shared_by = _count_cpus(_read(folder / "shared_cpu_list"))
                found.append(Cache(int(level), int(size[:-1]) * 1024, shared_by))
    return tuple(sorted(found, key=lambda cache: cache.level))


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _count_cpus(ranges: str) -> int:
    """Counts the CPUs in a list like "0-3,8"."""
    total = 0
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return max(1, total)


def _cpu_field(name: str) -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _cpu_model() -> str:
    name = _cpu_field("model name") or platform.processor() or platform.machine() or "unknown"
    family, model = _cpu_field("cpu family"), _cpu_field("model")
    return f"{name} (family {family}, model {model})" if family and model else name


def _instructions() -> tuple[str, ...]:
    flags = set((_cpu_field("flags") or _cpu_field("Features")).split())
    return tuple(name for name in _INSTRUCTIONS if name in flags)


def _versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _numpy_blas() -> str:
    """The BLAS that NumPy was built with, and the core type that OpenBLAS chose for this CPU."""
    build = np.show_config(mode="dicts")
    blas = build["Build Dependencies"]["blas"]
    core = _openblas_core()
    return f"{blas['name']} {blas['version']}" + (f", core type {core}" if core else "")


def _openblas_core() -> str:
    """Asks the OpenBLAS that is already loaded; its symbols have a prefix or suffix in wheels."""
    paths = {
        line.split()[-1]
        for line in _read("/proc/self/maps").splitlines()
        if "openblas" in line.rpartition("/")[2]
    }
    for path in sorted(paths):
        library = ctypes.CDLL(path)
        for prefix in ("scipy_openblas", "openblas"):
            for suffix in ("64_", ""):
                function = getattr(library, f"{prefix}_get_corename{suffix}", None)
                if function is not None:
                    function.restype = ctypes.c_char_p
                    return str(function().decode())
    return ""


def _bytes(size: int) -> str:
    return f"{size >> 20} MB" if size >= 1 << 20 else f"{size >> 10} kB"
