"""Threads, instruction sets, scratch memory, and probes of the machine."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core


def set_num_threads(count: int) -> None:
    """Threads that a call may use, the calling one included. Results do not depend on it.

    No more take part than the process has CPUs, which are counted anew here: more would only
    wait for each other.
    """
    _core.set_num_threads(count)


def get_num_threads() -> int:
    """See `set_num_threads`; the default is UNROLLED_NUM_THREADS or the CPUs of the process."""
    return _core.get_num_threads()


def isa() -> str:
    """Instruction set in use, one of `available_isas`; UNROLLED_ISA forces one."""
    return _core.isa()


def available_isas() -> tuple[str, ...]:
    """Instruction sets that this CPU can run, the slowest first."""
    return tuple(_core.available_isas())


def _force_isa(name: str) -> None:
    """Switches the instruction set, for tests. Weights packed under another one are refused."""
    _core.force_isa(name)


def trim_memory() -> int:
    """Gives scratch memory that is kept for later calls back to the system; returns its bytes."""
    return _core.trim_memory()


def measure_fma_peak(dtype: Any = np.float32) -> float:
    """Multiply-add peak of the threads in use, in FLOP/s."""
    return _core.measure_fma_peak(np.dtype(dtype) == np.float64)


def measure_bandwidth(nbytes: int) -> float:
    """Read bandwidth in bytes/s, each thread reading its own `nbytes` over and over."""
    return _core.measure_bandwidth(nbytes)
