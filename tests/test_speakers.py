"""Tasks whose features are normalised by speaker: training, use, tables, checkpoints, commands."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_nodes import run_runtime
from sounds import RATE, WORDS, say
from speakers import fitted, talk
from tolerances import assert_close
from unrolled import tasks
from unrolled.audio import (
    Normalisation,
    extract_features,
    faint_noise,
    read_audio,
)
from unrolled.cli import main
from unrolled.tasks import keywords, phonemes
from unrolled.tasks._clip_features import ClipFeatures
from unrolled.tasks._clips import Clip, find_clips, split_clips
from unrolled.tasks._segment_files import as_json
from unrolled.tasks._speakers import normalised, perhaps_new, speakers_before
from unrolled.tasks._utterances import find_utterances
from unrolled.training import CheckpointError, load_checkpoint, save_checkpoint
from utterances import utter


def test_recordings_of_a_speaker_follow_each_other() -> None:
    rng = np.random.default_rng(12)
    norm, frames = fitted(), [talk(rng, 100) for _ in range(40)]
    names = [("a", "b", None)[i % 3] for i in range(40)]
    before = speakers_before(norm, frames, names)
    assert [before[i] for i in range(40) if names[i] is None] == [None] * 13
    for name in ("a", "b"):
        rows = [i for i in range(40) if names[i] == name]
        (first,) = (i for i in rows if before[i] is None)
        # Which order it was: of what is known before each the next one follows.
        left, order, speaker = set(rows) - {first}, [first], norm.speaker()
        while left:
            speaker(frames[order[-1]])
            known = speaker.copy()(frames[0])
            (following,) = (
                i for i in left if (normalised(frames[0], before[i], norm) == known).all()
            )
            order.append(following)
            left.remove(following)
        assert order != sorted(order)
    # What is known is not used up by using it.
    np.testing.assert_array_equal(
        normalised(frames[3], before[3], norm), normalised(frames[3], before[3], norm)
    )
    assert speakers_before(Normalisation.of(frames), frames, names) == [None] * 40
    known = norm.speaker()
    drawn = [perhaps_new(known, rng) for _ in range(100)]
    assert {None, known} == set(drawn)
    state = rng.bit_generator.state
    assert perhaps_new(None, rng) is None
    assert rng.bit_generator.state == state  # global runs draw what they drew


def test_what_is_known_does_not_tell_the_word() -> None:
    """Clips that are made begin as those of speakers do, at each speed."""
    rng = np.random.default_rng(13)
    norm = fitted()
    clips = ClipFeatures(
        [talk(rng, 60) for _ in range(40)],
        np.zeros(40, np.int64),
        2,
        [f"{speed} {i % 2}" for speed in range(2) for i in range(20)],
    ).meet(norm)
    own = clips.before[:]
    clips.add(10, 1, lambda rng: talk(rng, 60), rng)
    for part in range(2):
        made = clips.before[30 * part + 20 : 30 * (part + 1)]
        assert clips.before[30 * part : 30 * part + 20] == own[20 * part : 20 * (part + 1)]
        assert sum(each is not None for each in made) > 5
        assert set(made) <= set(own[20 * part : 20 * (part + 1)])


def test_few_speakers_are_split_by_clip() -> None:
    clips = [Clip(Path(f"{i}.wav"), "yes", f"s{i % 5}") for i in range(200)]
    training, held_out = split_clips(clips)
    assert 0.03 < len(held_out) / 200 < 0.2
    assert {clip.speaker for clip in training} == {clip.speaker for clip in held_out}


def write_table(folder: Path, count: int, seed: int = 0) -> Path:
    """Words of two speakers, one of whom has a bad microphone."""
    import soundfile

    rng = np.random.default_rng(seed)
    folder.mkdir()
    rows = [("file", "class", "symbols", "speaker")]
    for word, number in itertools.product(WORDS, range(count)):
        speaker = ("ann", "bob")[number % 2]
        sound = np.concatenate([faint_noise(RATE // 5, rng), say(word, rng)])
        if speaker == "bob":
            sound = 0.1 * np.convolve(sound, [1.0, 0.9])[: len(sound)].astype(np.float32)
        soundfile.write(folder / f"{word}{number}.wav", sound, RATE, subtype="FLOAT")
        rows.append((f"{word}{number}.wav", word, word, speaker))
    with (folder / "table.csv").open("w", newline="") as lines:
        csv.writer(lines).writerows(rows)
    return folder / "table.csv"


SMALL: dict[str, Any] = {"hidden": 16, "layers": 1, "bands": 20, "batch": 8, "quiet": True}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("soundfile", reason='pip install "unrolled[speech]"')
    return write_table(tmp_path_factory.mktemp("speakers") / "data", 16)


@pytest.fixture(scope="module")
def spotter(table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("speakers") / "words.safetensors"
    options = {**SMALL, "unknown": "none", "normalise": "speaker"}
    return path, keywords.train(table, output=path, steps=40, **options)


@pytest.fixture(scope="module")
def recogniser(table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("speakers") / "said.safetensors"
    options = {**SMALL, "bidirectional": False, "normalise": "speaker"}
    return path, phonemes.train(table, output=path, steps=30, lr=1e-2, **options)


def test_keywords_by_speaker(spotter: tuple[Path, Any], table: Path, tmp_path: Path) -> None:
    path, trained = spotter
    keywords.save(trained, tmp_path / "again.safetensors")
    sounds = [table.parent / f"{word}1.wav" for word in WORDS]
    for file in (path, tmp_path / "again.safetensors"):
        loaded = keywords.load(file)
        speaker, own = loaded.normalisation.speaker(), trained.normalisation.speaker()
        for sound in sounds:
            assert loaded(sound) == trained(sound)
            assert loaded(sound, speaker) == trained(sound, own)
        assert loaded(sounds[0], speaker) != loaded(sounds[0])
    task, loaded = tasks.load(path, keywords.Keywords)
    (line,) = task.evaluate(loaded, [table], False, "full")
    assert line.endswith("of 48 clips")
    # Bob's microphone is not Ann's: it is known in the table, not where it is left out.
    (table.parent / "alone.csv").write_text(
        "".join(f"{row.rsplit(',', 1)[0]}\n" for row in table.read_text().splitlines())
    )
    batches = [
        ClipFeatures.of(find_clips([given]), trained.words, trained.settings)
        .meet(trained.normalisation)
        .before
        for given in (table, table.parent / "alone.csv")
    ]
    assert [sum(each is None for each in before) for before in batches] == [2, 48]


def test_a_listener_hears_what_a_file_is_heard_as(spotter: tuple[Path, Any]) -> None:
    _, trained = spotter
    rng = np.random.default_rng(14)
    sound, _ = utter(rng, 9)
    frames = trained.normalisation(extract_features(sound, trained.settings))
    whole, _ = trained.model.rnn(trained.model.stacked(frames[:, None]))
    quiet = np.zeros((1, 20), np.float32)
    new = trained.normalisation.speaker()(quiet)
    for size in (100, 160, 7001, len(sound)):
        speaker = trained.normalisation.speaker()
        listener = keywords.Listener(trained, speaker=speaker)
        for start in range(0, len(sound), size):
            listener(sound[start : start + size])
        window, steps = listener._window, len(whole)
        assert listener._steps == steps > len(window)
        in_order = np.roll(window, -(steps % len(window)), axis=0)
        np.testing.assert_array_equal(in_order, whole[-len(window) :, 0])
        assert (speaker.copy()(quiet) != new).any()
        speaker.reset()
        np.testing.assert_array_equal(speaker(quiet), new)
    for bad in (np.full(400, np.nan, np.float32), np.zeros((2, 400), np.float32)):
        with pytest.raises(ValueError, match="expected finite samples"):
            listener(bad)
    for count in (0, 1, 400, RATE):  # nothing, too little for a frame, and silence
        assert keywords.Listener(trained)(np.zeros(count, np.float32)) == []
        assert sum(p for _, p in trained(np.zeros(count, np.float32))) == pytest.approx(1.0)


def test_recordings_in_a_row(
    recogniser: tuple[Path, Any],
    table: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, trained = recogniser
    a, b = table.parent / "low1.wav", table.parent / "rise3.wav"
    frames = [extract_features(read_audio(sound, RATE), trained.settings) for sound in (a, b)]
    speaker, norm = trained.normalisation.speaker(), trained.normalisation
    trained.logits(a, speaker)
    after = norm(np.concatenate(frames))[len(frames[0]) :]
    known = trained.model(after[:, None])[:, 0]
    new = trained.model(norm(frames[1])[:, None])[:, 0]
    np.testing.assert_array_equal(trained.logits(b, speaker), known)
    np.testing.assert_array_equal(trained.logits(b), new)
    assert (known != new).any()
    # The commands: the same, for the segments of the second file.
    for flags, logits in (((), new), (("--same-speaker",), known)):
        with pytest.raises(SystemExit) as ended:
            main(["transcribe", str(path), str(a), str(b), "--json", *flags])
        assert ended.value.code == 0
        heard = as_json(trained.segments(logits))
        assert capsys.readouterr().out.endswith(heard + "\n")
    (tmp_path / "two.csv").write_text(f"file,symbols,speaker\n{a},low,x\n{b},rise,x\n")
    with pytest.raises(SystemExit) as ended:
        main(["align", str(path), str(tmp_path / "two.csv")])
    assert ended.value.code == 0
    place = trained.place(known, [1 + trained.symbols.index("rise")])[0]
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["start"] for row in rows][1:] == [f"{place.start:.4f}"]
    assert [row["probability"] for row in rows][1:] == [f"{place.probability:.4f}"]


def test_tables_say_who_speaks(table: Path, tmp_path: Path) -> None:
    assert {each.speaker for each in find_utterances([table])} == {"ann", "bob"}
    sound = table.parent / "low1.wav"
    (tmp_path / "timed.csv").write_text(
        f"file,start,end,symbol,speaker\n{sound},0,1,a,x\n{sound},1,2,b,x\n"
    )
    (tmp_path / "none.csv").write_text(f"file,symbols,speaker\n{sound},a,\n{sound},a\n")
    assert [u.speaker for u in find_utterances([tmp_path / "timed.csv"])] == ["x"]
    assert [u.speaker for u in find_utterances([tmp_path / "none.csv"])] == [None, None]
    dictionary = phonemes.Dictionary.parse("low L OW\nhigh HH AY\nrise R AY Z")
    known, _ = dictionary.pronounced(find_utterances([table]))
    assert {each.speaker for each in known} == {"ann", "bob"}


def test_a_run_goes_on_where_it_stopped(table: Path, tmp_path: Path) -> None:
    options = {**SMALL, "normalise": "speaker", "chain": 2, "schedule": "constant"}
    paths = [tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"]
    whole = phonemes.train(table, output=paths[0], steps=5, **options)
    phonemes.train(table, output=paths[1], steps=2, **options)
    parts = phonemes.train(resume=paths[1], steps=5, quiet=True)
    np.testing.assert_array_equal(parts.model.flat.values, whole.model.flat.values)


def test_checkpoints_from_before_are_global(table: Path, tmp_path: Path) -> None:
    for task, options in ((keywords, {**SMALL, "unknown": "none"}), (phonemes, SMALL)):
        path = tmp_path / f"{task.__name__}.safetensors"
        trained = task.train(table, output=path, steps=2, **options)
        file = load_checkpoint(path)
        assert set(file.metadata["assets"]["normalisation"]) == {"mean", "deviation"}
        del file.metadata["options"]["normalise"]
        save_checkpoint(path, file.arrays, file.metadata)
        loaded = task.load(path)
        assert loaded.options.normalise == "global"
        assert loaded(table.parent / "low1.wav") == trained(table.parent / "low1.wav")
        assert not loaded.normalisation.by_speaker
    with pytest.raises(SystemExit) as ended:
        main(["transcribe", str(path), str(table.parent / "low1.wav"), "--same-speaker"])
    assert ended.value.code != 0


def test_a_damaged_normalisation_is_the_files_fault(
    spotter: tuple[Path, Any], tmp_path: Path
) -> None:
    for name, value in (("typical", [0.0]), ("memory", 0.5), ("prior", "x")):
        file = load_checkpoint(spotter[0])
        file.metadata["assets"]["normalisation"]["speaker"][name] = value
        save_checkpoint(tmp_path / "bad.safetensors", file.arrays, file.metadata)
        with pytest.raises(CheckpointError, match="damaged"):
            keywords.load(tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match="normalise"):
        keywords.train("nowhere", normalise="both", quiet=True, steps=1)


def test_exports_read_the_same_features(
    spotter: tuple[Path, Any], table: Path, tmp_path: Path
) -> None:
    path, trained = spotter
    sound = table.parent / "rise2.wav"
    tasks.export(path, tmp_path / "small.safetensors", precision="int8")
    small, speaker, own = (
        keywords.load(tmp_path / "small.safetensors"),
        *(trained.normalisation.speaker() for _ in range(2)),
    )
    with trained.model.in_precision("int8"):
        for _ in range(2):
            assert small(sound, speaker) == trained(sound, own)
    # ONNX holds the network, which reads normalised features, of either kind.
    pytest.importorskip("onnx", reason="onnx comes with the extra [onnx]")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime comes with [onnx]")
    (written,) = tasks.export(path, tmp_path / "words.onnx")
    frames = trained.normalisation(extract_features(read_audio(sound, RATE), trained.settings))
    got = run_runtime(runtime, written.read_bytes(), {"x": frames[:, None]})[0]
    K = sum(array.size for array in trained.model.parameters.values() if array.ndim > 1)
    assert_close(trained.model(frames[:, None]), got, K=K, kind="peer")
