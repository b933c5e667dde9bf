"""The command line: help, training, what follows from a checkpoint, and errors as text."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import unrolled
from text_models import TEXT
from unrolled import tasks
from unrolled.cli import main

for module in ("typer", "rich", "safetensors"):
    pytest.importorskip(module, reason=f"{module} comes with the extra [train]")

SIZES = (
    *("--hidden", 24, "--embedding", 8, "--batch", 4, "--steps-per-update", 16),
    *("--lr", 0.02, "--validations", 2),
)


def code_of(*arguments: object) -> int:
    """Runs a command; returns its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def run(*arguments: object) -> None:
    assert code_of(*arguments) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "text.txt").write_text(TEXT * 4)
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    path = folder / "char.safetensors"
    run("train", "lm", folder / "text.txt", "--steps", 120, "--output", path, *SIZES)
    return path


@pytest.mark.parametrize(
    "command",
    [
        *("", "train", "train lm", "evaluate", "evaluate lm", "compare", "compare lm"),
        *("tokenize", "generate", "suggest", "bench"),
    ],
)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(*command.split(), "--help")
    text = capsys.readouterr().out
    assert "Usage: unrolled" in text
    if command not in ("train", "evaluate", "compare"):
        assert "For example:" in text


def test_help_begins_with_training(capsys: pytest.CaptureFixture[str]) -> None:
    run("--help")
    text = capsys.readouterr().out
    places = [
        text.index(told) for told in ("│ train", "│ evaluate", "│ export", "Speech", "│ listen")
    ]
    assert places == sorted(places)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    run("--version")
    text = capsys.readouterr().out
    assert text == f"unrolled {unrolled.__version__}, kernels {unrolled.functional.isa()}\n"


def test_help_lists_every_option(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run("train", "lm", "--help")
    text = capsys.readouterr().out
    for option in ("minutes", "epochs", "steps", "level", "cell", "hidden", "seed", "resume"):
        assert f"--{option} " in text
    assert "(default 256)" in text
    assert "char|word" in text


@pytest.mark.parametrize("name", tasks.tasks())
def test_help_names_the_extras(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The help takes [video] for a style, unless it is escaped."""
    task = tasks.tasks()[name]
    monkeypatch.setenv("COLUMNS", "400")
    run("train", name, "--help")
    text = capsys.readouterr().out
    for told in (task.summary, *(item.metadata["help"] for item in fields(task.options_type))):
        for extra in re.findall(r"extra (\[.+?\])", told):
            assert f"extra {extra}" in text
    assert task.summary in text


def test_train_tells_what_to_do_next(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for name in ("lm", "lm-2"):
        run("train", "lm", "text.txt", "--steps", 12, *SIZES)
        captured = capsys.readouterr()
        for text in (
            "characters in 1 documents",
            "12 updates",
            "held out",
            "bits per character",
            f"checkpoint {name}.safetensors",
            f"unrolled generate {name}.safetensors --prompt",
            f"unrolled suggest {name}.safetensors",
            f"unrolled evaluate lm {name}.safetensors",
        ):
            assert text in captured.out
        assert "100%  update 12" in captured.err
        assert Path(f"{name}.safetensors").is_file()


def test_train_draws_the_loss(folder: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extra [train]")
    run("train", "lm", folder / "text.txt", "--steps", 3, "--output", folder / "drawn", *SIZES)
    assert (folder / "drawn.safetensors").is_file()
    assert (folder / "drawn.png").read_bytes().startswith(b"\x89PNG")


def test_generate(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("generate", checkpoint, "--prompt", "the ", "--length", 40, "--seed", 3)
    run(*arguments)
    text = capsys.readouterr().out
    assert text.startswith("the ")
    assert len(text) == len("the ") + 40 + len("\n")
    run(*arguments)
    assert capsys.readouterr().out == text
    run(*arguments, "--temperature", 0.5, "--top-k", 5, "--top-p", 0.9, "--stop")
    assert capsys.readouterr().out != text


def test_suggest(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("suggest", checkpoint, "the dog's c")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r" *\d+\.\d%  cat", lines[0])
    run("suggest", checkpoint, "the ", "--count", 5)
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_evaluate(checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "one.txt").write_text("the cat sees a dog.\n")
    (folder / "two.txt").write_text("Ω\n")
    run("evaluate", "lm", checkpoint, folder / "one.txt", folder / "two.txt")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "one.txt" in lines[0]
    assert "(20 characters, 0 unknown)" in lines[0]
    assert "(2 characters, 1 unknown)" in lines[1]
    assert lines[2].startswith("together: ")

    run("evaluate", "lm", checkpoint, folder / "one.txt", "--tokens")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 21
    assert re.fullmatch(r"[01]\.\d{6}  't'", lines[0])


def test_evaluate_tells_what_a_precision_costs(
    checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for precision in ("bf16", "int8"):
        files = (folder / "one.txt", folder / "two.txt")
        run("evaluate", "lm", checkpoint, *files, "--precision", precision)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 3
        for line in lines:
            assert re.search(rf", in {precision} [+-]\d+\.\d\d% of the loss$", line), line
    run("evaluate", "lm", checkpoint, "--precision", "int8")
    assert "held out, in int8" in capsys.readouterr().out


def test_generate_in_int8(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("generate", checkpoint, "--prompt", "the ", "--length", 20, "--precision", "int8")
    assert capsys.readouterr().out.startswith("the ")


def test_evaluate_without_files_repeats_the_score(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("train", "lm", "--resume", checkpoint, "--steps", 130)
    score = re.search(r"held out +([\d.]+) bits", capsys.readouterr().out)
    assert score is not None
    run("evaluate", "lm", checkpoint)
    assert f"{score[1]} bits per character, held out" in capsys.readouterr().out


def test_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "word.safetensors"
    run(
        "train",
        "lm",
        folder / "text.txt",
        "--level",
        "word",
        "--steps",
        60,
        "--output",
        path,
        *SIZES,
    )
    assert "perplexity per word" in capsys.readouterr().out
    run("generate", path, "--prompt", "the cat", "--length", 5, "--seed", 1)
    assert capsys.readouterr().out.startswith("the cat ")
    run("suggest", path, "the dog's c")
    assert capsys.readouterr().out == "100.0%  cat\n"
    run("suggest", path, "the zz")
    assert "no known word" in capsys.readouterr().err


def test_tokenize(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "words.tokens"
    run("tokenize", folder / "text.txt", "--output", path, "--level", "word", "--min-count", 1)
    captured = capsys.readouterr()
    assert f"unrolled train lm {path} --level word" in captured.out
    assert "writing" in captured.err
    model = folder / "tokens.safetensors"
    run("train", "lm", path, "--level", "word", "--steps", 12, "--output", model, *SIZES)
    score = re.search(r"held out +([\d.]+) perplexity", capsys.readouterr().out)
    assert score is not None
    run("evaluate", "lm", model)
    assert f"{score[1]} perplexity per word, held out" in capsys.readouterr().out
    for arguments, text in (
        (("train", "lm", path), "train with --level word too"),
        (("evaluate", "lm", model, path), "holds tokens, not text"),
        (("tokenize", folder / "missing.txt", "--output", path), "no file or folder"),
        (("tokenize", folder / "text.txt", "--output", folder / "no" / "x"), "no folder"),
    ):
        assert code_of(*arguments) == 1
        assert text in capsys.readouterr().err


def test_bench(tmp_path: Path, capsys: pytest.CaptureFixture[str], one_roofline: None) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extra [train]")
    files = [tmp_path / name for name in ("t.json", "t.md", "t.png", "roofline.png")]
    names = ("--json", "--markdown", "--png", "--roofline")
    options = [part for pair in zip(names, files, strict=True) for part in pair]
    run("bench", "tiny", "--only", "gru, forward+", "--seconds", 0.001, "--no-peers", *options)
    captured = capsys.readouterr()
    assert "gru, forward+backward" in captured.out
    assert "lstm" not in captured.out
    assert "1/1  gru, forward+backward" in captured.err
    assert all(file.stat().st_size > 0 for file in files)


def test_errors_are_text(
    checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "latin.txt").write_bytes("déjà".encode("latin-1") * 500)
    (folder / "tiny.txt").write_text("a b c")
    (folder / "foreign.safetensors").write_bytes(b"x" * 100)
    for arguments, text in (
        (("train", "lm", folder / "missing.txt"), "no file or folder"),
        (
            ("train", "lm", folder / "latin.txt"),
            "latin.txt is not UTF-8 text: byte 0xe9 at position 1",
        ),
        (("train", "lm", folder / "tiny.txt"), "too little"),
        (("train", "lm", "--steps", 0), "expected steps > 0"),
        (("train", "lm", "--steps", 1, "--minutes", 1), "one limit"),
        (("train", "lm", folder / "text.txt", "--output", folder / "no" / "x"), "no folder"),
        (("train", "lm", "--resume", checkpoint, "--hidden", 9, "--steps", 999), "--hidden 9"),
        (("generate", folder / "missing.safetensors"), "there is no file"),
        (("generate", folder / "foreign.safetensors"), "no checkpoint"),
        (("suggest", folder / "text.txt", "a"), "no checkpoint"),
        (("evaluate", "lm", checkpoint, folder / "latin.txt"), "not UTF-8"),
        (("bench", "no-such-suite"), "no-such-suite"),
    ):
        assert code_of(*arguments) == 1
        captured = capsys.readouterr()
        assert captured.err.startswith("error: "), arguments
        assert text in captured.err
        assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "arguments", ["train lm --cell foo", "train nothing", "generate", "train lm --lr fast"]
)
def test_wrong_usage_is_explained(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(*arguments.split()) == 2
    assert "Usage: unrolled" in capsys.readouterr().err


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_it_runs_as_a_module(checkpoint: Path) -> None:
    done = python("-m", "unrolled", "generate", checkpoint, "--length", 20)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout) == 21


def test_a_missing_extra_is_named() -> None:
    hide = "import sys; sys.modules['typer'] = None; from unrolled.cli import main; main([])"
    done = python("-c", hide)
    assert done.returncode == 1
    assert 'pip install "unrolled[train]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="pipes end differently there")
def test_a_closed_pipe_is_no_error(checkpoint: Path) -> None:
    command = [sys.executable, "-m", "unrolled", "generate", str(checkpoint), "--length", "100000"]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.read(10)
    writer.stdout.close()
    assert writer.stderr.read() == b""
    writer.stderr.close()
    writer.wait()
