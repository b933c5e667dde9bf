"""`unrolled translate`: one text or lines, n-best lists, pictures, and errors as text."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from unrolled.cli import main
from unrolled.tasks import translation

for module in ("typer", "rich", "safetensors"):
    pytest.importorskip(module, reason=f"{module} comes with the extra [train]")

PAIRS = [("red dog", "roter Hund"), ("blue cat", "blaue Katze"), ("red cat", "rote Katze")]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translate")
    pairs = folder / "pairs.tsv"
    pairs.write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS * 30))
    path = folder / "model.safetensors"
    sizes = {"hidden": 24, "embedding": 12, "lr": 1e-2, "dropout": 0.0, "batch": 8}
    translation.train(pairs, tokens="word", min_count=1, steps=80, output=path, quiet=True, **sizes)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_one_text(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ((), ("--beam", 1), ("--no-repeat", 2, "--coverage-penalty", 0.2)):
        code, out, _ = run(capsys, "translate", checkpoint, "red dog", *options)
        assert (code, out) == (0, "roter Hund\n")


@pytest.mark.parametrize(
    "command", ["translate", "train translation", "evaluate translation", "compare translation"]
)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *command.split(), "--help")
    assert code == 0
    assert "Usage: unrolled" in out
    assert "For example:" in out


def test_lines(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [*PAIRS * 30, ("", "")]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{a}\n" for a, _ in lines)))
    code, out, _ = run(capsys, "translate", checkpoint)
    assert code == 0
    assert out.split("\n")[:-1] == [b for _, b in lines]


def test_n_best(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "translate", checkpoint, "blue cat", "--nbest", 3)
    assert code == 0
    scores = [float(line.split()[0]) for line in out.splitlines()]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert out.splitlines()[0].endswith("blaue Katze")


def test_samples(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--sample", "--temperature", 2.0, "--seed", 4)
    first = run(capsys, "translate", checkpoint, "blue cat", *options)
    assert first[0] == 0
    assert first == run(capsys, "translate", checkpoint, "blue cat", *options)


def test_picture(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason='pip install "unrolled[train]"')
    picture = tmp_path / "read.png"
    assert run(capsys, "translate", checkpoint, "red cat $", "--attention", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("red", "--nbest", 9, "--beam", 5), "--nbest 9 needs a --beam of at least as many, not 5"),
        (("red", "--sample", "--nbest", 2), "choose one of --sample and --nbest"),
        (("-", "--attention", "a.png"), "--attention shows one text"),
        (("", "--attention", "a.png"), "there is no text to read"),
    ],
)
def test_errors(
    arguments: tuple[object, ...],
    text: str,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, err = run(capsys, "translate", checkpoint, *arguments)
    assert code == 1
    assert f"error: {text}" in err


def test_a_checkpoint_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no file" in run(capsys, "translate", tmp_path / "no.safetensors", "red")[2]
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    assert run(capsys, "translate", tmp_path / "bad.safetensors", "red")[0] == 1
