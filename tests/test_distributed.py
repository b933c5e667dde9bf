"""N ranks train as one process with the same batch; a failed rank ends the job, not the run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distributed_runs as runs
from processes import mpirun, run_mpi, run_python
from tolerances import assert_close, assert_same_bits
from unrolled.tasks import language_model as lm
from unrolled.training import Checkpoint, load_checkpoint

pytestmark = pytest.mark.slow  # each starts MPI jobs
needs_mpi = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or mpirun() is None,
    reason="needs mpi4py and mpirun, which come with the extra [mpi]",
)
SCRIPT = str(Path(runs.__file__))


def run(ranks: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = run_mpi(ranks, SCRIPT, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@needs_mpi
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_train_as_one_process(ranks: int, tmp_path: Path) -> None:
    run(ranks, "training", str(tmp_path))
    got = {path.stem: dict(np.load(path)) for path in tmp_path.glob("*.npz")}

    # The bits of two runs are the same, with masks of dropout that no two ranks share.
    assert_same_bits(list(got["again"].values()), list(got["dropout"].values()))

    H, B, T = runs.HIDDEN, runs.BATCH, runs.STEPS
    K = runs.LAYERS * T * (H + 5 * H + B) + ranks  # a gradient, and a term more for each rank
    one = runs.trained(1, dtype=np.float32, dropout=0.0)
    count = B * T  # the gradients are those of the sum of losses, far above 1
    assert_close(got["gradient"]["grads"] / count, one["grads"] / count, K=K, kind="ranks")
    many = runs.trained(40, dtype=np.float64, dropout=0.0)
    for name, array in many.items():
        scale = count if name == "grads" else 1
        assert_close(got["updates"][name] / scale, array / scale, K=40 * K, kind="ranks", what=name)
    assert np.abs(many["values"] - one["values"]).max() > 0.01  # they have moved


@needs_mpi
def test_ranks_train_on_devices(emulated: Any, tmp_path: Path) -> None:
    """One for each rank, whose gradients are summed there: the gradient of one process."""
    run(2, "devices", str(emulated[1]), str(tmp_path))
    got = {path.stem: dict(np.load(path)) for path in tmp_path.glob("*.npz")}
    H, B, T = runs.HIDDEN, runs.BATCH, runs.STEPS
    K, count = runs.LAYERS * T * (H + 5 * H + B) + 2, B * T
    one = runs.trained(1, dtype=np.float32, dropout=0.0)
    assert_close(got["gradient"]["grads"] / count, one["grads"] / count, K=K, kind="ranks")
    assert np.isfinite(got["dropout"]["values"]).all()


OPTIONS = ("--hidden", "24", "--embedding", "8", "--batch", "4", "--steps-per-update", "10")
OPTIONS += ("--dropout", "0.2", "--layers", "2", "--validations", "4", "--distributed")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    pytest.importorskip("typer", reason="typer comes with the extra [train]")
    words = np.random.default_rng(0).choice(["the", "a", "cat", "dog", "sees", "hears", "."], 800)
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(" ".join(words))
    return path


@pytest.fixture(scope="module")
def whole(text: Path) -> Path:
    """An unbroken run of two ranks."""
    path = text.with_name("whole.safetensors")
    command = ("train", "lm", str(text), "--output", str(path), "--steps", "40", *OPTIONS)
    done = run(2, "command", "none", *command)
    # Rank 0 alone speaks.
    assert done.stdout.count("trained    40 updates") == 1, done.stdout
    assert done.stdout.count("sample") == 1
    return path


def faulty(fault: str, text: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """Such a run, in which rank 1 comes to grief in update 17; the last save was after 10."""
    command = ("train", "lm", str(text), "--output", str(path), "--steps", "40", *OPTIONS)
    return run_mpi(2, SCRIPT, "command", fault, *command)


@needs_mpi
def test_ctrl_c_on_one_rank_and_resume(text: Path, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    done = faulty("SIGINT", text, path)
    assert done.returncode == 130, done.stdout + done.stderr
    assert done.stdout.count("stopped at update 17; everything is saved") == 1, done.stdout
    stopped = load_checkpoint(path)
    assert stopped.metadata["trainer"]["steps"] == 17
    assert stopped.arrays["trainer.carry.0"].shape == (2, 4, 24)  # all rows of all ranks

    run(2, "command", "none", "train", "lm", "--resume", str(path), "--distributed")
    assert_same_run(path, whole)


@needs_mpi
def test_a_killed_rank_ends_the_job_and_not_the_run(
    text: Path, whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    done = faulty("SIGKILL", text, path)
    assert done.returncode != 0
    assert "trained" not in done.stdout
    assert load_checkpoint(path).metadata["trainer"]["steps"] == 10

    run(2, "command", "none", "train", "lm", "--resume", str(path), "--distributed")
    assert_same_run(path, whole)


@needs_mpi
def test_an_error_of_one_rank_is_told_and_ends_the_job(text: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    done = faulty("raise", text, path)
    assert done.returncode != 0
    assert "trained" not in done.stdout
    assert done.stderr.count("error: rank 1 of 2: a fault of rank 1\nAll ranks end.") == 1
    assert done.stderr.count("error: rank") == 1, done.stderr
    assert load_checkpoint(path).metadata["trainer"]["steps"] == 10


@needs_mpi
def test_an_error_of_all_ranks_is_told_once(text: Path, tmp_path: Path) -> None:
    command = ("train", "lm", str(text), "--batch", "6", "--steps", "1", "--distributed")
    done = run_mpi(4, SCRIPT, "command", "none", *command, "--output", str(tmp_path / "no"))
    assert done.returncode != 0
    assert done.stderr.count("error: rank") == 1, done.stderr
    assert "a batch of 6 cannot be divided evenly among 4 ranks" in done.stderr
    assert "a batch of 4 or 8" in done.stderr


@needs_mpi
def test_a_run_goes_on_with_another_number_of_ranks(whole: Path) -> None:
    path = whole.with_name("longer.safetensors")
    lm.train(resume=whole, output=path, steps=45, quiet=True)  # one; two ranks wrote it
    assert load_checkpoint(path).metadata["trainer"]["steps"] == 45


@needs_mpi
def test_the_launcher_of_another_mpi_is_told() -> None:
    code = "from unrolled.training import MPIGroup; MPIGroup()"
    done = run_python(code, OMPI_COMM_WORLD_SIZE="2", SLURM_STEP_NUM_TASKS="2")
    assert done.returncode == 1
    assert "2 processes were started, but each is alone: mpirun belongs to another" in done.stderr


def test_without_mpi4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r'pip install "unrolled\[mpi\]"'):
        lm.train(steps=1, distributed=True, quiet=True)


def assert_same_run(path: Path, whole: Path) -> None:
    got, expected = load_checkpoint(path), load_checkpoint(whole)
    assert set(got.arrays) == set(expected.arrays)
    for name, array in expected.arrays.items():
        assert_same_bits(got.arrays[name], array, name)
    assert losses(got) == losses(expected)


def losses(checkpoint: Checkpoint) -> list[tuple[int, float]]:
    points = checkpoint.metadata["trainer"]["history"]["training"]
    return [(point["step"], point["loss"]) for point in points]
