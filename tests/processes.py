"""Fresh interpreters, for what is decided once per process: instruction set, threads, fork."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap


def run_python(code: str, timeout: float = 600.0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `code` with the variables of `env`, and without any other UNROLLED_ variable.

    The limit ends what hangs; a busy machine or a sanitizer makes an honest run minutes long.
    """
    clean = {k: v for k, v in os.environ.items() if not k.startswith("UNROLLED_")}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**clean, **env},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def mpirun() -> str | None:
    """The launcher that belongs to this interpreter's environment, else the system's."""
    beside = os.path.dirname(sys.executable)
    return shutil.which("mpirun", path=beside) or shutil.which("mpirun")


def run_mpi(
    ranks: int, *arguments: str, timeout: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run Python with `arguments` on so many ranks, and without any UNROLLED_ variable.

    Open MPI is asked to start more ranks than there are cores, and as root in a container.
    """
    launcher = mpirun()
    assert launcher is not None
    clean = {k: v for k, v in os.environ.items() if not k.startswith("UNROLLED_")}
    open_mpi = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    return subprocess.run(
        [launcher, "-n", str(ranks), sys.executable, *arguments],
        env={**clean, **open_mpi},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
