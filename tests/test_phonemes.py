"""The task "phonemes" learns what is said from sounds and symbols, and says it with times."""

from __future__ import annotations

import itertools
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sounds import RATE, WORDS
from unrolled import tasks
from unrolled.audio import FeatureSettings, speak
from unrolled.cli import main
from unrolled.tasks import phonemes
from unrolled.tasks._edit_distance import edit_distance, error_rate
from unrolled.tasks._segment_files import as_json, as_textgrid
from unrolled.tasks._speech_demo import say_sentences, write_sentence
from unrolled.tasks._utterances import Segment, Utterance, find_utterances
from utterances import SMALL, utter, write_utterances

soundfile = pytest.importorskip("soundfile", reason='pip install "unrolled[speech]"')


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    base = tmp_path_factory.mktemp("phonemes")
    folder = write_utterances(base / "data", 60)
    path = base / "model.safetensors"
    return path, phonemes.train(folder, output=path, epochs=30, lr=1e-2, augment=False, **SMALL)


def test_what_is_said_is_heard_where_it_is(trained: tuple[Path, Any], tmp_path: Path) -> None:
    path, hear = trained
    assert hear.symbols == tuple(sorted(WORDS))
    folder = write_utterances(tmp_path / "new", 20, seed=9)
    task, loaded = tasks.load(path, phonemes.Phonemes)
    lines = list(task.evaluate(loaded, [folder], True, "full"))
    rate = float(lines[-2].split()[1].rstrip("%"))
    assert rate <= 3.0
    assert float(lines[-1].split()[1]) <= 10.0  # ms
    rng, misses = np.random.default_rng(5), []
    for _ in range(10):
        samples, said = utter(rng, 4)
        heard = hear(samples)
        assert [s.symbol for s in heard] == [s.symbol for s in said]
        assert all(0.0 < s.probability <= 1.0 for s in heard)
        assert all(a.end <= b.start + 1e-9 for a, b in pairwise(heard))
        for a, b in zip(heard, said, strict=True):
            assert a.start < b.end  # they overlap
            assert b.start < a.end
            misses.append(abs((a.start + a.end) / 2 - (b.start + b.end) / 2))
    assert np.median(misses) < 0.02


def test_checkpoints(trained: tuple[Path, Any], tmp_path: Path) -> None:
    path, hear = trained
    phonemes.save(hear, tmp_path / "again.safetensors")
    samples, _ = utter(np.random.default_rng(6), 3)
    soundfile.write(tmp_path / "a.flac", samples, RATE)
    for file in (path, tmp_path / "again.safetensors"):
        assert phonemes.load(file)(tmp_path / "a.flac") == hear(tmp_path / "a.flac")


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder = write_utterances(tmp_path / "data", 12)
    options: dict[str, Any] = {**SMALL, "chain": 3, "schedule": "constant"}
    paths = [tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"]
    whole = phonemes.train(folder, output=paths[0], steps=7, **options)
    phonemes.train(folder, output=paths[1], steps=3, **options)
    parts = phonemes.train(resume=paths[1], steps=7, quiet=True)
    np.testing.assert_array_equal(parts.model.flat.values, whole.model.flat.values)


def test_short_and_silent_sounds(trained: tuple[Path, Any]) -> None:
    for count in (0, 1, 400, 900, RATE):
        assert trained[1](np.zeros(count, np.float32)) == []


def test_utterances_too_short_for_their_symbols_do_not_spoil_the_rest(tmp_path: Path) -> None:
    folder = write_utterances(tmp_path / "data", 10)
    soundfile.write(folder / "sound" / "0.wav", np.zeros(RATE // 10, np.float32), RATE)
    hear = phonemes.train(folder, steps=3, **SMALL)
    assert np.isfinite(hear.model.flat.values).all()


def test_the_command(
    trained: tuple[Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, hear = trained
    samples, _ = utter(np.random.default_rng(8), 4)
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    heard = hear(tmp_path / "a.wav")

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["transcribe", str(path), str(tmp_path / "a.wav"), *arguments])
        captured = capsys.readouterr()
        assert ended.value.code == 0, captured.err
        return captured.out

    lines = run().splitlines()
    assert [line.split()[-1] for line in lines] == [s.symbol for s in heard]
    rows = json.loads(run("--json"))
    assert [row["symbol"] for row in rows] == [s.symbol for s in heard]
    assert rows[0]["start"] == pytest.approx(heard[0].start, abs=1e-3)
    (tmp_path / "grid" / "x").mkdir(parents=True)
    soundfile.write(tmp_path / "grid" / "a.wav", samples, RATE)
    (tmp_path / "grid" / "x" / "a.TextGrid").write_text(run("--textgrid"))
    (again,) = find_utterances([tmp_path / "grid"])
    assert again.symbols == tuple(s.symbol for s in heard)
    assert again.segments[0].end == pytest.approx(heard[0].end, abs=1e-5)
    pytest.importorskip("matplotlib", reason='pip install "unrolled[train]"')
    run("--picture", str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit):
        main(["transcribe", str(path), str(tmp_path / "a.wav"), "--json", "--textgrid"])
    assert "choose one of --json and --textgrid" in capsys.readouterr().err


def test_segments_as_text() -> None:
    segments = [Segment('a"b', 0.5, 1.0, 0.75)]
    assert json.loads(as_json(segments)) == [
        {"symbol": 'a"b', "start": 0.5, "end": 1.0, "probability": 0.75}
    ]
    assert 'text = "a""b"' in as_textgrid(segments, 2.0)
    assert as_textgrid(segments, 2.0).count("xmin") == 2 + 3
    assert as_textgrid([], 2.0).count('text = ""') == 1


def test_files_of_segments(tmp_path: Path) -> None:
    for name in "abcd":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(100), RATE)
    (tmp_path / "a.align").write_text("0 25000 sil\n25000 50000 bin\n50000 75000 blue\n")
    (tmp_path / "b.csv").write_text("start,end,symbol\n0,0.5,k\n0.5,0.75,sil\n0.75,1,t\n")
    (tmp_path / "c.txt").write_text("k ae t\n")
    (tmp_path / "e.txt").write_text("a sound that is not there\n")
    a, b, c = find_utterances([tmp_path])
    assert a.segments == (Segment("bin", 1.0, 2.0), Segment("blue", 2.0, 3.0))
    assert b.segments == (Segment("k", 0.0, 0.5), Segment("t", 0.75, 1.0))
    assert (c.symbols, c.segments) == (("k", "ae", "t"), ())
    (tmp_path / "table.csv").write_text("file,symbols\nd.wav,x y\n")
    assert find_utterances([tmp_path / "table.csv"]) == [Utterance(tmp_path / "d.wav", ("x", "y"))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    """Praat writes phonetic symbols in UTF-16, Excel a mark before UTF-8."""
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    said = {
        "a.TextGrid": 'item [1]:\n class = "IntervalTier"\n xmin = 0\n xmax = 1\n intervals [1]:\n'
        ' xmin = 2.5e-05\n xmax = 0.5\n text = "ə"\n intervals [2]:\n xmin = 0.5\n xmax = 1\n'
        ' text = "ʃ"\n',
        "b.csv": "start,end,symbol\r\n2.5e-05,0.5,ə\r\n0.5,1,ʃ\r\n",
    }
    for name, text in said.items():
        soundfile.write((tmp_path / name).with_suffix(".wav"), np.zeros(100), RATE)
        (tmp_path / name).write_bytes((mark + text).encode(encoding))
    for each in find_utterances([tmp_path]):
        assert each.segments == (Segment("ə", 2.5e-05, 0.5), Segment("ʃ", 0.5, 1.0))
    if not encoding.startswith("utf-16"):
        (tmp_path / "table.csv").write_bytes("file,symbols\na.wav,ə ʃ\n".encode(encoding))
        (found,) = find_utterances([tmp_path / "table.csv"])
        assert found.symbols == ("ə", "ʃ")


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.align", "0 x sil\n", r"a\.align cannot be understood"),
        ("a.align", "0 1\n", r"a\.align cannot be understood"),
        ("a.csv", "start,end\n0,1\n", r"a\.csv cannot be understood"),
        ("a.TextGrid", "nothing", r"a\.TextGrid cannot be understood: no tier of intervals"),
    ],
)
def test_bad_segments(name: str, content: str, text: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), RATE)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=text):
        find_utterances([tmp_path])


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"give a folder of sound files .* or --demo"):
        phonemes.train(steps=1, quiet=True)
    with pytest.raises(ValueError, match="there are no utterances in"):
        phonemes.train(tmp_path, steps=1, quiet=True)
    with pytest.raises(FileNotFoundError, match="no folder or table"):
        phonemes.train(tmp_path / "nowhere", steps=1, quiet=True)
    (tmp_path / "table.csv").write_text("file,text\n")
    with pytest.raises(ValueError, match="has no columns file,symbols"):
        phonemes.train(tmp_path / "table.csv", steps=1, quiet=True)
    with pytest.raises(ValueError, match="expected --chain of 1 or more, got 0"):
        phonemes.train(tmp_path, steps=1, quiet=True, chain=0)


def test_edit_distance() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == edit_distance("abc", "") == 3
    assert edit_distance("abc", "abc") == 0
    assert error_rate(["abcd", "ef"], ["abd", "eff"]) == pytest.approx(2 / 6)
    assert error_rate([], []) == 0.0


def test_speech_with_its_phonemes() -> None:
    pytest.importorskip("espeakng_loader", reason='pip install "unrolled[speech-demo]"')
    speech = speak("Good morning, world.")
    symbols = [p.symbol for p in speech.phonemes if p.symbol]
    assert symbols[:3] == ["ɡ", "ʊ", "d"]
    assert [p.position for p in speech.phonemes if p.symbol][:4] == [0, 0, 0, 5]
    assert all(a.end == b.start for a, b in pairwise(speech.phonemes))
    assert speech.phonemes[-1].end == pytest.approx(len(speech.samples) / speech.rate)
    assert 0.5 < len(speech.samples) / speech.rate < 3.0
    slow = speak("Good morning, world.", speed=90)
    assert len(slow.samples) > 1.5 * len(speech.samples)
    with pytest.raises(ValueError, match="eSpeak has no voice 'klingon-x'"):
        speak("hello", voice="klingon-x")


def test_the_demo_has_words(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason='pip install "unrolled[speech-demo]"')
    spoken, dictionary = say_sentences(6, FeatureSettings())
    assert all(len(row) >= 4 for row in spoken.words)
    assert not any(spoken.alternatives)  # what is said is known
    assert 1 < len(set(spoken.speakers)) < 6
    told = 0
    for words, symbols in zip(spoken.words, spoken.symbols, strict=True):
        ways = [dictionary.entries.get(word) for word in words]
        spelled = itertools.product(*(way for way in ways if way is not None))
        told += all(ways) and symbols in (list(itertools.chain(*row)) for row in spelled)
    assert told >= 4  # of which all words are in the dictionary as they are said
    path = write_sentence(spoken.words[0], tmp_path / "said.wav")
    assert soundfile.info(path).duration > 0.2 * len(spoken.words[0])
    with pytest.raises(ValueError, match="--demo brings its own dictionary"):
        phonemes.train(demo=True, dictionary="words.dict", steps=1, quiet=True)


@pytest.mark.slow
def test_the_demo_learns(tmp_path: Path) -> None:
    """Speech that is made on the spot: of new sentences at most 5% of the phonemes are wrong, and
    10% of the words."""
    pytest.importorskip("espeakng_loader", reason='pip install "unrolled[speech-demo]"')
    hear = phonemes.train(demo=True, epochs=10, output=tmp_path / "demo.safetensors", quiet=True)
    task, _ = tasks.load(tmp_path / "demo.safetensors", phonemes.Phonemes)
    *_, symbols, _, words = task.evaluate(hear, [], False, "full")
    assert float(symbols.split()[1].rstrip("%")) <= 5.0
    assert float(words.split()[1].rstrip("%")) <= 10.0
