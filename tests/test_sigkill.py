"""A run killed at any moment and resumed ends with the bits of one that was never broken."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from unrolled.tasks import language_model as lm
from unrolled.training import CheckpointError, load_checkpoint

pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")

KILLS = 20

#: Everything that has a state: dropout, a carry, an optimizer, an average, an epoch under way. The
#: many validations save often, so that kills meet a checkpoint that is being written.
OPTIONS = {
    "hidden": 24,
    "embedding": 8,
    "layers": 2,
    "batch": 4,
    "steps_per_update": 16,
    "dropout": 0.2,
    "averaging": "ema",
    "steps": 400,
    "validations": 200,
    "quiet": True,
}

SCRIPT = """
import sys
from unrolled.tasks import language_model as lm
print("ready", flush=True)
text, path, resume, options = sys.argv[1:]
if resume == "resume":
    lm.train(resume=path, quiet=True)
else:
    lm.train(text, output=path, **eval(options))
"""


def start(text: Path, path: Path) -> subprocess.Popen[str]:
    """Begins the run, or goes on with it where there is a checkpoint."""
    mode = "resume" if path.exists() else "begin"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(text), str(path), mode, repr(OPTIONS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def trained_steps(path: Path) -> int:
    return int(load_checkpoint(path).metadata["trainer"]["steps"]) if path.exists() else 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL is of POSIX")
def test_killed_at_twenty_moments(tmp_path: Path) -> None:
    words = np.random.default_rng(0).choice(["the", "a", "cat", "dog", "sees", "hears", "."], 3000)
    text = tmp_path / "text.txt"
    text.write_text(" ".join(words))
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    started = time.monotonic()
    lm.train(text, output=whole, **OPTIONS)
    seconds = time.monotonic() - started

    rng = np.random.default_rng(1)
    killed = complete = 0
    while killed < KILLS or not complete:
        before = trained_steps(broken)
        process = start(text, broken)
        try:
            # A life covers about a tenth of the run at most.
            life = rng.uniform(0.0, 0.1 * seconds) if killed < KILLS else None
            process.communicate(timeout=life)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
        assert trained_steps(broken) >= before, "no kill takes back what was saved"
        if trained_steps(broken) == OPTIONS["steps"]:
            assert_same_run(broken, whole)
            complete += 1
            broken.unlink()


def assert_same_run(broken: Path, whole: Path) -> None:
    expected, got = load_checkpoint(whole), load_checkpoint(broken)
    assert set(got.arrays) == set(expected.arrays)
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(got.arrays[name], array, err_msg=name)
    for name in ("steps", "targets", "best_loss", "batches", "rng"):
        assert got.metadata["trainer"][name] == expected.metadata["trainer"][name]
    for curve in ("training", "validation"):
        points = [
            [(point["step"], point["loss"]) for point in run.metadata["trainer"]["history"][curve]]
            for run in (got, expected)
        ]
        assert points[0] == points[1]


def test_a_file_cut_at_any_place_is_refused(tmp_path: Path) -> None:
    """What a crash of the machine could leave of a file that was not written atomically."""
    words = np.random.default_rng(0).choice(["the", "a", "cat", "sees", "."], 900)
    text = tmp_path / "text.txt"
    text.write_text(" ".join(words))
    path = tmp_path / "run.safetensors"
    small = {**OPTIONS, "hidden": 4, "steps": 2, "validations": 1}
    lm.train(text, output=path, **small)
    data = path.read_bytes()
    cut = tmp_path / "cut.safetensors"
    for size in np.linspace(0, len(data) - 1, 40).astype(int):
        cut.write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=r"cut\.safetensors"):
            lm.train(resume=cut, steps=4, quiet=True)
        assert cut.read_bytes() == data[:size], "nothing is overwritten"
