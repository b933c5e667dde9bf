"""Nonsense from outside gets an answer or an error that is meant; see native/fuzz.py for hours."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from native.fuzz import TARGETS, find_target

INPUTS = 150


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_target(name: str, tmp_path: Path, threads: None) -> None:
    if TARGETS[name] in ("fuzz_files", "fuzz_models"):
        pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    if TARGETS[name] in ("fuzz_speech", "fuzz_models"):
        pytest.importorskip("soundfile", reason="soundfile comes with the extra [speech]")
    if TARGETS[name] == "fuzz_interop":
        pytest.importorskip("onnx", reason="onnx comes with the extra [onnx]")
    target, rng = find_target(name), random.Random(7)
    for _ in range(INPUTS):
        data = rng.randbytes(rng.randrange(400))
        try:
            target(data)
        except Exception as error:
            error.add_note(f"input: {data.hex()}") if hasattr(error, "add_note") else None
            raise
