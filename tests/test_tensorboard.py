"""TensorBoard's event files: every curve is in them, and a resumed run goes on with them."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from bowl import Bowl, make_trainer
from unrolled.training import Budget, Metric, Statistics, TensorBoard, Trainer, bits

METRIC = Metric("bits per number", "bits", "numbers", bits)


def read(path: Path) -> dict[str, dict[int, float]]:
    """{tag: {update: value}} of an event file: records of a length, its checksum, data, theirs."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    data, begin, scalars = path.read_bytes(), 0, {}
    while begin < len(data):
        (length,) = struct.unpack_from("<Q", data, begin)
        event = event_pb2.Event.FromString(data[begin + 12 : begin + 12 + length])
        begin += 12 + length + 4
        for value in event.summary.value:
            scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    return scalars


def train(folder: Path, steps: int, state: Any = None, **options: Any) -> Trainer[int]:
    pytest.importorskip("tensorboardX", reason="tensorboardX comes with the extra [tensorboard]")
    statistics = Statistics(every=2)
    board = TensorBoard(folder, METRIC, statistics=statistics)
    options = {"validate": lambda: 2.0, "validations": 2, **options}
    trainer = make_trainer(callbacks=[statistics, board], budget=Budget(steps=steps), **options)
    if state is not None:
        trainer.load_state(*state, trainer.model.flat.values.copy())
    trainer.run()
    return trainer


def test_curves(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    train(folder, 4, schedule=lambda fraction, losses: 1.0 - fraction)
    (path,) = folder.iterdir()
    scalars = read(path)
    assert list(scalars["train/loss"]) == [1, 2, 3, 4]
    assert scalars["train/loss"][1] == 18.0
    assert scalars["train/grad_norm"][1] == pytest.approx(6.0)
    assert scalars["train/lr"] == pytest.approx({1: 0.1, 2: 0.075, 3: 0.05, 4: 0.025})
    assert all(rate > 0.0 for rate in scalars["train/rate"].values())
    assert scalars["validation/loss"] == {2: 2.0, 4: 2.0}
    assert scalars["validation/score"] == pytest.approx(dict.fromkeys((2, 4), bits(2.0)))
    assert list(scalars["grad_norm/w"]) == [1, 3]
    assert scalars["grad_norm/w"][1] == pytest.approx(6.0)
    assert list(scalars["update_ratio/w"]) == [3], "w is zero before the first update"


def test_skipped_updates_have_no_loss(tmp_path: Path) -> None:
    class Broken(Bowl):
        def loss(self, batch: int, *arguments: Any) -> Any:
            (loss, count, carry), pullback = super().loss(batch, *arguments)
            return (float("nan") if batch == 1 else loss, count, carry), pullback

    train(tmp_path, 3, model=Broken())
    (path,) = tmp_path.iterdir()
    scalars = read(path)
    assert list(scalars["train/loss"]) == list(scalars["train/grad_norm"]) == [1, 3]
    assert list(scalars["train/lr"]) == [1, 2, 3]


def test_tensorboard_shows_a_resumed_run_once(tmp_path: Path) -> None:
    """What a killed run wrote after its last save is replaced."""
    module = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="this needs TensorBoard itself",
    )

    def shown() -> list[int]:
        events = module.EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
        events.Reload()
        return [event.step for event in events.Scalars("train/loss")]

    train(tmp_path, 9)
    state = make_trainer(budget=Budget(steps=5), validate=lambda: 2.0)
    state.run()
    train(tmp_path, 8, state.state())
    assert len(list(tmp_path.iterdir())) == 2
    assert shown() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'pip install "unrolled\[tensorboard\]"'):
        TensorBoard(tmp_path, METRIC)
