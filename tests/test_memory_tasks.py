"""The long-memory tasks: their data are as defined, and they are learned, resumed and scored."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import tasks
from unrolled.tasks import _run, make_options
from unrolled.tasks._memory import MemoryTask
from unrolled.tasks.adding import Adding
from unrolled.tasks.copy_memory import CopyMemory
from unrolled.tasks.digits import Digits, hold_out
from unrolled.training import load_checkpoint

GENERATED = [Adding, CopyMemory]


def loaded(task: type[MemoryTask[Any]], **options: Any) -> MemoryTask[Any]:
    if task is Digits:
        pytest.importorskip("sklearn", reason="digits come with the extra [recipes]")
    made = task(make_options(task, options))
    made.load()
    return made


# What the data are.


def test_adding_as_defined() -> None:
    length = 31
    data = loaded(Adding, length=length).draw(np.random.default_rng(0), 4000)
    numbers, markers = data.inputs[..., 0], data.inputs[..., 1]
    assert data.inputs.shape == (length, 4000, 2)
    assert data.inputs.dtype == data.targets.dtype == np.float32
    assert numbers.min() >= 0.0
    assert numbers.max() < 1.0
    assert set(np.unique(markers)) == {0.0, 1.0}
    half = length // 2
    for part in (markers[:half], markers[half:]):
        np.testing.assert_array_equal(part.sum(axis=0), 1.0)
        assert part.any(axis=1).all(), "a marker may stand at every step of its half"
    np.testing.assert_allclose(data.targets[:, 0], (numbers * markers).sum(axis=0), rtol=1e-6)


def test_copy_as_defined() -> None:
    length = 13
    data = loaded(CopyMemory, length=length).draw(np.random.default_rng(0), 500)
    assert data.inputs.shape == (length + 20, 500, 10)
    np.testing.assert_array_equal(data.inputs.sum(axis=2), 1.0)  # one-hot
    tokens = data.inputs.argmax(axis=2)
    assert set(np.unique(tokens[:10])) == set(range(8))
    mark = 10 + length - 1
    assert np.all(tokens[mark] == 9)
    assert np.all(np.delete(tokens, mark, axis=0)[10:] == 8)
    assert np.all(data.targets[:-10] == 8)
    np.testing.assert_array_equal(data.targets[-10:], tokens[:10])


def test_digits_as_defined() -> None:
    task = loaded(Digits)
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    (held_out,) = task.held_out
    assert held_out.inputs.shape == (64, 355, 1)
    assert task.training.inputs.shape == (64, 1442, 1)
    assert (held_out.inputs.min(), held_out.inputs.max()) == (0.0, 1.0)
    for kind in range(10):
        share = np.mean(held_out.targets == kind) - np.mean(classes == kind)
        assert abs(share) < 0.005, "every class has its share"
    place = np.flatnonzero(hold_out(classes))[7]
    np.testing.assert_array_equal(held_out.inputs[:, 7, 0] * 16.0, images[place])
    assert held_out.targets[7] == classes[place]

    permuted = loaded(Digits, permuted=True).held_out[0].inputs
    assert np.any(permuted != held_out.inputs)
    np.testing.assert_array_equal(np.sort(permuted, axis=0), np.sort(held_out.inputs, axis=0))
    np.testing.assert_array_equal(
        permuted, loaded(Digits, permuted=True, seed=3).held_out[0].inputs
    )


def test_digits_go_through_all_images_once_an_epoch() -> None:
    task = loaded(Digits, batch=100)
    batches = task.batches(np.random.default_rng(0))
    orders = []
    for epoch in (1.0, 2.0):
        parts = [batches.next() for _ in range(15)]
        assert batches.epoch == epoch
        assert [part.inputs.shape[1] for part in parts] == [100] * 14 + [42]
        seen = np.concatenate([part.inputs[:, :, 0].T for part in parts])
        labels = np.concatenate([part.targets for part in parts])
        order = np.lexsort(seen.T)
        everything = np.lexsort(task.training.inputs[:, :, 0])
        np.testing.assert_array_equal(seen[order], task.training.inputs[:, everything, 0].T)
        assert np.bincount(labels).tolist() == np.bincount(task.training.targets).tolist()
        orders.append(labels)
    assert np.any(orders[0] != orders[1])


@pytest.mark.parametrize("task", GENERATED)
def test_batches_follow_from_seed_and_number(task: type[MemoryTask[Any]]) -> None:
    def inputs(seed: int, number: int) -> np.ndarray:
        made = loaded(task, length=20, batch=4, seed=seed)
        batches = made.batches(np.random.default_rng(99))
        batches.load_state({**batches.state(), "index": number})
        return batches.next().inputs

    first = inputs(0, 5)
    assert first.shape[1] == 4
    np.testing.assert_array_equal(first, inputs(0, 5))
    assert np.any(first != inputs(0, 6))
    assert np.any(first != inputs(1, 5))
    one, other = (loaded(task, length=20, seed=seed) for seed in (0, 1))
    assert sum(part.inputs.shape[1] for part in one.held_out) == 1000
    for a, b in zip(one.held_out, other.held_out, strict=True):
        np.testing.assert_array_equal(a.inputs, b.inputs)  # held-out data never change
    epoch = one.batches(np.random.default_rng(0))
    epoch.load_state({**epoch.state(), "index": 100_000 // one.options.batch})
    assert epoch.epoch == pytest.approx(1.0, rel=1e-3)


# What a guess without memory scores.


def guess_blanks_then_anything(inputs: np.ndarray) -> np.ndarray:
    logits = np.full((*inputs.shape[:2], 9), -40.0, np.float32)
    logits[:-10, :, 8] = logits[-10:, :, :8] = 0.0
    return logits


guess = {
    Adding: lambda inputs: np.ones((inputs.shape[1], 1), np.float32),
    CopyMemory: guess_blanks_then_anything,
    Digits: lambda inputs: np.zeros((inputs.shape[1], 10), np.float32),
}


@pytest.mark.parametrize(
    ("task", "expected", "right"),
    [
        # P(|u + v - 1| < d) = 1 - (1 - d)^2 of two numbers that are uniform in 0..1.
        (Adding, 1 / 6, 1 - 0.96**2),
        (CopyMemory, 10 * math.log(8) / 120, 1 / 8),
        (Digits, math.log(10), 1 / 10),
    ],
)
def test_baseline(task: type[MemoryTask[Any]], expected: float, right: float) -> None:
    made = loaded(task)
    assert made.baseline == pytest.approx(expected)
    loss, share = made.scores(guess[task])  # type: ignore[arg-type]
    assert loss == pytest.approx(expected, rel=0.05)  # of 1,000 sequences or less
    assert share == pytest.approx(right, abs=0.03)


# Training.


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_adding_is_learned(cell: str) -> None:
    trained = tasks.train(
        Adding, cell=cell, length=20, hidden=32, steps=500, validations=2, quiet=True
    )
    task = loaded(Adding, length=20)
    assert task.scores(trained.model)[0] < 0.01
    data = task.held_out[0]
    np.testing.assert_allclose(trained(data.inputs), data.targets[:, 0], atol=0.5)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_copy_is_learned(cell: str) -> None:
    trained = tasks.train(
        CopyMemory, cell=cell, length=1, hidden=48, lr=0.02, steps=1000, validations=3, quiet=True
    )
    symbols = np.random.default_rng(1).integers(0, 8, (10, 50))
    assert np.mean(trained(symbols) == symbols) > 0.5  # by chance: 0.125


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "solved"), [("lstm", True), ("gru", True), ("rnn", False)])
def test_adding_over_200_steps(cell: str, solved: bool) -> None:
    trained = tasks.train(Adding, cell=cell, steps=800, quiet=True)
    error, right = loaded(Adding).scores(trained.model)
    if solved:
        assert error < 0.01
        assert right > 0.3
    else:
        assert error > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_digits_are_learned(cell: str) -> None:
    task = loaded(Digits)
    trained = tasks.train(Digits, cell=cell, epochs=40, quiet=True)
    assert task.scores(trained.model)[1] > 0.94


# Checkpoints, scores and answers.


@pytest.mark.parametrize("task", [*GENERATED, Digits])
def test_resumed_equals_unbroken(
    task: type[MemoryTask[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    loaded(task)
    saves: list[bytes] = []
    write_run = _run.write_run

    def keeping(path: Path, *arguments: Any) -> None:
        write_run(path, *arguments)
        saves.append(path.read_bytes())

    monkeypatch.setattr(_run, "write_run", keeping)
    path = tmp_path / "run.safetensors"
    unbroken = tasks.train(task, steps=8, hidden=6, batch=8, validations=2, output=path, quiet=True)
    assert len(saves) == 3  # before the first update, in the middle, at the end
    path.write_bytes(saves[1])
    assert load_checkpoint(path).metadata["trainer"]["steps"] == 4
    resumed = tasks.train(task, resume=path, quiet=True)
    assert load_checkpoint(path).metadata["trainer"]["steps"] == 8
    np.testing.assert_array_equal(resumed.model.flat.values, unbroken.model.flat.values)


@pytest.mark.parametrize("task", [*GENERATED, Digits])
def test_checkpoints_answer_and_are_scored(
    task: type[MemoryTask[Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    made = loaded(task)
    path = tmp_path / "model.safetensors"
    trained = tasks.train(task, steps=2, hidden=8, validations=1, output=path)
    report = capsys.readouterr().out
    assert f"of {task.counted}" in report
    assert f"unrolled evaluate {task.name} {path}" in report
    original, again = tasks.load(path, task)
    raw = {
        "adding": np.zeros((200, 3, 2)),
        "copy": np.zeros((10, 3), np.int64),
        "digits": np.zeros((3, 8, 8)),
    }[task.name]
    np.testing.assert_array_equal(again(raw), trained(raw))
    assert again(raw).shape[-1] == 3

    loss, right = made.scores(trained.model)
    about, line = original.evaluate(again, (), False, "full")
    assert "held out" in about
    assert line.startswith(f"{made.metric.text(loss)} {made.metric.name}, {right:.1%}")
    *answers, last = original.evaluate(again, (), True, "int8")
    assert re.search(r", in int8 [+-]\d+\.\d\d% of the loss$", last)
    assert again.model.rnn.precision == "full"
    assert sum(a.startswith(("right", "wrong")) for a in answers) == len(answers) - 1 > 300
    with pytest.raises(ValueError, match="takes no files, got file"):
        list(original.evaluate(again, [Path("file")], False, "full"))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"\[adding\] expected length >= 2, got 1"):
        tasks.train(Adding, length=1, quiet=True)
    with pytest.raises(ValueError, match=r"\[copy\] expected length >= 1, got 0"):
        tasks.train(CopyMemory, length=0, quiet=True)
    with pytest.raises(ValueError, match="brings its own data and takes no files"):
        tasks.train(Adding, "some.txt", quiet=True)
    options = make_options(CopyMemory, {})
    for symbols in (np.zeros((9, 2), int), np.full((10, 2), 8), np.full((10, 2), -1)):
        with pytest.raises(ValueError, match=r"expected symbols of shape \(10, B\) from 0..7"):
            CopyMemory.encode(options, symbols)
    with pytest.raises(ValueError, match=r"expected images of shape \(B, 8, 8\)"):
        Digits.encode(make_options(Digits, {}), np.zeros((2, 28, 28)))
