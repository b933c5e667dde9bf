"""The log of a run: strict JSON, bounded, and after a break that of an unbroken run."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bowl import Bowl, make_trainer
from unrolled.tasks import language_model as lm
from unrolled.training import (
    Budget,
    Callback,
    DivergedError,
    JsonLog,
    LossAndPullback,
    Metric,
    Statistics,
    Trainer,
    Update,
    bits,
)

METRIC = Metric("bits per number", "bits", "numbers", bits)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def events(path: Path, *names: str) -> list[dict[str, Any]]:
    """The lines of these kinds, but for what the clock says."""
    clock = ("seconds", "rate", "started")
    lines = [line for line in read(path) if line["event"] in names]
    return [{key: v for key, v in line.items() if key not in clock} for line in lines]


def test_lines_say_what_happened(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    log = JsonLog(path, METRIC, {"task": "bowl", "options": {"lr": 0.1}})
    scores = iter([2.0, 3.0])
    trainer = make_trainer(
        callbacks=[log], budget=Budget(steps=4), validate=lambda: next(scores), validations=2
    )
    trainer.run()
    lines = read(path)
    assert [line["event"] for line in lines] == [
        *("run", "update", "update", "validation", "update", "update", "validation", "end")
    ]
    first, end = lines[0], lines[-1]
    assert (first["task"], first["options"], first["step"]) == ("bowl", {"lr": 0.1}, 0)
    assert first["metric"] == METRIC.name
    assert {key: lines[1][key] for key in ("step", "epoch", "fraction", "updates", "skipped")} == {
        "step": 1, "epoch": 0.1, "fraction": 0.25, "updates": 1, "skipped": 0,
    }  # fmt: skip
    assert (lines[1]["loss"], lines[1]["lr"], lines[1]["targets"]) == (18.0, 0.1, 2)
    assert lines[1]["grad_norm"] == lines[1]["grad_norm_max"] == pytest.approx(6.0)
    assert 0.0 < lines[1]["seconds"] <= lines[2]["seconds"] <= end["seconds"]
    assert lines[1]["rate"] > 0.0
    validations = events(path, "validation")
    assert [line["best"] for line in validations] == [True, False]
    assert validations[0]["score"] == pytest.approx(2.0 / math.log(2.0))
    assert (end["step"], end["reason"], end["error"], end["best_loss"]) == (4, "finished", None, 2)


def test_a_long_run_has_a_short_log(tmp_path: Path) -> None:
    """About a thousand lines, which together have every update once."""

    class Losses(Callback):
        def started(self, trainer: Trainer[Any]) -> None:
            self.updates: list[Update] = []

        def updated(self, trainer: Trainer[Any], update: Update) -> None:
            self.updates.append(update)

    heard = Losses()
    path = tmp_path / "run.jsonl"
    make_trainer(callbacks=[JsonLog(path, METRIC, {}), heard], budget=Budget(steps=3500)).run()
    lines = events(path, "update")
    assert len(lines) == 1000
    begin = 0
    for line in lines:
        part = heard.updates[begin : line["step"]]
        assert len(part) == line["updates"]
        assert line["loss"] == pytest.approx(np.mean([update.loss for update in part]))
        assert line["grad_norm_max"] == max(update.grad_norm for update in part)
        begin = line["step"]
    assert begin == 3500


class Broken(Bowl):
    """Its loss is not a number in the second of every three batches."""

    def loss(self, batch: int, carry: Any, rng: np.random.Generator) -> LossAndPullback:
        (loss, count, carry), pullback = super().loss(batch, carry, rng)
        return (math.nan if batch % 3 == 1 else loss, count, carry), pullback


def test_not_a_number_is_null(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    trainer = make_trainer(
        Broken(), callbacks=[JsonLog(path, METRIC, {"x": [math.inf]})], budget=Budget(steps=3),
        validate=lambda: math.nan, validations=1,
    )  # fmt: skip
    trainer.run()
    first, second, third = events(path, "update")
    assert (first["skipped"], second["skipped"], third["skipped"]) == (0, 1, 0)
    assert second["loss"] is second["grad_norm"] is second["grad_norm_max"] is None
    assert (second["targets"], second["updates"]) == (0, 1)
    assert third["loss"] < first["loss"]
    assert events(path, "validation")[0]["score"] is None
    assert read(path)[0]["x"] == [None]


def test_the_end_says_why(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"

    def end_of(**options: Any) -> dict[str, Any]:
        trainer = make_trainer(callbacks=[JsonLog(path, METRIC, {})], **options)
        try:
            raise KeyError("handled: it has nothing to do with the run")
        except KeyError:
            with contextlib.suppress(DivergedError, OSError):
                trainer.run()
        return read(path)[-1]

    def interrupted() -> float:
        signal.raise_signal(signal.SIGINT)
        return 1.0

    def full(trainer: Trainer[Any]) -> None:
        raise OSError("the disk is full")

    assert end_of()["reason"] == "finished"
    assert end_of(validate=lambda: 1.0, patience=2)["reason"] == "stopped early"
    assert end_of(validate=interrupted, validations=2)["reason"] == "stopped"
    nan = np.full(4, np.nan, np.float32)
    model = Bowl()
    model.flat.values[:] = nan
    diverged = end_of(model=model, max_skipped=3)
    assert diverged["reason"] == "failed"
    assert "DivergedError: training diverged: 3 updates" in diverged["error"]
    failed = end_of(save=full)
    assert (failed["reason"], failed["error"]) == ("failed", "OSError: the disk is full")


def test_resumed_equals_unbroken(tmp_path: Path) -> None:
    """Killed at any update after a save; statistics are taken over too."""
    states: dict[int, Any] = {}

    def keep(trainer: Trainer[Any]) -> None:
        arrays, values = trainer.state()
        best = None if trainer.best_values is None else trainer.best_values.copy()
        states[trainer.steps] = ({name: a.copy() for name, a in arrays.items()}, values, best)

    def start(path: Path, steps: int = 40, **options: Any) -> tuple[Trainer[int], Statistics]:
        statistics = Statistics(every=1, keep=10)
        log = JsonLog(path, METRIC, {}, statistics=statistics, earlier=options.pop("earlier", None))
        model = Bowl()
        trainer = make_trainer(
            model, callbacks=[statistics, log], budget=Budget(steps=steps), save=keep,
            validate=lambda: float(model.flat.values.sum()), validations=4, **options,
        )  # fmt: skip
        return trainer, statistics

    whole = tmp_path / "whole.jsonl"
    unbroken, expected = start(whole)
    unbroken.run()
    kinds = ("update", "validation", "statistics", "end")
    text = whole.read_text().splitlines(keepends=True)
    for step in (10, 30):
        for lost in (0, 3, 8):
            broken, new = tmp_path / "broken.jsonl", tmp_path / "new.jsonl"
            of_step = [json.loads(line).get("step", 0) for line in text]
            cut = next(i for i, number in enumerate(of_step) if number > step) + lost
            broken.write_text("".join(text[:cut]) + text[cut][: len(text[cut]) // 2])  # torn
            for earlier, path in ((None, broken), (broken, new)):
                resumed, statistics = start(path, earlier=earlier)
                resumed.load_state(*states[step])
                resumed.run()
                assert events(path, *kinds) == events(whole, *kinds)
                assert [line["step"] for line in events(path, "run")] == [0, step]
                assert statistics.measurements == expected.measurements
                broken.write_text("".join(text[:cut]))


def test_a_save_between_two_summaries(tmp_path: Path) -> None:
    """A run that is killed and goes on from there sums up what an unbroken one does."""
    state: list[Any] = []

    def keep(trainer: Trainer[Any]) -> None:
        if trainer.steps == 500:  # 142.86 thousandths
            arrays, values = trainer.state()
            state.extend([{name: array.copy() for name, array in arrays.items()}, values, None])

    def train(path: Path, *state: Any) -> None:
        log, budget = JsonLog(path, METRIC, {}), Budget(steps=3500)
        trainer = make_trainer(callbacks=[log], budget=budget, save=keep, validations=7)
        if state:
            trainer.load_state(*state)
        trainer.run()

    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    train(whole)
    lines = whole.read_text().splitlines(keepends=True)
    parts.write_text("".join(lines[:200]))
    train(parts, *state)
    assert events(parts, "update") == events(whole, "update")
    assert 500 in [line["step"] for line in events(parts, "update")]


def test_an_interrupted_run_loses_no_update(tmp_path: Path) -> None:
    """Where Ctrl-C falls between two summaries there is one more; together they say the same."""
    path, steps = tmp_path / "run.jsonl", 5000

    class Interrupt(Callback):
        def updated(self, trainer: Trainer[Any], update: Update) -> None:
            if update.step == 2003:  # noticed by the next update
                signal.raise_signal(signal.SIGINT)

    first = make_trainer(
        callbacks=[Interrupt(), JsonLog(path, METRIC, {})],
        budget=Budget(steps=steps),
        save=lambda trainer: None,
    )
    first.run()
    assert first.stopped
    trainer = make_trainer(callbacks=[JsonLog(path, METRIC, {})], budget=Budget(steps=steps))
    trainer.load_state(*first.state(), None)
    trainer.run()
    lines = events(path, "update")
    assert [line["step"] for line in lines if 1995 <= line["step"] <= 2010] == [
        *(1995, 2000, 2004, 2005, 2010)
    ]
    assert sum(line["updates"] for line in lines) == steps
    assert [line["event"] for line in read(path)].count("end") == 1


def test_a_new_run_begins_a_new_log(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    for steps in (20, 5):
        make_trainer(callbacks=[JsonLog(path, METRIC, {})], budget=Budget(steps=steps)).run()
    assert len(events(path, "run", "update")) == 1 + 5
    assert [item.name for item in tmp_path.iterdir()] == ["run.jsonl"]


def test_the_score_comes_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    log = JsonLog(path, METRIC, {})
    trainer = make_trainer(callbacks=[log], budget=Budget(steps=3))
    trainer.run()
    log.scored(trainer, 2.0)
    ends = read(path)[-2:]
    assert ends[0]["event"] == "end"
    assert ends[1] == {"event": "score", "step": 3, "loss": 2.0, "score": bits(2.0)}
    further = make_trainer(callbacks=[JsonLog(path, METRIC, {})], budget=Budget(steps=4))
    further.load_state(*trainer.state(), None)
    further.run()
    assert [line["event"] for line in read(path)] == [
        *("run", "update", "update", "update", "run", "update", "end")
    ]


def test_a_resumed_run_without_its_log_begins_one(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    first = make_trainer(budget=Budget(steps=20))
    first.run()
    trainer = make_trainer(callbacks=[JsonLog(path, METRIC, {})], budget=Budget(steps=25))
    trainer.load_state(*first.state(), None)
    trainer.run()
    assert [line["step"] for line in events(path, "run", "update")] == [20, 21, 22, 23, 24, 25]


def test_data_are_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "somebody\'s data"}\n')
    with pytest.raises(ValueError, match="is no log of a training run and would be replaced"):
        JsonLog(path, METRIC, {})
    assert "somebody" in path.read_text()
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        JsonLog(tmp_path / "no" / "run.jsonl", METRIC, {})


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """The same over files: SIGKILL in the middle of an update."""
    pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    words = np.random.default_rng(0).choice(["the", "a", "cat", "dog", "sees", "hears", "."], 800)
    text = tmp_path / "text.txt"
    text.write_text(" ".join(words))
    options = {"hidden": 12, "embedding": 5, "batch": 3, "steps_per_update": 10, "quiet": True}
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    lm.train(text, steps=40, validations=4, output=whole, **options)
    killed = f"""
import os, signal
from unrolled.tasks import language_model as lm
loss, count = lm.LanguageModelling.loss, 0
def counting(self, *arguments):
    global count
    count += 1
    if count == 27:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(self, *arguments)
lm.LanguageModelling.loss = counting
lm.train({str(text)!r}, steps=40, validations=4, output={str(parts)!r}, **{options!r})
"""
    ended = subprocess.run([sys.executable, "-c", killed], capture_output=True, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    log = parts.with_suffix(".jsonl")
    assert events(log, "update")[-1]["step"] == 26
    lm.train(resume=parts, quiet=True)
    kinds = ("update", "validation", "end", "score")
    assert events(log, *kinds) == events(whole.with_suffix(".jsonl"), *kinds)
    assert [line["step"] for line in events(log, "run")] == [0, 20]
