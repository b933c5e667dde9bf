"""Reference corpora: formats, official splits, vocabularies; real copies below UNROLLED_DATA."""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.tasks import language_model as lm
from unrolled.tasks import option_types
from unrolled.tasks._text import END, Vocabulary
from unrolled.tasks.corpora import READERS, brown, chitchat, read_corpus, tinyshakespeare

SENTENCE = "The/at jury/nn said/vbd ``/`` 1/2/cd cup/nn ''/'' ./."


def real(*names: str) -> Path:
    """A file of the folder UNROLLED_DATA."""
    folder = os.environ.get("UNROLLED_DATA")
    if folder is None:
        pytest.skip("needs UNROLLED_DATA, a folder with real data")
    path = Path(folder, *names)
    if not path.exists():
        pytest.skip(f"needs {path}")
    return path


def all_text(documents: Any) -> list[str]:
    return [document.text for document in documents]


# Brown.


@pytest.fixture
def brown_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three texts of eight tokens: five tokens to train on, four for validation."""
    monkeypatch.setattr(brown, "TOKENS", 24)
    monkeypatch.setattr(brown, "TRAINING", 5)
    monkeypatch.setattr(brown, "VALIDATION", 4)
    monkeypatch.setattr(brown, "MIN_COUNT", 2)
    folder = tmp_path / "brown"
    folder.mkdir()
    for name, verb in (("cb01", "wrote"), ("ca02", "says"), ("ca01", "said")):
        text = f"\n\n\t{SENTENCE.replace('said', verb)}\n\n"
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "CONTENTS").write_text("no text")
    (folder / "cats.txt").write_text("ca01 news")
    return folder


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_brown(brown_folder: Path, packed: bool) -> None:
    path = brown_folder
    if packed:
        path = brown_folder.with_suffix(".zip")
        with zipfile.ZipFile(path, "w") as archive:
            for file in brown_folder.iterdir():
                archive.write(file, f"brown/{file.name}")
    corpus = read_corpus("brown", [path])
    assert all_text(corpus.training) == ["The jury said `` 1/2"]
    assert all_text(corpus.validation) == ["cup '' . The"]
    assert all_text(corpus.test) == ["jury says `` 1/2 cup '' . The jury wrote `` 1/2 cup '' ."]
    # Words of the whole corpus, split at spaces alone; the three verbs are too rare.
    assert set(corpus.vocabulary.symbols[2:]) == {"The", "jury", "``", "1/2", "cup", "''", "."}
    assert corpus.vocabulary.rare == 3
    assert Vocabulary.from_json(json.loads(json.dumps(corpus.vocabulary.to_json()))) == (
        corpus.vocabulary
    )


def test_what_is_not_brown(brown_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected one path, .*brown\.zip.*nltk"):
        read_corpus("brown", [])
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*expected the Brown"):
        read_corpus("brown", [tmp_path / "missing"])
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(ValueError, match="is no zip file"):
        read_corpus("brown", [tmp_path / "text.zip"])
    (brown_folder / "cc01").write_text("one/cd")
    with pytest.raises(ValueError, match="has 25 tokens in 4 texts instead of 24"):
        read_corpus("brown", [brown_folder])
    (brown_folder / "cc01").write_text("no tags")
    with pytest.raises(ValueError, match="cc01: 'no' is not word/tag"):
        read_corpus("brown", [brown_folder])


def test_the_real_brown() -> None:
    corpus = read_corpus("brown", [real("text", "brown.zip")])
    parts = [corpus.training, corpus.validation, corpus.test]
    assert [len(part[0].text.split()) for part in parts] == [800_000, 200_000, 161_192]
    assert corpus.training[0].text.startswith("The Fulton County Grand Jury said Friday")
    assert len(corpus.vocabulary) == 2 + 17_904
    assert corpus.vocabulary.rare == 56_057 - 17_904


# Tiny Shakespeare.


def test_tinyshakespeare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tinyshakespeare, "CHARACTERS", 19)
    path = tmp_path / "input.txt"
    path.write_bytes(b"First Citizen:\r\nBe!\n")
    corpus = read_corpus("tinyshakespeare", [path])
    assert all_text(corpus.training) == ["First Citizen:\nBe"]  # int(0.9 * 19)
    assert all_text(corpus.validation) == ["!\n"]
    assert not corpus.test
    assert "!" in corpus.vocabulary.symbols
    path.write_text("something else")
    with pytest.raises(ValueError, match=r"14 characters instead of 19.*karpathy"):
        read_corpus("tinyshakespeare", [path])


def test_the_real_tinyshakespeare() -> None:
    corpus = read_corpus("tinyshakespeare", [real("text", "tinyshakespeare", "input.txt")])
    assert len(corpus.vocabulary) == 2 + 65
    assert [len(corpus.training[0].text), len(corpus.validation[0].text)] == [1_003_854, 111_540]


# Chit-chat.


def conversations(count: int) -> dict[str, Any]:
    def message(text: str) -> dict[str, str]:
        return {"text": text, "timestamp": "2018-05-02T19:38:15Z", "sender": "someone"}

    return {
        f"talk-{i}": {
            "prompt": "",
            "messages": [
                [message("Hello"), message(f"I\u2019m number {i}.")],
                [message("how are YOU doing today?")],
            ],
        }
        for i in range(count)
    }


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(conversations(300), ensure_ascii=False), encoding="utf-8")
    return path


def test_chitchat(dataset: Path) -> None:
    corpus = read_corpus("chitchat", [dataset])
    parts = [corpus.training, corpus.validation, corpus.test]
    names = [{document.name for document in part} for part in parts]
    assert sorted(set.union(*names)) == sorted(conversations(300))
    assert [len(part) for part in parts] == [len(part) for part in names]
    assert 0.7 < len(parts[0]) / 300 < 0.9
    assert all(len(part) > 10 for part in parts)
    document = corpus.training[0]
    number = document.name.removeprefix("talk-")
    assert document.text == f"Hello\nI\u2019m number {number}.\nhow are YOU doing today?"
    assert {"i'm", "you", "hello", "\n"} <= set(corpus.vocabulary.symbols)
    assert "YOU" not in corpus.vocabulary.symbols


def test_a_conversation_keeps_its_part(dataset: Path) -> None:
    before = {d.name for d in read_corpus("chitchat", [dataset]).test}
    dataset.write_text(json.dumps(conversations(200)))
    assert {d.name for d in read_corpus("chitchat", [dataset]).test} <= before


def test_what_is_not_chitchat(dataset: Path) -> None:
    for text in ("", "[1]", '{"a": 1}', '{"a": {"messages": [[{}]]}}'):
        dataset.write_text(text)
        with pytest.raises(ValueError, match=r"no conversations: expected the dataset\.json"):
            read_corpus("chitchat", [dataset])


def test_the_vocabulary_of_chitchat_is_limited(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chitchat, "VOCABULARY", 5)
    assert len(read_corpus("chitchat", [dataset]).vocabulary) == 2 + 5


def test_the_real_chitchat() -> None:
    pytest.importorskip("chitchat_dataset", reason="comes with the extra [corpora]")
    corpus = read_corpus("chitchat", [])
    parts = [corpus.training, corpus.validation, corpus.test]
    assert sum(len(part) for part in parts) == 7_168 - 1
    lines = sum(d.text.count("\n") + 1 for part in parts for d in part)
    assert lines == 258_145 - 1_296
    assert len(corpus.vocabulary) == 2 + 10_000


# Training on a corpus.


def test_options_name_every_corpus() -> None:
    choices = re.findall(r"'(\w+)'", str(option_types(lm.LanguageModelling)["corpus"]))
    assert sorted(choices) == sorted(READERS)
    with pytest.raises(ValueError, match="expected corpus to be one of 'brown', 'chitchat'"):
        lm.train(corpus="penn")


def test_a_corpus_has_its_own_tokens(dataset: Path) -> None:
    for options in ({"min_count": 2}, {"vocabulary": 9}):
        with pytest.raises(ValueError, match="chitchat has its own tokens: leave out --"):
            lm.train(dataset, corpus="chitchat", steps=1, quiet=True, **options)


def test_scores_are_over_the_tokens_of_the_corpus(dataset: Path) -> None:
    """The ends of documents are read, but not counted."""
    options = lm.Options(corpus="chitchat", batch=2, steps_per_update=8, hidden=4, embedding=4)
    task = lm.LanguageModelling(options, [dataset])
    assert "to test" in task.load()
    model = task.build(np.random.default_rng(0))
    model.flat.values[:] = 0.0
    assert task.score(model) == pytest.approx(np.log(len(task.vocabulary)), rel=1e-6)
    score = task._score(model, task.corpus.test)
    tokens = task.vocabulary.join(all_text(task.corpus.texts["test"]))
    assert score.tokens == np.count_nonzero(tokens != END)
    assert score.nats == pytest.approx(score.tokens * np.log(len(task.vocabulary)), rel=1e-6)


def test_the_command_line(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("typer", "rich", "safetensors"):
        pytest.importorskip(module, reason=f"{module} comes with the extra [train]")
    from unrolled.cli import main

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert not ended.value.code, captured.err
        return captured.out

    path = dataset.with_name("model.safetensors")
    sizes = ("--hidden", 16, "--embedding", 8, "--batch", 4, "--steps-per-update", 16)
    out = run(
        "train", "lm", dataset, "--corpus", "chitchat", "--steps", 60, "--output", path, *sizes
    )
    held_out = re.search(r"held out +([\d.]+) perplexity", out)
    test = re.search(r"test +([\d.]+) perplexity", out)
    assert held_out is not None
    assert test is not None

    out = run("evaluate", "lm", path, "--keyboard", "--baseline")
    assert f"{held_out[1]} perplexity per word, held out" in out
    assert f"{test[1]} perplexity per word, test" in out
    for part in ("held out", "test"):
        for name in ("network", "Kneser-Ney 5-grams"):
            assert re.search(rf"{part}, {name}: next word first \d+\.\d%, among 3", out)
        ngrams = re.search(rf"{part}, Kneser-Ney 5-grams: ([\d.]+) perplexity", out)
        assert ngrams is not None
        assert float(ngrams[1]) < 3.0  # every conversation is the same, but for a number

    (file := dataset.with_name("more.txt")).write_text("How are you doing?")
    lines = run("evaluate", "lm", path, file, "--keyboard").splitlines()
    assert len(lines) == 2
    assert "(5 words, 0 unknown)" in lines[0]
    assert "(4 words, 0.0% unknown)" in lines[1]
