"""What a run of a task leaves beside its checkpoint: all files, a page for people, no more."""

from __future__ import annotations

import base64
import math
import os
import shlex
import signal
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.cli import main
from unrolled.tasks import _html_page as html
from unrolled.tasks import _reports
from unrolled.tasks import language_model as lm
from unrolled.training import DivergedError

pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")

OPTIONS: dict[str, Any] = {
    "hidden": 12, "embedding": 5, "batch": 3, "steps_per_update": 10, "validations": 2,
    "min_count": 1, "quiet": True,
}  # fmt: skip

NASTY = "<script>alert('&amp;')</script>\"</pre><img src=x>"


class Page(HTMLParser):
    """A page whose tags must match; text, tags and pictures of it."""

    EMPTY = ("meta", "img")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.pictures: list[bytes] = []
        self.sections: dict[str, str] = {}
        self.commands: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            source = dict(attrs)["src"] or ""
            assert source.startswith("data:image/png;base64,"), "nothing is loaded from elsewhere"
            self.pictures.append(base64.b64decode(source.partition(",")[2], validate=True))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.sections[data] = ""
        elif self.sections:
            self.sections[list(self.sections)[-1]] += data
        if self.open and self.open[-1] == "pre" and data.startswith("\nunrolled "):
            self.commands.append(data.strip())
        self.text += data


@pytest.fixture
def text(tmp_path: Path) -> Path:
    words = np.random.default_rng(0).choice(["the", "a", "cat", "dog", "sees", "hears", "."], 800)
    path = tmp_path / "text.txt"
    path.write_text(" ".join(words))
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"text.txt"}


def test_files_of_a_run(text: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extra [train]")
    run = tmp_path / "run"
    run.mkdir()
    lm.train(text, steps=4, output=run / "lm", **OPTIONS)
    assert names(run) == {"lm.safetensors", "lm.jsonl", "lm.png", "lm.html"}
    lm.train(text, steps=4, output=run / "lm", statistics=True, **OPTIONS)
    assert names(run) == {
        "lm.safetensors", "lm.jsonl", "lm.png", "lm.html", "lm-statistics.png",
    }  # fmt: skip
    page = Page(run / "lm.html")
    assert page.pictures == [(run / name).read_bytes() for name in ("lm.png", "lm-statistics.png")]
    assert "rnn.weight_hh_l0" in page.sections["Parameters"]


def test_nothing_is_measured_or_written_unasked(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("nobody asked for it")

    monkeypatch.setattr(_reports, "Statistics", refuse)
    monkeypatch.setattr(_reports, "TensorBoard", refuse)
    lm.train(text, steps=2, output=tmp_path / "lm", **OPTIONS)
    monkeypatch.setattr(_reports, "JsonLog", refuse)
    monkeypatch.setattr(_reports.RunFacts, "gather", refuse)
    monkeypatch.chdir(tmp_path)
    before = names(tmp_path)
    lm.train(text, steps=2, **OPTIONS)
    assert names(tmp_path) == before


def test_the_page_tells_all(text: Path, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "lm.safetensors"
    lm.train(text, steps=40, output=path, seed=3, **{**OPTIONS, "quiet": False})
    said = capsys.readouterr().out
    page = Page(path.with_suffix(".html"))
    for line in said.splitlines():
        label, _, value = line.partition(" ")
        if label == "data":
            assert value.strip() in page.sections["What was run"]
        if label == "held":
            assert value.removeprefix("out").split()[0] in page.sections["Result"]
    assert said.partition("sample\n")[2].rstrip() in page.sections["Samples"]
    assert "bits per character" in page.sections["Validations"]
    assert page.sections["Validations"].count("(best)") == 1
    assert page.commands[-1] == f"unrolled train lm --resume {path} --steps 80"
    assert "steps per update" in page.sections["What was run"]
    assert f"report     {path.with_suffix('.html')}" in said


def test_the_command_makes_the_same_model(text: Path, tmp_path: Path) -> None:
    pytest.importorskip("typer", reason="typer comes with the extra [train]")
    folder = tmp_path / "with space"
    folder.mkdir()
    text = text.rename(folder / "it's text.txt")
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    lm.train(text, steps=5, output=first, tied=True, dropout=0.25, **OPTIONS)
    page = Page(first.with_suffix(".html"))
    command = shlex.split(page.commands[0])
    with pytest.raises(SystemExit) as ended:
        main([*command[1:], "--output", str(second)])
    assert not ended.value.code
    np.testing.assert_array_equal(
        lm.load(first).model.flat.values, lm.load(second).model.flat.values
    )


def test_everything_is_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options, names of files, data lines, samples: whatever a user or a model brings."""
    folder = tmp_path / NASTY.replace("/", "")
    folder.mkdir()
    text = folder / "<b>text.txt"
    text.write_text("the cat sees the dog. " * 80)
    monkeypatch.setattr(lm, "generate", lambda *arguments, **options: NASTY)
    load = lm.LanguageModelling.load
    monkeypatch.setattr(lm.LanguageModelling, "load", lambda self: load(self) + NASTY)
    path = tmp_path / "lm.safetensors"
    lm.train(text, steps=2, output=path, statistics=True, **OPTIONS)
    page = Page(path.with_suffix(".html"))
    assert not {"script", "b"} & set(page.tags)
    assert page.tags.count("img") == len(page.pictures)
    assert page.text.count(NASTY) >= 2
    assert str(text).replace("'", "'\"'\"'") in page.text
    assert "default-src 'none'" in path.with_suffix(".html").read_text()


def test_every_part_of_a_page_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    parts = [
        html.facts([(NASTY, NASTY)]),
        html.table([(NASTY, NASTY)], (NASTY, NASTY)),
        html.table([(NASTY, NASTY)]),
        html.preformatted(NASTY),
        html.paragraph(NASTY),
        html.picture(b"png", NASTY),
        html.folded(NASTY, html.paragraph("\ud800 half of a pair")),
    ]
    html.write_page(path, NASTY, NASTY, [html.section(NASTY, *parts)])
    page = Page(path)
    assert "script" not in page.tags
    assert page.text.count(NASTY) == 15
    assert page.pictures == [b"png"]


def test_without_matplotlib_there_is_a_page(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / "lm.safetensors"
    lm.train(text, steps=2, output=path, statistics=True, **{**OPTIONS, "quiet": False})
    assert 'no pictures: this needs the package "matplotlib"' in capsys.readouterr().out
    page = Page(path.with_suffix(".html"))
    assert page.pictures == []
    assert {"Result", "Parameters", "Samples"} <= set(page.sections)


def test_a_stopped_run_has_a_page(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = lm.LanguageModelling.loss

    def interrupted(self: Any, *arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return loss(self, *arguments)

    monkeypatch.setattr(lm.LanguageModelling, "loss", interrupted)
    path = tmp_path / "lm.safetensors"
    with pytest.raises(KeyboardInterrupt):
        lm.train(text, steps=9, output=path, **OPTIONS)
    page = Page(path.with_suffix(".html"))
    assert "stopped by Ctrl-C" in page.text
    assert page.commands[-1] == f"unrolled train lm --resume {path}"
    assert "Samples" not in page.sections


def test_a_diverged_run_has_a_page(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, count = lm.LanguageModelling.loss, 0

    def broken(self: Any, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        (value, *others), pullback = loss(self, *arguments)
        return (math.nan if count > 5 else value, *others), pullback

    monkeypatch.setattr(lm.LanguageModelling, "loss", broken)
    path = tmp_path / "lm.safetensors"
    with pytest.raises(DivergedError):
        lm.train(text, steps=40, output=path, **OPTIONS)
    page = Page(path.with_suffix(".html"))
    assert "training diverged: 10 updates in a row" in page.text
    assert "10 of 15 updates were skipped" in page.sections["Result"]
    assert "How to go on" not in page.sections


def test_reports_may_change_when_a_run_goes_on(text: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX comes with the extra [tensorboard]")
    path, board = tmp_path / "lm.safetensors", tmp_path / "board"
    lm.train(text, steps=4, output=path, statistics=True, **OPTIONS)
    lm.train(resume=path, steps=8, tensorboard=board, quiet=True)
    assert len(list(board.iterdir())) == 1
    options = lm.load(path).options
    assert (options.statistics, options.tensorboard) == (True, str(board))
    lm.train(resume=path, steps=9, statistics=False, quiet=True)
    assert lm.load(path).options.statistics is False
    assert len(list(board.iterdir())) == 2


def test_statistics_need_a_place(text: Path) -> None:
    with pytest.raises(ValueError, match="statistics go beside the checkpoint: give an output"):
        lm.train(text, steps=2, statistics=True, **OPTIONS)
