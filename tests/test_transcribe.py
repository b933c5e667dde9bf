"""`unrolled transcribe` writes words with their phonemes, and says what is wrong with a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sounds import RATE
from unrolled import tasks
from unrolled.cli import main
from unrolled.models import LanguageModel
from unrolled.tasks import language_model as lm
from unrolled.tasks import phonemes
from unrolled.tasks._text import Level, Vocabulary
from unrolled.tasks._utterances import find_utterances
from utterances import train_words, utter, write_utterances

soundfile = pytest.importorskip("soundfile", reason='pip install "unrolled[speech]"')

#: Words whose phonemes are tones; "bell" and "chime" sound alike.
WORDS = "bell low\nchime low\nhorn high\nsiren rise high\nwhistle rise\n"

Run = Callable[..., str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("words")
    return train_words(write_utterances(base / "data", 60), WORDS, base / "model.safetensors")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["transcribe", *map(str, arguments)])
        captured = capsys.readouterr()
        assert ended.value.code == code, captured.err
        return captured.err if code else captured.out

    return command


def say(path: Path, *tones: str) -> Path:
    """Writes a sound of these tones in a row."""
    seed = 0
    while True:
        samples, said = utter(np.random.default_rng(seed), len(tones))
        if tuple(s.symbol for s in said) == tones:
            soundfile.write(path, samples, RATE)
            return path
        seed += 1


def write_text_model(path: Path, likely: str, level: Level = "word", said: str = WORDS) -> Path:
    """A language model that always expects one word."""
    vocabulary = Vocabulary.build([said], level)
    model = LanguageModel(len(vocabulary), hidden_size=4, embedding_size=2, init="zeros")
    if likely in vocabulary.symbols:
        model.parameters["head.bias"][vocabulary.symbols.index(likely)] = 9.0
    lm.save(lm.TextModel(model, vocabulary, lm.Options(level=level)), path)
    return path


def test_words_with_their_phonemes(trained: Path, run: Run, tmp_path: Path) -> None:
    sound = say(tmp_path / "a.wav", "high", "rise", "low")
    lines = run(trained, sound).splitlines()
    assert [line.split()[-1] for line in lines] == ["horn", "whistle", "bell"]
    assert [line.split()[-1] for line in run(trained, sound, "--phonemes").splitlines()] == [
        "high",
        "rise",
        "low",
    ]
    rows = json.loads(run(trained, sound, "--words", "--json"))
    said = phonemes.load(trained)(sound)
    for row, symbol in zip(rows, said, strict=True):
        (part,) = row["phonemes"]
        assert part["symbol"] == symbol.symbol
        for value in (row, part):
            assert value["start"] == pytest.approx(symbol.start, abs=1e-3)
            assert value["end"] == pytest.approx(symbol.end, abs=1e-3)
            assert 0.0 < value["probability"] <= 1.0
    (tmp_path / "a.TextGrid").write_text(run(trained, sound, "--textgrid"))
    grid = (tmp_path / "a.TextGrid").read_text()
    assert [line.strip() for line in grid.splitlines() if "name =" in line] == [
        'name = "words"',
        'name = "phonemes"',
    ]
    (again,) = find_utterances([tmp_path])
    assert again.symbols == ("horn", "whistle", "bell")


def test_a_word_of_several_phonemes(trained: Path, run: Run, tmp_path: Path) -> None:
    """One word of two phonemes is more probable than two words."""
    sound = say(tmp_path / "a.wav", "low", "rise", "high")
    bell, siren = json.loads(run(trained, sound, "--json"))
    assert (bell["symbol"], siren["symbol"]) == ("bell", "siren")
    rise, high = siren["phonemes"]
    assert (siren["start"], siren["end"]) == (rise["start"], high["end"])
    mean = (rise["probability"] + high["probability"]) / 2
    assert siren["probability"] == pytest.approx(mean, abs=1e-4)


def test_a_language_model_takes_part(trained: Path, run: Run, tmp_path: Path) -> None:
    sound = say(tmp_path / "a.wav", "low", "high")
    for likely in ("bell", "chime"):
        text = write_text_model(tmp_path / f"{likely}.safetensors", likely)
        words = [line.split()[-1] for line in run(trained, sound, "--lm", text).splitlines()]
        assert words == [likely, "horn"]
    characters = write_text_model(tmp_path / "char.safetensors", "", "char")
    error = run(trained, sound, "--lm", characters, code=1)
    assert "this one is of characters" in error
    assert "--phonemes leaves out" in run(trained, sound, "--phonemes", "--lm", text, code=1)


def test_another_dictionary(trained: Path, run: Run, tmp_path: Path) -> None:
    sound = say(tmp_path / "a.wav", "low", "high")
    (tmp_path / "other.dict").write_text("cuckoo low high\n")
    assert run(trained, sound, "--dictionary", tmp_path / "other.dict").split()[-1] == "cuckoo"
    (tmp_path / "other.dict").write_text("cuckoo K UW\n")
    error = run(trained, sound, "--dictionary", tmp_path / "other.dict", code=1)
    assert "no word of the dictionary is made of the model's symbols: high low rise" in error
    recogniser = phonemes.load(trained)
    plain: dict[str, Any] = {**vars(recogniser), "dictionary": None}
    phonemes.save(phonemes.Recogniser(**plain), tmp_path / "plain.safetensors")
    assert run(tmp_path / "plain.safetensors", sound).splitlines()[0].split()[-1] == "low"
    error = run(tmp_path / "plain.safetensors", sound, "--words", code=1)
    assert "knows no words" in error


def test_evaluation_counts_words(trained: Path, tmp_path: Path) -> None:
    say(tmp_path / "1.wav", "low", "high")
    say(tmp_path / "2.wav", "rise", "high")
    (tmp_path / "1.txt").write_text("Bell, horn!")
    (tmp_path / "2.txt").write_text("whistle gong siren")
    (tmp_path / "3.wav").write_bytes((tmp_path / "2.wav").read_bytes())
    (tmp_path / "3.txt").write_text("whistle horn")
    task, loaded = tasks.load(trained, phonemes.Phonemes)
    lines = list(task.evaluate(loaded, [tmp_path], False, "full"))
    assert lines == [
        "1 utterances left out, 1 of their words are not in the dictionary: gong",
        "errors     0.00% of the symbols of 2 utterances",
        "words      50.00% wrong, without a language model",  # "siren" for "whistle horn"
    ]


def test_evaluation_with_a_language_model(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The errors of words with and without it; of a model of words, those of its symbols."""

    def evaluate(model: Path, *arguments: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", "phonemes", str(model), *map(str, arguments)])
        captured = capsys.readouterr()
        assert ended.value.code == code, captured.err
        return captured.err if code else captured.out

    folder = tmp_path / "data"
    folder.mkdir()
    say(folder / "1.wav", "low", "high")
    (folder / "1.txt").write_text("chime horn")
    chime = write_text_model(tmp_path / "chime.safetensors", "chime")
    assert evaluate(trained, folder, "--lm", chime, "--lm-weight", 2, "--tokens").splitlines() == [
        "said   low high",
        "heard  low high",
        "words  bell horn, without a language model",
        "words  chime horn, with a language model of weight 2",
        "errors     0.00% of the symbols of 1 utterances",
        "words      50.00% wrong, without a language model",
        "words      0.00% wrong, with a language model of weight 2",
    ]
    (tmp_path / "other.dict").write_text("chime low high\nhorn rise\n")
    lines = evaluate(trained, folder, "--dictionary", tmp_path / "other.dict").splitlines()
    assert lines == [
        "errors     33.33% of the symbols of 1 utterances",  # low high rise
        "words      50.00% wrong, without a language model",
    ]
    plain = tmp_path / "plain.safetensors"
    recogniser: dict[str, Any] = {**vars(phonemes.load(trained)), "dictionary": None}
    phonemes.save(phonemes.Recogniser(**recogniser), plain)
    (folder / "1.txt").write_text("low high")
    rise = write_text_model(tmp_path / "rise.safetensors", "rise", said="low high rise")
    assert evaluate(plain, folder, "--lm", rise, "--lm-weight", 50).splitlines() == [
        "errors     0.00% of the symbols of 1 utterances",
        # It costs less to say nothing than to say what the language model does not expect.
        "errors     100.00% of the symbols, with a language model of weight 50",
    ]
    error = evaluate(trained, folder, "--lm-weight", 2, code=1)
    assert "--lm-weight is about the language model of --lm" in error
    assert "no file" in evaluate(trained, folder, "--lm", tmp_path / "none.safetensors", code=1)


@pytest.mark.parametrize("words", [(), ("--phonemes",)])
def test_bad_sounds(trained: Path, run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    whole = say(tmp_path / "a.flac", "low", "high")
    cases = {
        "empty.wav": (b"", "empty.wav is no audio"),
        "text.wav": (b"these are words" * 99, "text.wav is no audio"),
        "cut.flac": (whole.read_bytes()[:60], "cut.flac is no audio"),
    }
    for name, (data, text) in cases.items():
        (tmp_path / name).write_bytes(data)
        assert text in run(trained, tmp_path / name, *words, code=1)
    soundfile.write(tmp_path / "nan.wav", np.full(9000, np.nan), RATE, subtype="FLOAT")
    assert "NaN or infinite" in run(trained, tmp_path / "nan.wav", *words, code=1)
    assert "no file" in run(trained, tmp_path / "nowhere.wav", *words, code=1)
    for count in (0, 1, 500):
        soundfile.write(tmp_path / "short.wav", np.zeros(count), RATE)
        assert run(trained, tmp_path / "short.wav", *words) == ""
