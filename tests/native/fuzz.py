#!/usr/bin/env python3
"""Throws chosen nonsense at every entry that takes what it is given from outside.

    python tests/native/fuzz.py                          # the targets
    python tests/native/fuzz.py checkpoint --minutes 10
    python tests/native/fuzz.py core --minutes 10        # also under sanitize.sh address -- ...
    python tests/native/fuzz.py checkpoint --again FILE  # the input that made it fail

With atheris installed (`pip install atheris`) the choices follow the coverage of the Python code;
without it they are random bytes, seeded, which still make well-formed inputs. A finding is any
exception that the target does not expect, or a crash; its input is kept in a file.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT / "tests"))

_LENGTH = 400
_MEMORY = 6 << 30  # what an input asks for beyond it is MemoryError, not the machine's end

TARGETS = {
    "checkpoint": "fuzz_files",
    "resume": "fuzz_files",
    "vocabulary": "fuzz_files",
    "text": "fuzz_files",
    "options": "fuzz_files",
    "sound": "fuzz_speech",
    "segments": "fuzz_speech",
    "models": "fuzz_models",
    "dictionary": "fuzz_tables",
    "table": "fuzz_tables",
    "ts": "fuzz_tables",
    "onnx": "fuzz_interop",
    "torch_file": "fuzz_interop",
    "core": "fuzz_core",
}


def find_target(name: str) -> Callable[[bytes], None]:
    """The target as a function of bytes."""
    from native.source import Source

    module = importlib.import_module(f"native.{TARGETS[name]}")
    target = getattr(module, f"fuzz_{name}")
    return lambda data: target(Source(data))


def _kept(name: str) -> Path:
    """Where the input is kept that a target fails on."""
    folder = Path(os.environ.get("UNROLLED_NATIVE", _ROOT / "build" / "native"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"fuzz-{name}.input"


def run_random(name: str, minutes: float, seed: int) -> None:
    """Runs the target on random bytes for so long; the input under way is always on the disk."""
    target, rng = find_target(name), random.Random(seed)
    current = _kept(name)
    target(b"")  # what is made once is made before the time counts
    end, shown, count = time.monotonic() + 60 * minutes, 0.0, 0
    while time.monotonic() < end:
        data = rng.randbytes(rng.randrange(_LENGTH))
        current.write_bytes(data)
        target(data)
        count += 1
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            print(f"{name}: {count:,} inputs, {(end - shown) / 60:.1f} minutes left", flush=True)
    current.unlink(missing_ok=True)
    print(f"{name}: {count:,} inputs in {minutes:g} minutes, nothing found")


def run_atheris(name: str, minutes: float, seed: int) -> None:
    """The same, led by the coverage of the Python code."""
    import atheris

    with atheris.instrument_imports(
        include=["unrolled.training", "unrolled.tasks", "unrolled.models", "unrolled.interop"]
    ):
        target = find_target(name)
    target(b"")
    flags = [f"-max_total_time={60 * minutes:.0f}", f"-seed={seed + 1}", f"-max_len={_LENGTH}"]
    flags += [
        "-rss_limit_mb=0",
        "-len_control=0",
        f"-artifact_prefix={_kept(name)}-",
        "-timeout=1200",  # a busy machine makes any input slow
        "-report_slow_units=120",
    ]
    atheris.Setup([sys.argv[0], *flags], target)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("target", nargs="?", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("atheris", "random"))
    parser.add_argument("--again", type=Path, help="run this input alone")
    given = parser.parse_args()
    if given.target is None:
        print("\n".join(TARGETS))
        return
    os.environ.setdefault("UNROLLED_NUM_THREADS", "2")
    from native.source import MODEST

    if not MODEST:  # a sanitizer's shadow takes terabytes of addresses
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    if given.again is not None:
        find_target(given.target)(given.again.read_bytes())
        print(f"{given.target}: {given.again} does no harm")
        return
    found = importlib.util.find_spec("atheris") is not None and given.target != "core"
    engine = given.engine or ("atheris" if found and not MODEST else "random")
    print(f"{given.target}: engine {engine}, {given.minutes:g} minutes", flush=True)
    (run_atheris if engine == "atheris" else run_random)(given.target, given.minutes, given.seed)


if __name__ == "__main__":
    main()
