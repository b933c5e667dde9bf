"""Texts for language models: reading, splitting, and the vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from unrolled.tasks import language_model as lm
from unrolled.tasks._corpus import (
    Document,
    builtin_documents,
    read_documents,
    split_documents,
)
from unrolled.tasks._text import END, UNKNOWN, Vocabulary

# Texts and how they are split.


def documents(sizes: Sequence[int]) -> list[Document]:
    return [Document(f"d{i}", f"{i:04d}" + "x" * (size - 4)) for i, size in enumerate(sizes)]


def test_whole_documents_are_held_out() -> None:
    everything = documents([100] * 200)
    training, held_out = split_documents(everything)
    assert not set(training) & set(held_out)
    assert sorted((*training, *held_out), key=lambda d: d.text) == everything
    size = sum(len(d.text) for d in held_out)
    assert 0.05 * 20_000 <= size <= 0.10 * 20_000
    assert training == sorted(training, key=lambda d: d.text)
    assert split_documents(everything) == (training, held_out)
    # What is held out does not depend on the order, and one more document moves few.
    assert set(split_documents(everything[::-1])[1]) == set(held_out)
    assert len(set(split_documents([*everything, Document("new", "new")])[1]) ^ set(held_out)) <= 2


def test_copies_are_dropped() -> None:
    everything = documents([100] * 50)
    training, held_out = split_documents(everything * 2)
    assert Counter((*training, *held_out)) == Counter(everything)


@pytest.mark.parametrize("sizes", [[1000], [1000, 900], [500, 500, 500, 500]], ids=str)
def test_ends_are_held_out_where_documents_are_few(sizes: list[int]) -> None:
    everything = documents(sizes)
    training, held_out = split_documents(everything)
    assert [t.text + h.text for t, h in zip(training, held_out, strict=True)] == [
        document.text for document in everything
    ]
    assert [len(h.text) for h in held_out] == [size // 10 for size in sizes]


def test_large_documents_are_passed_over() -> None:
    training, held_out = split_documents(documents([100_000] + [500] * 60))
    assert training[0].name == "d0"
    assert 0.05 <= sum(len(d.text) for d in held_out) / 130_000 <= 0.10


def test_files_and_folders_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "inner").mkdir(parents=True)
    (folder / "b.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    (folder / "inner" / "a.MD").write_text("# title\n", encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / "empty.txt").write_text(" \n")
    extra = tmp_path / "extra.log"
    extra.write_text("naïve", encoding="utf-8")
    found = read_documents([folder, extra])
    assert [document.text for document in found] == ["one\ntwo\nthree\n", "# title\n", "naïve"]


def test_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("abc déf".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt is not UTF-8.*0xe9 at position 5"):
        read_documents([path])
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        read_documents([tmp_path / "missing"])
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"no \.txt or"):
        read_documents([tmp_path / "none"])
    path.write_text("")
    with pytest.raises(ValueError, match="there is no text"):
        read_documents([path])


@pytest.mark.parametrize("text", ["x", "ab" * 300], ids=len)
def test_too_little_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tiny.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"too little: one update takes 1,024 tokens"):
        lm.train(path, steps=1, quiet=True)


def test_built_in_text() -> None:
    found = builtin_documents()
    training, held_out = split_documents(found)
    size = sum(len(d.text) for d in found)
    assert 1_000_000 < size < 6_000_000
    assert 0.05 <= sum(len(d.text) for d in held_out) / size <= 0.10
    assert len(found) > 300
    assert len({d.name for d in found}) == len(found)
    assert not {d.name for d in training} & {d.name for d in held_out}
    assert "Return a list of the words" in "".join(d.text for d in found)


# Vocabularies.


def test_characters_round_trip() -> None:
    vocabulary = Vocabulary.build(["hello wörld 😀\n"], "char")
    text = "world wörd 😀\n"
    tokens = vocabulary.encode(text)
    assert "".join(vocabulary.symbols[token] for token in tokens) == text
    assert tokens.dtype == np.uint8
    assert vocabulary.encode("aAé\U0010ffff").tolist() == [UNKNOWN] * 4
    assert vocabulary.encode("").size == 0
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


def test_words() -> None:
    vocabulary = Vocabulary.build(["Don't go, he said (twice).\nGo!"], "word")
    tokens = vocabulary.encode("Don't he (go, Never)!\n")
    words = [vocabulary.symbols[token] for token in tokens]
    assert words == ["Don't", "he", "(", "go", ",", "<unk>", ")", "!", "\n"]
    text = ""
    for token in vocabulary.encode("he said, go (twice)\nGo!"):
        text += vocabulary.piece(int(token), text)
    assert text == "he said, go (twice)\nGo!"


def test_rare_tokens_become_unknown() -> None:
    vocabulary = Vocabulary.build(["aaabbbccd"], "char", min_count=2)
    assert vocabulary.symbols == ("<end>", "<unk>", "a", "b", "c")
    assert vocabulary.rare == 1
    limited = Vocabulary.build(["aaabbbccd"], "char", limit=2)
    assert limited.symbols[2:] == ("a", "b")
    assert limited.rare == 2
    assert limited.join(["ab", "", "dc"]).tolist() == [2, 3, END, END, UNKNOWN, UNKNOWN, END]


def test_large_vocabularies_get_wider_tokens() -> None:
    vocabulary = Vocabulary.build([" ".join(f"w{i}" for i in range(300))], "word")
    assert vocabulary.encode("w7").dtype == np.uint16
