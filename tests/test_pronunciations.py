"""Of words with several pronunciations those that are heard are aligned, learnt and told."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tolerances import assert_same_bits
from unrolled import functional
from unrolled.cli import main
from unrolled.tasks import phonemes
from unrolled.tasks._edit_distance import error_rate
from unrolled.tasks._pronounced import best_pronunciations
from unrolled.tasks._utterances import find_utterances
from utterances import SMALL, train_words, utter

V = 5

Words = list[list[list[int]]]


def draw(rng: np.random.Generator, words: int, blank: int = 0) -> Words:
    """Words of one to three pronunciations of one to three labels."""
    others = np.delete(np.arange(V), blank)
    return [
        [rng.choice(others, rng.integers(1, 4)).tolist() for _ in range(rng.integers(1, 4))]
        for _ in range(words)
    ]


def choices(words: Words) -> Any:
    """Every choice of a pronunciation for each word, with the labels that it gives."""
    for chosen in itertools.product(*(range(len(word)) for word in words)):
        yield chosen, [s for word, way in zip(words, chosen, strict=True) for s in word[way]]


def aligned(logits: np.ndarray, labels: list[int], blank: int) -> tuple[np.ndarray, float]:
    spelled = np.array(labels, np.int64)[None]
    path, scores = functional.ctc_align(logits[:, None], spelled, blank=blank)
    return path[:, 0], float(scores[0])


@pytest.mark.parametrize("blank", [0, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("frames", [0, 1, 3, 6, 12])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_of_all_choices(
    dtype: Any, frames: int, count: int, blank: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    words = draw(rng, count, blank)
    logits = rng.normal(0.0, 2.0, (frames, V)).astype(dtype)
    chosen, path, score = functional.ctc_align_words(logits, words, blank=blank)
    scores = [aligned(logits, labels, blank)[1] for _, labels in choices(words)]
    assert score == max(scores)
    if score == -np.inf:
        assert (chosen == 0).all()
        assert (path == -1).all()
        return
    labels = [s for word, way in zip(words, chosen, strict=True) for s in word[way]]
    expected, own = aligned(logits, labels, blank)
    assert own == score
    assert_same_bits(path, expected)


def test_ways_that_begin_and_end_alike() -> None:
    """Between equal labels stands a blank, whichever pronunciations they belong to."""
    logits = np.full((3, V), -9.0)
    logits[[0, 1, 2], [1, 2, 2]] = 0.0
    words = [[[1, 2], [2, 1], [1]], [[2], [1, 1]]]
    chosen, path, _ = functional.ctc_align_words(logits, words)
    assert chosen.tolist() == [2, 0]
    assert path.tolist() == [0, 1, 1]
    logits = np.insert(logits, 2, np.eye(V)[0] * 20 - 9, axis=0)
    chosen, path, _ = functional.ctc_align_words(logits, words)
    assert chosen.tolist() == [0, 0]
    assert path.tolist() == [0, 1, -1, 2]


def test_rows_of_a_batch_need_no_copy(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    logits, words = rng.normal(0.0, 2.0, (20, 3, V)).astype(dtype), draw(rng, 4)
    of_row = functional.ctc_align_words(logits[:, 1], words)
    alone = functional.ctc_align_words(np.ascontiguousarray(logits[:, 1]), words)
    assert_same_bits(of_row[1], alone[1])
    assert of_row[2] == alone[2]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([[]], r"1 \.\. 254 pronunciations of each word, .* got 0 of word 0"),
        ([[[1]], [[2]] * 255], r"1 \.\. 254 pronunciations of each word, .* got 255 of word 1"),
        ([[[1], []]], r"one label or more, .* got 0 of pronunciation 1 of word 0"),
        ([[[1, 0]]], r"other than the blank 0, got 0 at position 1"),
        ([[[1, V]]], r"labels in 0 \.\. 4 other than the blank 0, got 5 at position 1"),
    ],
)
def test_wrong_words(words: Words, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        functional.ctc_align_words(np.zeros((3, V)), words)


def test_wrong_types() -> None:
    fractions: Any = [[[1.5]]]
    with pytest.raises(TypeError, match="labels of an integer dtype"):
        functional.ctc_align_words(np.zeros((3, V)), fractions)
    with pytest.raises(TypeError, match="logits of dtype float32 or float64"):
        functional.ctc_align_words(np.zeros((3, V), np.float16), [[[1]]])
    with pytest.raises(ValueError, match=r"logits of shape \(T, V\)"):
        functional.ctc_align_words(np.zeros((3, 1, V)), [[[1]]])


def test_symbols_that_a_model_does_not_know() -> None:
    label = {"x": 1, "y": 2}
    logits = np.full((4, 3), -9.0)
    logits[np.arange(4), [2, 0, 1, 2]] = 0.0  # y x y
    words = [
        (("x",), ("y",)),
        (("?", "x"), ("x",)),  # the first has a symbol that nothing says
        (("?", "y"), ("y", "?")),  # all have: the usual one
        (("?",), ("?", "?")),  # nothing of it can be heard
    ]
    assert best_pronunciations(logits, words, label) == [("y",), ("x",), ("?", "y"), ("?",)]
    assert best_pronunciations(logits[:1], words, label)[0] == ("x",)  # too short for all


#: "both" is always said the second way; "either" both ways.
DICTIONARY = "lo L\nhi H\nup R\nboth L R\nboth(2) R L\neither H L\neither(2) L H\n"
TONES = {"low": "L", "high": "H", "rise": "R"}
WORDS = {("L",): "lo", ("H",): "hi", ("R",): "up"}
PAIRS = {("R", "L"): "both", ("H", "L"): "either", ("L", "H"): "either"}


def write_words(folder: Path, count: int, seed: int = 0) -> tuple[Path, list[list[str]]]:
    """Recordings with transcripts of words; returns which phonemes are said in them, too."""
    soundfile = pytest.importorskip("soundfile", reason='pip install "unrolled[speech]"')
    rng, truth = np.random.default_rng(seed), []
    folder.mkdir()
    for number in range(count):
        samples, said = utter(rng, int(rng.integers(2, 6)))
        symbols = [TONES[segment.symbol] for segment in said]
        words, rest = [], symbols
        while rest:
            pair = PAIRS.get(tuple(rest[:2]))
            words.append(pair or WORDS[tuple(rest[:1])])
            rest = rest[2 if pair else 1 :]
        soundfile.write(folder / f"{number:02d}.wav", samples, 16_000)
        (folder / f"{number:02d}.txt").write_text(" ".join(words))
        truth.append(symbols)
    return folder, truth


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("pronunciations")
    folder, _ = write_words(base / "data", 60)
    return train_words(folder, DICTIONARY, base / "model.safetensors")


Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: object, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
        captured = capsys.readouterr()
        assert ended.value.code == code, captured.err
        return captured.out, captured.err

    return command


def test_training_learns_what_is_said(trained: Path, run: Run, tmp_path: Path) -> None:
    """Though the usual pronunciation of a word is never the right one."""
    folder, truth = write_words(tmp_path / "new", 20, seed=7)
    hear = phonemes.load(trained)
    heard = [[s.symbol for s in hear(path)] for path in sorted(folder.glob("*.wav"))]
    assert error_rate(truth, heard) <= 0.03
    out, _ = run("evaluate", "phonemes", trained, folder)
    line = out.splitlines()[0]
    assert line.endswith("of 20 utterances, of words with several pronunciations the one that fits")
    # Said is what fits, so that no pronunciation that was chosen counts as an error.
    assert float(line.split()[1].rstrip("%")) <= 3.0


def test_words_and_phonemes_are_aligned(trained: Path, tmp_path: Path) -> None:
    folder, truth = write_words(tmp_path / "new", 20, seed=8)
    hear, found = phonemes.load(trained), []
    for path in sorted(folder.glob("*.wav")):
        words = path.with_suffix(".txt").read_text().split()
        segments = hear.align(path, words, dictionary=hear.dictionary)
        assert [segment.symbol for segment in segments] == words
        parts = [part for segment in segments for part in segment.parts]
        found.append([part.symbol for part in parts])
        assert hear.align(path, found[-1]) == parts
        heard = hear(path)
        if found[-1] == [segment.symbol for segment in heard]:
            assert parts == heard  # what is heard lies where it is said
    assert error_rate(truth, found) <= 0.03
    assert hear.align(path, []) == []
    for said, dictionary, text in (
        (["nobody"], hear.dictionary, "it is not known how 'nobody' is said"),
        (["Q"], None, "it is not known how 'Q' is said"),
        (["q"], phonemes.Dictionary.parse("q Q"), "the model does not know the symbol 'Q'"),
        (["lo"] * 999, hear.dictionary, r"a sound of \d+ steps is too short for 999 symbols"),
    ):
        with pytest.raises(ValueError, match=text):
            hear.align(path, said, dictionary=dictionary)


def test_the_command(trained: Path, run: Run, tmp_path: Path) -> None:
    """Its table and its TextGrids are transcripts with times, which can be trained on."""
    folder, truth = write_words(tmp_path / "new", 5, seed=9)
    (folder / "01.txt").write_text("lo " * 999)
    (folder / "02.txt").write_text("lo nobody")
    kept = [truth[row] for row in (0, 3, 4)]
    table = tmp_path / "phonemes.csv"
    out, err = run("align", trained, folder, "--output", table)
    assert out == ""
    lines = err.splitlines()
    assert "01.wav: a sound of" in lines[0]
    assert "1 of their words are not in the dictionary: nobody" in lines[1]
    assert lines[2] == "3 recordings aligned"
    found = find_utterances([table])
    assert error_rate(kept, [each.symbols for each in found]) <= 0.03
    assert all(each.segments for each in found)
    out, _ = run("align", trained, folder)
    assert out.splitlines() == table.read_text(encoding="utf-8").splitlines()
    words = [row["word"] for row in csv.DictReader(out.splitlines())]
    assert len(words) == sum(map(len, kept))
    assert set(words) <= {"lo", "hi", "up", "both", "either"}

    grids = tmp_path / "grids"
    run("align", trained, folder, "--output", grids)
    assert sorted(path.name for path in grids.iterdir()) == [
        f"{name}.TextGrid" for name in ("00", "03", "04")
    ]
    assert 'name = "phonemes"' in (grids / "00.TextGrid").read_text()
    said = [(folder / f"{name}.txt").read_text().split() for name in ("00", "03", "04")]
    for path in folder.glob("*.txt"):
        path.unlink()
    again = find_utterances([tmp_path])
    assert [list(each.symbols) for each in again] == said
    assert all(each.segments for each in again)
    twins = folder / "twins"
    twins.mkdir()
    (twins / "00.wav").write_bytes((folder / "00.wav").read_bytes())
    (folder / "00.txt").write_text("lo")
    _, err = run("align", trained, folder, "--output", grids, code=1)
    assert "sounds of one name in several folders" in err


def test_phonemes_are_aligned_too(trained: Path, run: Run, tmp_path: Path) -> None:
    folder, truth = write_words(tmp_path / "new", 3, seed=10)
    for number, symbols in enumerate(truth):
        (folder / f"{number:02d}.txt").write_text(" ".join(symbols))
    out, _ = run("align", trained, folder)
    rows = list(csv.DictReader(out.splitlines()))
    assert [row["symbol"] for row in rows] == [s for symbols in truth for s in symbols]
    assert {row["word"] for row in rows} == {""}


def test_a_run_with_choices_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder, _ = write_words(tmp_path / "data", 12)
    (tmp_path / "tones.dict").write_text(DICTIONARY)
    options: dict[str, Any] = {
        **SMALL,
        "dictionary": str(tmp_path / "tones.dict"),
        "chain": 2,
        "schedule": "constant",
    }
    paths = [tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"]
    whole = phonemes.train(folder, output=paths[0], steps=12, **options)
    phonemes.train(folder, output=paths[1], steps=8, **options)
    parts = phonemes.train(resume=paths[1], steps=12, quiet=True)
    np.testing.assert_array_equal(parts.model.flat.values, whole.model.flat.values)
