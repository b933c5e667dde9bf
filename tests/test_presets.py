"""A preset stands for its options: those given win, and checkpoints hold what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from text_models import TEXT
from unrolled.tasks import Saved, make_options, option_types, presets, tasks
from unrolled.tasks import language_model as lm

BUDGET = {"minutes", "epochs", "steps"}
SMALL: dict[str, Any] = {
    "hidden": 12,
    "batch": 3,
    "steps_per_update": 10,
    "validations": 2,
    "quiet": True,
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 4)
    return path


@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task in tasks() for name in presets(task)]
)
def test_every_preset_is_made_of_options(task: str, name: str) -> None:
    chosen = presets(task)[name].options
    assert set(chosen) <= set(option_types(tasks()[task])) - BUDGET - {"preset"}
    options = make_options(tasks()[task], {"preset": name})
    assert {option: getattr(options, option) for option in chosen} == dict(chosen)
    make_options(tasks()[task], chosen)  # values are among their choices


def test_awd_is_the_recipe() -> None:
    options: Any = make_options(lm.LanguageModelling, {"preset": "awd"})
    assert options.tied
    assert options.variational
    for rate in (
        options.dropout,
        options.dropout_hidden,
        options.dropout_input,
        options.dropout_embedding,
        options.weight_dropout,
        options.alpha,
        options.beta,
    ):
        assert rate > 0


def test_given_options_win() -> None:
    options: Any = make_options(
        lm.LanguageModelling, {"preset": "awd", "hidden": 64, "tied": False, "alpha": 0.0}
    )
    assert (options.hidden, options.tied, options.alpha) == (64, False, 0.0)
    assert options.beta == presets("lm")["awd"].options["beta"]


def test_checkpoints_hold_resolved_options(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.safetensors"
    model = lm.train(text, preset="awd", layers=1, steps=4, output=path, **SMALL)
    assert model.model.config["tied"]
    assert (model.model.rnn.num_layers, model.model.rnn.weight_dropout) == (1, 0.2)

    monkeypatch.setattr("unrolled.tasks._presets._PRESETS", {})  # as if they had changed since
    assert lm.load(path).options == model.options
    assert Saved.read(path, training=False).metadata.options["preset"] == "awd"
    for given in ({}, {"preset": "awd"}):
        resumed = lm.train(resume=path, steps=8, quiet=True, output=tmp_path / "on", **given)
        assert resumed.model.config == model.model.config
    with pytest.raises(ValueError, match=r"--preset char \(the run has awd\)"):
        lm.train(resume=path, steps=8, preset="char")


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(ValueError, match=r"\[train lm\] there is no preset 'adw', only awd, "):
        lm.train(preset="adw")
    assert presets("no-such-task") == {}


def test_help_lists_presets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("typer", reason="typer comes with the extra [train]")
    from unrolled.cli import main

    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit):
        main(["train", "lm", "--help"])
    text = capsys.readouterr().out
    for name, preset in presets("lm").items():
        assert f"{name}: {preset.summary}" in text
