"""The task "translation" learns from pairs of texts, and writes what it has learnt."""

from __future__ import annotations

import gzip
import importlib.resources
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import tasks
from unrolled.tasks import translation
from unrolled.tasks._parallel import Pair, clean, read_dictionary, read_pairs
from unrolled.tasks._segmenters import segmenter_from_json, train_segmenter
from unrolled.tasks._translation_demo import english, german, make_pairs
from unrolled.tasks._translation_scores import corpus_scores, error_scores

pytest.importorskip("safetensors", reason='pip install "unrolled[train]"')

WORDS = {"one": "eins", "two": "zwei", "red": "rot", "blue": "blau", "dog": "Hund", "cat": "Katze"}
SMALL: dict[str, Any] = {
    "tokens": "word",
    "min_count": 1,
    "hidden": 32,
    "embedding": 16,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "lr": 1e-2,
    "batch": 16,
    "validations": 2,
    "quiet": True,
}


def make_lines(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Words, and their translations in the opposite order."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        chosen = rng.choice(sorted(WORDS), int(rng.integers(1, 5)))
        result.append((" ".join(chosen), " ".join(WORDS[word] for word in chosen[::-1])))
    return result


def write_lines(folder: Path, count: int, seed: int = 0) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    paths = folder / "a.en", folder / "a.de.gz"
    lines = make_lines(count, seed)
    paths[0].write_text("".join(f"{a}\n" for a, _ in lines))
    paths[1].write_bytes(gzip.compress("".join(f"{b}\n" for _, b in lines).encode()))
    return paths


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    base = tmp_path_factory.mktemp("translation")
    source, target = write_lines(base, 500)
    path = base / "model.safetensors"
    options = {"source": str(source), "target": str(target), "steps": 300, "output": path}
    return path, translation.train(**options, **SMALL)


def test_what_was_learnt_is_written(trained: tuple[Path, Any]) -> None:
    path, translate = trained
    lines = make_lines(50, seed=9)
    written = [found[0].text for found in translate.translate([a for a, _ in lines])]
    assert np.mean([a == b for a, (_, b) in zip(written, lines, strict=True)]) >= 0.9
    for width in (1, 5):
        alone = [translate(a, width=width) for a, _ in lines[:8]]
        together = [f[0].text for f in translate.translate([a for a, _ in lines], width=width)]
        assert alone == together[:8]
    nbest = translate.translate(["one dog"], width=4)[0]
    assert [each.score for each in nbest] == sorted((e.score for e in nbest), reverse=True)
    assert len({each.text for each in nbest}) == 4
    loaded = translation.load(path)
    assert [loaded(a) for a, _ in lines[:5]] == written[:5]


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{a}\t{b}\n" for a, b in make_lines(60)))
    paths = [tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"]
    options = SMALL | {"schedule": "constant", "pairs": str(pairs), "dropout": 0.2, "layers": 2}
    whole = translation.train(output=paths[0], steps=7, **options)
    translation.train(output=paths[1], steps=3, **options)
    parts = translation.train(resume=paths[1], steps=7, quiet=True)
    np.testing.assert_array_equal(parts.model.flat.values, whole.model.flat.values)
    translation.save(parts, tmp_path / "again.safetensors")
    again = translation.load(tmp_path / "again.safetensors")
    assert again.translate(["one", "two"]) == parts.translate(["one", "two"])


def test_scores(trained: tuple[Path, Any], tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu", reason='pip install "unrolled[translation]"')
    path, _ = trained
    task, translate = tasks.load(path, translation.TranslationTask)
    files = write_lines(tmp_path, 40, seed=5)
    lines = list(task.evaluate(translate, files, True, "full"))
    assert sum(line.startswith("written") for line in lines) == 40
    (bleu,) = (line for line in lines if line.startswith("BLEU") and "cased" in line)
    assert float(bleu.split()[1]) > 80.0
    assert "version:" in bleu
    assert "case:mixed" in bleu
    assert any("case:lc" in line for line in lines)
    assert any(line.startswith("chrF") for line in lines)
    assert "perplexity per token, 40 pairs" in lines[-1]
    own = list(task.evaluate(translate, [], False, "int8", greedy=True))
    assert "perplexity per token, 25 pairs, in int8" in own[-1]
    assert list(task.evaluate(translate, files, True, "full")) == lines


def test_scores_are_those_of_their_definition() -> None:
    pytest.importorskip("sacrebleu", reason='pip install "unrolled[translation]"')
    same = ["The cat sat on the mat ."]
    for line in corpus_scores(same, same):
        assert float(line.split()[1]) == pytest.approx(100.0)
    cased, lower, *_ = corpus_scores(["the cat sat on the mat ."], same)
    assert float(cased.split()[1]) < float(lower.split()[1]) == pytest.approx(100.0)
    pairs = [Pair("a", ("x y", "x z")), Pair("b", ("u v",))]
    assert list(error_scores(["x z", "u"], pairs)) == [
        "words      50.00% wrong of 2",
        "phonemes   25.00% wrong",
    ]


def test_odd_texts(trained: tuple[Path, Any]) -> None:
    translate = trained[1]
    assert [[t.text for t in found] for found in translate.translate(["", "  \t", "\x00"])] == [
        [""],
        [""],
        [""],
    ]
    assert translate.translate([]) == []
    assert translate("one\x07two") == translate("one two")
    assert isinstance(translate("Ça ne va pas, 日本語 🙂!"), str)
    long = translate(" ".join(["one dog"] * 5000))
    assert long.count("Hund") > 1000
    sampled = translate.sample(["one dog", ""], seed=1)
    assert sampled == translate.sample(["one dog", ""], seed=1)
    assert sampled[1].text == ""
    assert translate.sample(["one dog"], temperature=0.0)[0].text == translate("one dog", width=1)


def test_what_was_read(trained: tuple[Path, Any], tmp_path: Path) -> None:
    translate = trained[1]
    sources, targets, weights = translate.attention("red dog", "Hund rot")
    assert (sources, targets) == (["red", "dog"], ["Hund", "rot", "<end>"])
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-5)
    with pytest.raises(ValueError, match="is translated in parts: show a shorter one"):
        translate.attention("one " * 100, "eins")
    with pytest.raises(ValueError, match="there is no text to read"):
        translate.attention(" ", "eins")


@pytest.mark.parametrize("kind", ["bpe", "unigram", "word", "char", "symbol"])
def test_segmenters_put_text_together_again(kind: Any) -> None:
    if kind in ("bpe", "unigram"):
        pytest.importorskip("sentencepiece", reason='pip install "unrolled[translation]"')
    texts = ["Ein Hund, zwei Katzen.", "Der Hund läuft weg!", "Katzen laufen."]
    segmenter = train_segmenter(texts, kind, size=60)
    again = segmenter_from_json(segmenter.to_json())
    for text in texts:
        tokens = segmenter.encode(text)
        assert min(tokens) > 1  # neither the end nor unknown
        assert max(tokens) < len(segmenter) == len(again)
        assert segmenter.decode(tokens) == again.decode(again.encode(text)) == text
        assert len(segmenter.pieces(tokens)) == len(tokens)
    assert segmenter.encode("") == []
    assert 1 in segmenter.encode("日")
    with pytest.raises(ValueError, match="expected tokens of bpe, unigram"):
        train_segmenter(texts, "syllable", size=60)  # type: ignore[arg-type]


def test_texts_are_cleaned() -> None:
    assert clean("  e\u0301te\u0301 \x00 A\tb\u2028 ") == "\u00e9t\u00e9 A b"


def test_pairs_of_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("\ufeffx\x0by\r\nz\n".encode())
    (tmp_path / "b").write_text("1\n\n")
    (tmp_path / "c.tsv").write_text("x\ty\tmore\n")
    assert read_pairs([tmp_path / "a", tmp_path / "b"]) == [Pair("x y", ("1",)), Pair("z", ("",))]
    assert read_pairs([tmp_path / "c.tsv"]) == [Pair("x", ("y",))]
    (tmp_path / "d").write_text(";;; comment\nread R EH1 D\nread(2) R IY1 D # now\n\nA AH0\n")
    assert read_dictionary(tmp_path / "d") == [
        Pair("read", ("R EH1 D", "R IY1 D")),
        Pair("A", ("AH0",)),
    ]


def test_bad_sources(tmp_path: Path) -> None:
    for name, content in {"a": b"x\ny\n", "b": b"x\n", "latin": b"\xe9\n", "z.gz": b"x"}.items():
        (tmp_path / name).write_bytes(content)

    def fail(error: type[Exception], text: str, *names: str, **options: Any) -> None:
        with pytest.raises(error, match=text):
            translation.train([tmp_path / n for n in names], steps=1, quiet=True, **options)

    fail(ValueError, r"give two files of parallel lines .* or --demo")
    fail(ValueError, "a has 2 lines and .*b 1: line n of one must be", "a", "b")
    fail(ValueError, "line 1: expected a source and a target with a tab", "a")
    fail(ValueError, "expected two files of parallel lines or one with tabs", "a", "a", "a")
    fail(FileNotFoundError, "there is no file .*nowhere", "nowhere", "a")
    fail(ValueError, "latin is no text in UTF-8", "latin", "b")
    fail(ValueError, r"z\.gz is no text in UTF-8, plain or \.gz", "z.gz", "b")
    fail(ValueError, "give both of --source and --target", source="a")
    fail(ValueError, "name the pairs in one way", "a", "a", pairs="a")
    fail(ValueError, "--demo makes its own pairs", "a", "a", demo=True)
    fail(ValueError, r"line 1: expected a word and its phonemes", "a", data="dictionary")
    fail(ValueError, "too few", "b", "b")
    fail(
        ValueError, "all pairs are longer than", "a", "a", max_length=1, tokens="char", min_count=1
    )
    fail(ValueError, "--joint takes one kind", "a", "a", joint=True, target_tokens="char")


def test_joint_tokens_and_input_feeding(tmp_path: Path) -> None:
    files = write_lines(tmp_path, 60)
    options = SMALL | {"joint": True, "input_feeding": True, "layers": 2, "dropout": 0.1}
    translate = translation.train(files, steps=4, **options)
    assert translate.source.to_json() == translate.target.to_json()
    assert translate.model.decoder.input_feeding
    task = translation.TranslationTask(translate.options, files)
    with translate.model.in_precision("int8"):
        task.source, task.target = translate.source, translate.target
        encoded = task._encoded([Pair("one dog", ("Hund eins",))])
        assert np.isfinite(task._loss(translate.model, encoded))
    assert isinstance(translate("one dog"), str)


def test_numbers_and_dates_in_words() -> None:
    assert english(342_117) == "three hundred and forty-two thousand one hundred and seventeen"
    assert german(342_117) == "dreihundertzweiundvierzigtausendeinhundertsiebzehn"
    assert (english(0), german(21), german(1001)) == ("zero", "einundzwanzig", "eintausendeins")
    pairs = make_pairs(2000)
    assert len({pair.source for pair in pairs}) == 2000
    assert pairs == make_pairs(2000)
    assert any(" der dritte " in f" {p.target} " for p in pairs if "the third of" in p.source)


def test_pronunciations(tmp_path: Path) -> None:
    phonemes = ["AA", "B", "D", "EH", "G", "IH", "N", "OW", "R", "S", "T"]
    letters = dict(zip("abdeginorst", phonemes, strict=True))
    rng = np.random.default_rng(0)
    words = {"".join(rng.choice(list(letters), rng.integers(2, 6))) for _ in range(400)}
    lines = [f"{word} {' '.join(letters[c] for c in word)}" for word in sorted(words)]
    path = tmp_path / "words.dict"
    path.write_text("\n".join([*lines, f"{min(words)}(2) AA AA"]) + "\n")
    small = {key: value for key, value in SMALL.items() if key not in ("tokens", "min_count")}
    say = translation.train(
        path,
        preset="g2p",
        steps=250,
        output=tmp_path / "g2p",
        **(small | {"layers": 1, "averaging": "none"}),
    )
    assert say("BAD") == say("bad") == "B AA D"
    task, _ = tasks.load(tmp_path / "g2p.safetensors", translation.TranslationTask)
    lines = list(task.evaluate(say, [path], False, "full"))
    assert lines[0].startswith("words")
    assert float(lines[0].split()[1].rstrip("%")) < 20.0
    assert lines[1].startswith("phonemes")


def test_the_dictionary_of_pocketsphinx() -> None:
    pytest.importorskip("pocketsphinx", reason="pip install pocketsphinx")
    folder = importlib.resources.files("pocketsphinx") / "model" / "en-us"
    pairs = read_dictionary(Path(str(folder / "cmudict-en-us.dict")))
    assert len(pairs) > 100_000
    said = {pair.source: pair.targets for pair in pairs}
    assert {"R EH D", "R IY D"} <= set(said["read"])


@pytest.mark.skipif("UNROLLED_DATA" not in os.environ, reason="UNROLLED_DATA names no folder")
def test_multi30k_is_read() -> None:
    folder = Path(os.environ["UNROLLED_DATA"], "text", "multi30k")
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    pairs = read_pairs([folder / "train.de.gz", folder / "train.en.gz"])
    assert len(pairs) == 29_000
    assert all(pair.source and pair.target for pair in pairs)


def test_the_demo_brings_its_preset() -> None:
    options: Any = tasks.make_options(translation.TranslationTask, {"demo": True, "hidden": 64})
    assert (options.tokens, options.target_tokens, options.hidden) == ("word", "bpe", 64)
    assert options.budget().minutes == 1.5
    plain: Any = tasks.make_options(translation.TranslationTask, {"demo": False})
    assert plain.tokens == "bpe"


@pytest.mark.slow
def test_the_demo_learns(tmp_path: Path) -> None:
    """Numbers and dates in words: at least 99% of unseen ones come out exactly."""
    pytest.importorskip("sentencepiece", reason='pip install "unrolled[translation]"')
    path = tmp_path / "demo.safetensors"
    translate = translation.train(demo=True, steps=900, output=path, quiet=True)
    seen = {pair.source for pair in make_pairs(20_000)}
    fresh = [pair for pair in make_pairs(21_000) if pair.source not in seen]
    written = translate.translate([pair.source for pair in fresh], width=1)
    exact = [a[0].text == b.target for a, b in zip(written, fresh, strict=True)]
    assert np.mean(exact) >= 0.99
    assert (tmp_path / "demo-attention.png").read_bytes().startswith(b"\x89PNG")
    assert "Attention" in (tmp_path / "demo.html").read_text()
