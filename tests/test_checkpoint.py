"""Checkpoints: what goes in comes out, damage is noticed, and a killed writer does no harm."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from unrolled.training import (
    FORMAT_VERSION,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)

safetensors = pytest.importorskip(
    "safetensors.numpy", reason="safetensors comes with the extra [train]"
)

ARRAYS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a.bias": np.linspace(0.0, 1.0, 5),
    "empty": np.zeros((0, 3), np.float32),
    "steps": np.array([7], np.int64),
}
METADATA = {"name": "täst", "nested": {"list": [1, 2.5, None, True]}, "big": 2**120 + 1}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, ARRAYS, METADATA)
    return path


def test_round_trip(path: Path) -> None:
    checkpoint = load_checkpoint(path)
    assert checkpoint.metadata == METADATA
    assert set(checkpoint.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(checkpoint.arrays[name], array)
        assert checkpoint.arrays[name].dtype == array.dtype
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_part_can_be_read_alone(path: Path) -> None:
    assert set(load_checkpoint(path, "a.").arrays) == {"a.weight", "a.bias"}


def test_arrays_that_are_not_contiguous(tmp_path: Path) -> None:
    array = np.arange(24.0).reshape(4, 6)
    save_checkpoint(tmp_path / "x.safetensors", {"t": array.T, "s": array[::2, ::3]}, {})
    arrays = load_checkpoint(tmp_path / "x.safetensors").arrays
    np.testing.assert_array_equal(arrays["t"], array.T)
    np.testing.assert_array_equal(arrays["s"], array[::2, ::3])


def test_other_tools_can_read_it(path: Path) -> None:
    arrays = safetensors.load_file(path)
    np.testing.assert_array_equal(arrays["a.weight"], ARRAYS["a.weight"])


def test_truncated_anywhere(path: Path) -> None:
    whole = path.read_bytes()
    for size in {*range(0, len(whole), 37), 1, 7, 8, len(whole) - 1}:
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"run\.safetensors"):
            load_checkpoint(path)


def test_flipped_bits_are_noticed(path: Path) -> None:
    whole = path.read_bytes()
    data_starts = 8 + struct.unpack("<Q", whole[:8])[0]
    for position in range(data_starts, len(whole), 11):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="is damaged"):
            load_checkpoint(path)


def test_damaged_headers_are_no_surprise(path: Path) -> None:
    whole = path.read_bytes()
    data_starts = 8 + struct.unpack("<Q", whole[:8])[0]
    read = 0
    for position in range(data_starts):
        damaged = bytearray(whole)
        damaged[position] ^= 0x01
        path.write_bytes(damaged)
        try:
            load_checkpoint(path)
            read += 1  # a changed letter in a text, for instance
        except CheckpointError:
            pass
    assert read < data_starts / 2


def test_foreign_and_newer_files(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    safetensors.save_file({"w": np.zeros(3)}, foreign)
    with pytest.raises(CheckpointError, match="not a checkpoint of unrolled"):
        load_checkpoint(foreign)

    newer = tmp_path / "newer.safetensors"
    header = {"format": "unrolled checkpoint", "version": str(FORMAT_VERSION + 1)}
    safetensors.save_file({"w": np.zeros(3)}, newer, metadata=header)
    with pytest.raises(CheckpointError, match="pip install -U unrolled"):
        load_checkpoint(newer)

    text = tmp_path / "text.safetensors"
    text.write_text("no checkpoint at all\n" * 10)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(text)

    with pytest.raises(FileNotFoundError, match=r"no file .*missing"):
        load_checkpoint(tmp_path / "missing.safetensors")
    with pytest.raises(CheckpointError, match="folder"):
        load_checkpoint(tmp_path)


def test_the_old_file_survives_a_failed_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, {"other": np.ones(3)}, {})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save_checkpoint(tmp_path / "no" / "x.safetensors", ARRAYS, {})


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.delitem(sys.modules, "safetensors.numpy")
    with pytest.raises(ImportError, match=r'pip install "unrolled\[train\]"'):
        load_checkpoint(path)
    with pytest.raises(ImportError, match=r'pip install "unrolled\[train\]"'):
        save_checkpoint(path, ARRAYS, {})


WRITER = """
    import sys
    import numpy as np
    from unrolled.training import save_checkpoint

    path, number = sys.argv[1], int(sys.argv[2])
    print("ready", flush=True)
    while True:
        number += 1
        arrays = {name: np.full(200_000, number, np.int64) for name in "abc"}
        save_checkpoint(path, arrays, {"number": number})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no kill -9")
def test_kill_9_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, {name: np.zeros(200_000, np.int64) for name in "abc"}, {"number": 0})
    pause = random.Random(0)
    number, written = 0, 0
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(number)],
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(pause.uniform(0.0, 0.15))
        writer.kill()
        writer.wait()
        writer.stdout.close()
        checkpoint = load_checkpoint(path)
        after = checkpoint.metadata["number"]
        assert after >= number
        written += after - number
        number = after
        for array in checkpoint.arrays.values():
            np.testing.assert_array_equal(array, number)
    assert written > 0, "no checkpoint was written before a kill: the test shows nothing"


def test_metadata_is_json(path: Path) -> None:
    """The header holds plain text, never code."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    assert json.loads(header["__metadata__"]["metadata"]) == METADATA
