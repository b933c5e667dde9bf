"""Texts larger than memory: read in pieces, written as tokens, trained on from the file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes import run_python
from text_models import TEXT
from unrolled.tasks import _corpus, _text
from unrolled.tasks import language_model as lm
from unrolled.tasks._corpus import Document, read_documents, split_documents
from unrolled.tasks._text import Vocabulary
from unrolled.training import StreamBatches, TokenStore, TokenStoreError, write_tokens

OPTIONS: dict[str, Any] = {
    "hidden": 12,
    "embedding": 5,
    "batch": 3,
    "steps_per_update": 10,
    "validations": 2,
    "quiet": True,
}

# Reading in pieces.


@given(
    st.text(st.sampled_from("ab'é\U0001f600 \t\n\r\u2028.\ufeff"), max_size=60), st.integers(1, 9)
)
def test_pieces_are_the_text(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: int
) -> None:
    path = tmp_path_factory.mktemp("pieces") / "a.txt"
    path.write_bytes(text.encode())
    expected = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_corpus, "_PIECE", size)
        pieces = list(Document("a", path).pieces())
    assert "".join(pieces) == expected == Document("a", path).text
    # No word is cut, so words and characters may be counted and encoded piece by piece.
    vocabulary = Vocabulary.build(pieces, "word")
    assert vocabulary == Vocabulary.build([expected], "word")
    tokens = [token for piece in pieces for token in vocabulary.encode(piece)]
    assert tokens == vocabulary.encode(expected).tolist()


@given(st.integers(0, 40), st.integers(0, 40), st.booleans())
def test_parts_of_a_document(
    tmp_path_factory: pytest.TempPathFactory, start: int, length: int, in_file: bool
) -> None:
    text = "one two three\nfour five six "
    path = tmp_path_factory.mktemp("parts") / "a.txt"
    path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_corpus, "_PIECE", 5)
        part = Document("a", path if in_file else text, start, start + length)
        assert part.text == text[start : start + length]
        assert Document("a", path, start).text == text[start:]


def test_a_wrong_byte_is_found_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_corpus, "_PIECE", 4)
    path = tmp_path / "a.txt"
    for good in ("", "abc", "abcdefg ", "aé\U0001f600é "):
        for mark in (b"", b"\xef\xbb\xbf"):
            path.write_bytes(mark + good.encode() + b"\xe9 and more text")
            position = len(mark) + len(good.encode())
            with pytest.raises(ValueError, match=f"byte 0xe9 at position {position};"):
                _ = Document("a", path).text
    path.write_bytes(b"cut off \xf0\x9f\x98")
    with pytest.raises(ValueError, match="byte 0xf0 at position 8;"):
        _ = Document("a", path).text


def test_little_is_held_out_of_a_large_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_corpus, "_HELD_OUT_CHARACTERS", 1000)
    several = [Document(str(i), f"{i:04d}" + "x" * 96) for i in range(2000)]
    training, held_out = split_documents(several)
    assert 1000 <= sum(document.characters for document in held_out) <= 2000
    assert len(training) + len(held_out) == 2000
    training, held_out = split_documents([Document("a", "abcd" * 50_000)])
    assert (training[0].characters, held_out[0].characters) == (198_000, 2000)


def test_counting_words_forgets_rare_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_text, "_MOST_KINDS", 100)
    texts = [f"the cat sat number{i} other{i}" for i in range(500)]
    vocabulary = Vocabulary.build(texts, "word", min_count=2)
    assert vocabulary.symbols[2:] == ("cat", "sat", "the")
    assert vocabulary.rare <= 100


# Tokens in a file.


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    words = np.random.default_rng(0).choice(["the", "a", "cat", "dog", "sees", "hears", "."], 3000)
    path.write_text(" ".join(words))
    return path


@pytest.mark.parametrize("level", ["char", "word"])
def test_training_on_tokens_is_training_on_the_text(text: Path, tmp_path: Path, level: Any) -> None:
    path = lm.tokenize(text, tmp_path / "corpus", level=level)
    assert path.name == "corpus.tokens"
    from_text = lm.train(text, level=level, steps=12, **OPTIONS)
    from_tokens = lm.train(path, level=level, steps=12, **OPTIONS)
    assert from_tokens.vocabulary == from_text.vocabulary
    np.testing.assert_array_equal(from_tokens.model.flat.values, from_text.model.flat.values)


def test_several_documents_and_the_built_in_text(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i:02d}.txt").write_text(f"document number {i}. {TEXT[: 200 + i]}")
    store = TokenStore(lm.tokenize(folder, tmp_path / "several"))
    training, held_out = split_documents(read_documents([folder]))
    vocabulary = Vocabulary.from_json(store.metadata["vocabulary"])
    assert store.metadata["training_documents"] == len(training)
    for index, document in enumerate([*training, *held_out]):
        np.testing.assert_array_equal(store.document(index), vocabulary.join([document.text]))
    assert len(TokenStore(lm.tokenize((), tmp_path / "built-in"))) > 300


def test_progress_is_told(text: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    lm.tokenize(text, tmp_path / "a", progress=lambda what, part: told.append((what, part)))
    assert list(dict(told)) == ["reading", "counting", "writing"]
    for stage in ("reading", "counting", "writing"):
        parts = [part for what, part in told if what == stage]
        assert parts == sorted(parts)
        assert (parts[0], parts[-1]) == (0.0, 1.0)


def test_a_run_goes_on_from_its_tokens(text: Path, tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    path = lm.tokenize(text, tmp_path / "a")
    run = tmp_path / "run.safetensors"
    lm.train(path, steps=10, output=run, **OPTIONS)
    lm.train(resume=run, steps=20, quiet=True)
    whole = StreamBatches(
        TokenStore(path).tokens, batch_size=3, steps=10, seed=0, fingerprint=TokenStore(path).crc32
    )
    assert whole.state()["fingerprint"] == TokenStore(path).crc32
    lm.tokenize(text, path, min_count=9999)
    with pytest.raises(ValueError, match="the data are not those"):
        lm.train(resume=run, steps=30, quiet=True)


def test_what_cannot_be_trained_on(text: Path, tmp_path: Path) -> None:
    path = lm.tokenize(text, tmp_path / "words", level="word")
    with pytest.raises(ValueError, match=r"words\.tokens was written with --level word"):
        lm.train(path, steps=1, **OPTIONS)
    with pytest.raises(ValueError, match=r"words\.tokens holds tokens, not text"):
        lm.train([path, text], steps=1, **OPTIONS)
    with pytest.raises(FileNotFoundError, match="no file"):
        lm.train(tmp_path / "missing.tokens", steps=1, **OPTIONS)
    other = tmp_path / "other.tokens"
    with write_tokens(other, size=9) as writer:
        writer.append(np.arange(9))
    with pytest.raises(TokenStoreError, match="holds no text for language models"):
        lm.train(other, steps=1, **OPTIONS)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems limit memory otherwise")
@pytest.mark.parametrize("level", ["char", "word"])
def test_a_text_larger_than_memory(tmp_path: Path, level: str) -> None:
    """80 MB of text become tokens, and are trained on, with 64 MB more than a start takes."""
    code = """
        import resource
        from unrolled.tasks import _corpus
        from unrolled.tasks import language_model as lm

        _corpus._HELD_OUT_CHARACTERS = 500_000  # a million of one file: more than once at a time
        path = PATH
        with open(path, "w") as file:
            for _ in range(80):
                file.write("the straightforwardnesses of incomprehensibilities " * 20_000)
        options = dict(hidden=12, embedding=5, batch=3, steps_per_update=10, quiet=True)
        used = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (used + (64 << 20),) * 2)
        tokens = lm.tokenize(path, path + ".tokens", level=LEVEL)
        model = lm.train(tokens, level=LEVEL, steps=3, **options)
        print(len(model.vocabulary))
        try:
            open(path).read()
        except MemoryError:
            print("it does not fit")
    """
    code = code.replace("PATH", repr(str(tmp_path / "large.txt"))).replace("LEVEL", repr(level))
    done = run_python(code, timeout=600, UNROLLED_NUM_THREADS="1")
    kinds = 2 + (
        len(set("the straightforwardnesses of incomprehensibilities")) if level == "char" else 4
    )
    assert (done.returncode, done.stdout) == (0, f"{kinds}\nit does not fit\n"), done.stderr
