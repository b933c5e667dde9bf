"""A run that stops and goes on makes the same updates, bit for bit, as one that never stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import LanguageModel
from unrolled.tasks import language_model as lm
from unrolled.training import (
    ASGD,
    EMA,
    SGD,
    AdamW,
    Budget,
    CheckpointError,
    RMSprop,
    StreamBatches,
    Trainer,
    load_checkpoint,
    plateau,
    save_checkpoint,
    warmup_cosine,
)

TOKENS = np.random.default_rng(5).integers(0, 11, 700).astype(np.uint8)
STEPS = 60  # several epochs: 700 // 3 // 9 = 25 updates each


def recipe(name: str, model: LanguageModel) -> dict[str, Any]:
    """Everything that has a state of its own, in a few combinations."""
    if name == "adamw":
        return {"optimizer": AdamW(model, lr=0.01), "schedule": warmup_cosine(0.1)}
    if name == "sgd":
        return {"optimizer": SGD(model, lr=0.1, momentum=0.9), "patience": 5}
    if name == "rmsprop-ema":
        return {
            "optimizer": RMSprop(model, lr=0.01, momentum=0.5, centered=True),
            "averaging": EMA(model, 0.9),
            "accumulate": 2,
        }
    return {  # plateau and averaging begin early: the learning rate is far too high
        "optimizer": SGD(model, lr=20.0),
        "averaging": ASGD(model, trigger=0),
        "schedule": plateau(patience=0),
        "precision": "bf16",
    }


RECIPES = ["adamw", "sgd", "rmsprop-ema", "nt-asgd-plateau"]


def make_trainer(cell: str, name: str, seed: int = 0, **options: Any) -> Trainer[Any]:
    rng = np.random.default_rng(seed)
    model = LanguageModel(
        11, embedding_size=6, hidden_size=10, num_layers=2, cell=cell, dropout=0.3, rng=rng
    )

    def loss(batch: Any, carry: Any, rng: np.random.Generator) -> Any:
        state = batch.begin(carry)
        (value, state), pullback = model.loss_vjp(batch.tokens, batch.targets, state, rng=rng)
        return (value, batch.targets.size, state), pullback

    return Trainer(
        model,
        StreamBatches(TOKENS, batch_size=3, steps=9, seed=seed),
        loss,
        budget=Budget(steps=STEPS),
        rng=rng,
        validate=lambda: float(
            model.losses(TOKENS[:50, None].astype(np.int64), TOKENS[1:51, None].astype(np.int64))[
                0
            ].mean()
        ),
        validations=6,
        **recipe(name, model),
        **options,
    )


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_resumed_equals_unbroken(cell: str, name: str) -> None:
    states: dict[int, Any] = {}

    def keep(trainer: Trainer[Any]) -> None:
        arrays, values = trainer.state()
        best = None if trainer.best_values is None else trainer.best_values.copy()
        states[trainer.steps] = ({name: a.copy() for name, a in arrays.items()}, values, best)

    unbroken = make_trainer(cell, name, save=keep)
    unbroken.run()
    assert sorted(states) == [0, 10, 20, 30, 40, 50, 60]
    for step in (0, 20, 50):
        resumed = make_trainer(cell, name, seed=99)  # what it starts with must not matter
        resumed.load_state(*states[step])
        assert resumed.steps == step
        resumed.run()
        np.testing.assert_array_equal(resumed.model.flat.values, unbroken.model.flat.values)
        np.testing.assert_array_equal(resumed.values, unbroken.values)
        assert resumed.best_loss == unbroken.best_loss
        assert resumed.best_values is not None
        np.testing.assert_array_equal(resumed.best_values, unbroken.best_values)
        points = [(point.step, point.loss) for point in unbroken.history.training]
        assert [(point.step, point.loss) for point in resumed.history.training] == points


def test_a_state_of_another_model_is_refused() -> None:
    arrays, values = make_trainer("lstm", "adamw").state()
    with pytest.raises(ValueError, match="expected values of shape"):
        make_trainer("gru", "adamw").load_state(arrays, values, None)
    with pytest.raises(ValueError, match=r"\[SGD\] expected a state with steps, velocity"):
        make_trainer("lstm", "sgd").load_state(arrays, values, None)


def test_averaging_must_be_on_both_sides() -> None:
    with_average = make_trainer("lstm", "rmsprop-ema")
    model = make_trainer("lstm", "sgd").model
    with pytest.raises(ValueError, match=r"\[EMA\] the run to go on with does not average"):
        EMA(model).load_state({})
    with pytest.raises(ValueError, match=r"\[EMA\] expected an average of shape \(P,\)"):
        EMA(make_trainer("gru", "sgd").model).load_state(EMA(model).state())
    state = with_average.state()
    with_average.averaging = None
    with pytest.raises(ValueError, match="averages its parameters"):
        with_average.load_state(*state, None)


# The same over a file, for the task.

OPTIONS: dict[str, Any] = {
    "hidden": 12,
    "embedding": 5,
    "batch": 3,
    "steps_per_update": 10,
    "dropout": 0.2,
    "validations": 4,
    "quiet": True,
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    words = np.random.default_rng(0).choice(["the", "a", "cat", "dog", "sees", "hears", "."], 800)
    path = tmp_path / "text.txt"
    path.write_text(" ".join(words))
    return path


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Presses Ctrl-C in the middle of an update."""
    count, loss = 0, lm.LanguageModelling.loss

    def counting_loss(self: Any, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(self, *arguments)

    monkeypatch.setattr(lm.LanguageModelling, "loss", counting_loss)


def test_ctrl_c_and_resume(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    lm.train(text, steps=40, output=whole, **OPTIONS)
    with monkeypatch.context() as patch:
        stop_at(17, patch)
        with pytest.raises(KeyboardInterrupt):
            lm.train(text, steps=40, output=parts, **{**OPTIONS, "quiet": False})
    assert f"unrolled train lm --resume {parts}" in capsys.readouterr().out
    assert load_checkpoint(parts).metadata["trainer"]["steps"] == 17

    model = lm.train(resume=parts, quiet=True)
    expected, got = load_checkpoint(whole), load_checkpoint(parts)
    assert set(got.arrays) == set(expected.arrays)
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(got.arrays[name], array)
    np.testing.assert_array_equal(model.model.flat.values, lm.load(whole).model.flat.values)


def test_a_complete_run_goes_on_with_a_larger_budget(text: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    lm.train(text, steps=10, output=first, **OPTIONS)
    with pytest.raises(ValueError, match=r"is complete \(10 updates.*larger"):
        lm.train(resume=first, quiet=True)
    lm.train(resume=first, output=second, steps=15, quiet=True)
    assert load_checkpoint(second).metadata["trainer"]["steps"] == 15
    assert load_checkpoint(first).metadata["trainer"]["steps"] == 10


def test_what_cannot_be_resumed(text: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    model = lm.train(text, steps=10, output=path, **OPTIONS)
    with pytest.raises(ValueError, match=r"--hidden 99 \(the run has 12\)"):
        lm.train(resume=path, steps=20, hidden=99)
    lm.train(resume=path, steps=11, hidden=12, quiet=True)  # the same value is no contradiction

    text.write_text(text.read_text() + " and more")
    with pytest.raises(CheckpointError, match="the data are not those"):
        lm.train(resume=path, steps=20, quiet=True)

    lm.save(model, path)
    with pytest.raises(CheckpointError, match="no training to resume"):
        lm.train(text, resume=path, steps=20, quiet=True)


def test_a_carry_of_another_form(text: Path, tmp_path: Path) -> None:
    """Checksums are right, but the state that goes on is not one of this model."""
    path = tmp_path / "run.safetensors"
    lm.train(text, steps=10, output=path, **OPTIONS)
    checkpoint = load_checkpoint(path)
    arrays = {name: a for name, a in checkpoint.arrays.items() if name != "trainer.carry.1"}
    save_checkpoint(path, arrays, checkpoint.metadata)
    with pytest.raises(CheckpointError, match=r"expected state as a tuple \(h, c\), got 1 entries"):
        lm.train(resume=path, steps=20, quiet=True)


def test_a_model_of_another_vocabulary(text: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    lm.save(lm.train(text, steps=1, **OPTIONS), path)
    checkpoint = load_checkpoint(path)
    checkpoint.metadata["assets"]["vocabulary"]["symbols"].pop()
    save_checkpoint(path, checkpoint.arrays, checkpoint.metadata)
    with pytest.raises(CheckpointError, match="outputs, its vocabulary"):
        lm.load(path)
