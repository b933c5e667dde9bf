"""Pronouncing dictionaries turn transcripts into phonemes, and come with the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from sounds import WORDS
from unrolled.tasks import phonemes
from unrolled.tasks._dictionary import Dictionary
from unrolled.tasks._utterances import Segment, Utterance
from utterances import SMALL, write_utterances

TEXT = """;;; a comment
A  AH0
A(1)  EY1
READ  R EH1 D
READ(2)  R IY1 D
read  R IY D
don't D OW1 N T # as of CMUdict on GitHub

#HASH-MARK HH AE1 SH
"""


def test_the_format_of_cmudict() -> None:
    dictionary = Dictionary.parse(TEXT)
    assert dictionary.entries == {
        "a": (("AH",), ("EY",)),
        "read": (("R", "EH", "D"), ("R", "IY", "D")),
        "don't": (("D", "OW", "N", "T"),),
        "#hash-mark": (("HH", "AE", "SH"),),
    }
    assert Dictionary.parse("a AH\t# a remark\n ;;; b").entries == {"a": (("AH",),)}
    assert Dictionary.parse(dictionary.text) == dictionary
    assert {"AH", "EY", "OW"} <= dictionary.phonemes


def test_old_and_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "a.dict"
    path.write_bytes("DÉJÀ D EY\n".encode("latin-1"))
    assert Dictionary.read(path).entries == {"déjà": (("D", "EY"),)}
    path.write_bytes("\ufeffa AH\n".encode())
    assert Dictionary.read(path).entries == {"a": (("AH",),)}
    path.write_text("a AH\nword\n")
    with pytest.raises(ValueError, match=r"a\.dict is no .* line 2: expected a word and its phon"):
        Dictionary.read(path)
    path.write_text("\n;;; nothing\n")
    with pytest.raises(ValueError, match="there are no words"):
        Dictionary.read(path)
    with pytest.raises(FileNotFoundError, match="no dictionary"):
        Dictionary.read(tmp_path / "b.dict")


def test_transcripts_become_phonemes() -> None:
    dictionary = Dictionary.parse(TEXT)
    said = [
        Utterance(Path("1"), ("“Don’t", "read", "-", "A,", "A!”")),
        Utterance(Path("2"), ("a", "book"), (Segment("a", 0, 1), Segment("book", 1, 2))),
    ]
    found, note = dictionary.pronounced(said)
    assert found == [
        Utterance(
            Path("1"),
            ("D", "OW", "N", "T", "R", "EH", "D", "AH", "AH"),
            words=("don't", "read", "a", "a"),
            alternatives=tuple(dictionary.entries[word] for word in ("don't", "read", "a", "a")),
        )
    ]
    assert note == "1 utterances left out, 1 of their words are not in the dictionary: book"
    with pytest.raises(ValueError, match=r"no utterance is left to use: 1 .* dictionary: book"):
        dictionary.pronounced(said[1:])


def test_phonemes_stay_as_they_are() -> None:
    dictionary = Dictionary.parse(TEXT)
    said = Utterance(Path("1"), ("AH0", "D"), (Segment("AH0", 0, 1), Segment("D", 1, 2)))
    (found,), note = dictionary.pronounced([said])
    assert found.symbols == ("AH", "D")
    assert found.segments == (Segment("AH", 0, 1), Segment("D", 1, 2))
    assert note == ""


def test_a_model_keeps_its_dictionary(tmp_path: Path) -> None:
    pytest.importorskip("soundfile", reason='pip install "unrolled[speech]"')
    folder = write_utterances(tmp_path / "data", 12)
    path = tmp_path / "tones.dict"
    path.write_text("\n".join(f"{word} {' '.join(word.upper())}" for word in WORDS))
    model = tmp_path / "model.safetensors"
    phonemes.train(folder, output=model, steps=2, dictionary=str(path), **SMALL)
    hear = phonemes.load(model)
    assert hear.symbols == tuple(sorted(set("".join(WORDS).upper())))
    assert hear.dictionary == Dictionary.read(path)
    phonemes.save(hear, tmp_path / "again.safetensors")
    assert phonemes.load(tmp_path / "again.safetensors").dictionary == hear.dictionary
    path.write_text("other OW\n")
    with pytest.raises(ValueError, match="no utterance is left to use"):
        phonemes.train(folder, steps=2, dictionary=str(path), **SMALL)
