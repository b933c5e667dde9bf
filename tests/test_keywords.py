"""The task "keywords" learns words from folders and tables of clips, and says which it hears."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sounds import RATE, WORDS, say, write_words
from tolerances import assert_same_bits
from unrolled import tasks
from unrolled.audio import faint_noise
from unrolled.cli import main
from unrolled.tasks import keywords
from unrolled.tasks._clips import Clip, find_clips, merge_unknown, split_clips

soundfile = pytest.importorskip("soundfile", reason='pip install "unrolled[speech]"')

# Two of the three words sound the same backwards, so that no unknown words can be made of them.
SMALL: dict[str, Any] = {
    "hidden": 16,
    "layers": 1,
    "bands": 20,
    "batch": 8,
    "unknown": "none",
    "quiet": True,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("clips") / "words", 25)


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("model") / "words.safetensors"
    return path, keywords.train(folder, output=path, epochs=24, **SMALL)


def test_words_are_learned(trained: tuple[Path, Any], tmp_path: Path) -> None:
    path, spotter = trained
    assert spotter.words == ("_silence_", *sorted(WORDS))
    rng = np.random.default_rng(99)
    for word in WORDS:
        answers = spotter(say(word, rng))
        assert answers[0][0] == word
        assert {name for name, _ in answers} == set(spotter.words)
        assert sum(p for _, p in answers) == pytest.approx(1.0)
        soundfile.write(tmp_path / "a.flac", say(word, rng, 0.45, 44_100), 44_100)
        assert spotter(tmp_path / "a.flac")[0][0] == word
    other = write_words(tmp_path / "other", 10, seed=7)
    (line,) = tasks.load(path, keywords.Keywords)[0].evaluate(spotter, [other], False, "full")
    assert line == "right      100.00% of 30 clips"


def test_checkpoints(trained: tuple[Path, Any], tmp_path: Path) -> None:
    path, spotter = trained
    keywords.save(spotter, tmp_path / "again.safetensors")
    sound = say("rise", np.random.default_rng(5))
    for file in (path, tmp_path / "again.safetensors"):
        assert keywords.load(file)(sound) == spotter(sound)


def test_a_run_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    """With clips changed at random: the same bits as without the stop."""
    paths = [tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"]
    whole = keywords.train(folder, output=paths[0], steps=14, schedule="constant", **SMALL)
    keywords.train(folder, output=paths[1], steps=5, schedule="constant", **SMALL)
    parts = keywords.train(resume=paths[1], sources=(), steps=14, quiet=True)
    np.testing.assert_array_equal(parts.model.flat.values, whole.model.flat.values)


def test_listening(trained: tuple[Path, Any]) -> None:
    """The words of a long sound, once each and in order, whatever pieces it comes in."""
    spotter, rng = trained[1], np.random.default_rng(2)
    said = [str(word) for word in rng.permutation(sorted(WORDS) * 4)]
    parts = [faint_noise(RATE, rng)]
    for word in said:
        parts += [say(word, rng), faint_noise(int(rng.uniform(0.5, 1.0) * RATE), rng)]
    sound = np.concatenate(parts)
    heard = list(keywords.listen(spotter, [sound]))
    assert [detection.word for detection in heard] == said
    assert [d.seconds for d in heard] == sorted(d.seconds for d in heard)
    assert all(0.8 <= d.probability <= 1.0 for d in heard)
    for size in (160, 1000, 7777):
        pieces = [sound[start : start + size] for start in range(0, len(sound), size)]
        assert list(keywords.listen(spotter, pieces)) == heard
    assert not list(keywords.listen(spotter, [faint_noise(30 * RATE, rng)]))


def test_a_stream_is_the_model_over_the_whole(trained: tuple[Path, Any]) -> None:
    spotter, rng = trained[1], np.random.default_rng(3)
    frames = rng.standard_normal((61, 20)).astype(np.float32)
    model = spotter.model
    whole, _ = model.rnn(model.stacked(frames[:, None]))
    stream = model.stream()
    for cuts in ([0, 61], [0, 1, 2, 3, 20, 20, 61], list(range(62))):
        parts = [stream(frames[start:stop]) for start, stop in itertools.pairwise(cuts)]
        assert_same_bits(np.concatenate(parts), whole[:, 0])
        stream.reset()
    with pytest.raises(ValueError, match=r"frames of shape \(T, F\) = \(T, 20\), got \(3, 21\)"):
        stream(np.zeros((3, 21), np.float32))


def test_what_cannot_listen(folder: Path, trained: tuple[Path, Any]) -> None:
    spotter = keywords.train(folder, bidirectional=True, steps=1, **SMALL)
    with pytest.raises(ValueError, match="only one that reads forwards can be streamed"):
        keywords.Listener(spotter)
    with pytest.raises(ValueError, match=r"0 < threshold < 1, got 1\.5"):
        keywords.Listener(trained[1], 1.5)


def test_the_command_listens(
    trained: tuple[Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(4)
    parts = [faint_noise(RATE, rng), say("rise", rng), faint_noise(RATE, rng)]
    sound = np.concatenate(parts)
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="PCM_16")
    with pytest.raises(SystemExit) as ended:
        main(["listen", str(trained[0]), str(tmp_path / "a.wav")])
    assert ended.value.code == 0
    told = capsys.readouterr()
    assert "rise" in told.out
    assert "low" not in told.out
    assert "2.4 s of sound" in told.err
    assert "real-time factor" in told.err
    raw = soundfile.read(tmp_path / "a.wav", dtype="int16")[0].tobytes()
    piped = subprocess.run(
        [sys.executable, "-m", "unrolled", "listen", str(trained[0]), "-"],
        input=raw + b"\0",  # half a sample at the end
        capture_output=True,
        check=True,
    )
    assert piped.stdout.decode() == told.out
    silent = subprocess.run(
        [sys.executable, "-m", "unrolled", "listen", str(trained[0]), "-"],
        input=b"",
        capture_output=True,
        check=True,
    )
    assert (silent.stdout, silent.stderr) == (b"", b"there was no sound to listen to\n")


@pytest.mark.parametrize(
    "options",
    [
        {"bidirectional": True, "cell": "lstm"},
        {"features": "mfcc"},
        {"conv": 4, "mixup": 0.3, "warp": 0.1},
    ],
    ids=str,
)
def test_options(folder: Path, options: dict[str, Any]) -> None:
    spotter = keywords.train(folder, steps=3, **SMALL, **options)
    assert spotter(say("low", np.random.default_rng(0)))
    assert spotter.model.rnn.num_directions == (2 if "bidirectional" in options else 1)
    assert (spotter.model.front_end is not None) == ("conv" in options)


def test_short_sounds(trained: tuple[Path, Any]) -> None:
    for count in (0, 1, 400, 401, 700):
        answers = trained[1](np.zeros(count, np.float32))
        assert sum(p for _, p in answers) == pytest.approx(1.0)


def test_tables(folder: Path, tmp_path: Path) -> None:
    table = folder / "table.csv"
    table.write_text("file,class,speaker\nlow/0.wav,low,a\nhigh/3.wav,high,b\n")
    assert find_clips([table]) == [
        Clip(folder / "low" / "0.wav", "low", "a"),
        Clip(folder / "high" / "3.wav", "high", "b"),
    ]
    table.unlink()
    for content, error, text in (
        ("file,word\na.wav,b\n", ValueError, "has no columns file,class"),
        ("", ValueError, "has no columns file,class"),
        ("file,class\nmissing.wav,b\n", FileNotFoundError, r"line 2: no file '.*missing\.wav'"),
        ("file,class\n", ValueError, "there are no clips in"),
    ):
        (tmp_path / "table.csv").write_text(content)
        with pytest.raises(error, match=text):
            find_clips([tmp_path / "table.csv"])
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="is no CSV file in UTF-8"):
        find_clips([tmp_path / "binary.csv"])
    with pytest.raises(FileNotFoundError, match="no folder or table"):
        find_clips([tmp_path / "nowhere"])


def test_speakers_are_not_split() -> None:
    clips = [
        Clip(Path(f"{word}/{prefix}{speaker:08x}_nohash_{take}.wav"), word, f"{speaker:08x}")
        for word, prefix in (("yes", ""), ("no", ""), ("_unknown_", "backward_"))
        for speaker in range(200)
        for take in range(2)
    ]
    training, held_out = split_clips(clips)
    assert not {clip.speaker for clip in training} & {clip.speaker for clip in held_out}
    assert 0.05 < len(held_out) / len(clips) < 0.15
    assert {clip.word for clip in held_out} == {"yes", "no", "_unknown_"}


def test_other_words_are_unknown(folder: Path) -> None:
    clips = merge_unknown(find_clips([folder]), ["low", "rise"])
    assert {clip.word for clip in clips} == {"low", "rise", "_unknown_"}
    assert sum(clip.word == "_unknown_" for clip in clips) == 25
    with pytest.raises(ValueError, match="no clips of up: --words takes names of classes"):
        merge_unknown(clips, ["low", "up"])
    spotter = keywords.train(folder, words="low,rise", steps=2, **SMALL)
    assert spotter.words == ("_silence_", "_unknown_", "low", "rise")


def test_other_words_need_not_all_be_there(folder: Path, tmp_path: Path) -> None:
    """`--words` asks for words of the clips to train on; some are enough to score."""
    for word in ("low", "up"):
        (tmp_path / "some" / word).mkdir(parents=True)
        soundfile.write(tmp_path / "some" / word / "a.wav", np.zeros(RATE), RATE)
    some, path = str(tmp_path / "some"), tmp_path / "m.safetensors"
    keywords.train(folder, words="low,rise", validation=some, output=path, steps=1, **SMALL)
    task, spotter = tasks.load(path, keywords.Keywords)
    for sources in ([Path(some)], []):
        (line,) = task.evaluate(spotter, sources, False, "full")
        assert line.endswith("of 2 clips")


def test_what_was_held_out_is_scored(folder: Path, tmp_path: Path) -> None:
    """The other words of `--unknown` are a part of it."""
    others = write_words(tmp_path / "others", 20, seed=3)
    path, options = tmp_path / "m.safetensors", {**SMALL, "unknown": str(others)}
    keywords.train(folder, output=path, steps=1, **options)
    task, spotter = tasks.load(path, keywords.Keywords)
    (line,) = task.evaluate(spotter, [], False, "full")
    task.load()
    assert line.endswith(f"of {task.held_out.count} clips")
    assert (task.held_out.classes == task.words.index("_unknown_")).any()


def test_few_bands(folder: Path) -> None:
    for features in ("mel", "mfcc"):
        few = {**SMALL, "bands": 8, "features": features}
        assert keywords.train(folder, steps=1, **few).settings.size == 8


def test_errors(folder: Path, trained: tuple[Path, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give a folder with one folder of sound files for each"):
        keywords.train((), steps=1, quiet=True)
    (tmp_path / "one" / "word").mkdir(parents=True)
    soundfile.write(tmp_path / "one" / "word" / "a.wav", np.zeros(RATE), RATE)
    with pytest.raises(ValueError, match="two words or more, and more clips, are needed"):
        keywords.train(tmp_path / "one", steps=1, quiet=True)
    (tmp_path / "bad" / "low").mkdir(parents=True)
    (tmp_path / "bad" / "low" / "a.wav").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.wav is no audio"):
        keywords.train([folder, tmp_path / "bad"], steps=1, quiet=True)
    task, spotter = tasks.load(trained[0], keywords.Keywords)
    with pytest.raises(ValueError, match="there are clips of word, but none of them to train on"):
        keywords.train(folder, validation=str(tmp_path / "one"), steps=1, quiet=True)
    with pytest.raises(ValueError, match="there are clips of word, but none of them to train on"):
        list(task.evaluate(spotter, [tmp_path / "one"], False, "full"))


def test_details_and_precision(trained: tuple[Path, Any], folder: Path) -> None:
    task, spotter = tasks.load(trained[0], keywords.Keywords)
    lines = list(task.evaluate(spotter, [folder], True, "int8"))
    assert "in int8" in lines[-1]
    assert all(line.startswith("wrong") for line in lines[:-1])
