"""Fresh interpreters, for what is decided once per process: instruction set, threads, fork."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def run_python(code: str, timeout: float = 120.0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `code` with the variables of `env`, and without any other UNROLLED_ variable."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("UNROLLED_")}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**clean, **env},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
