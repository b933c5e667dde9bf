"""An exported model is the model: in 8 bits it answers bit for bit as the full one does in int8."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_nodes import run_runtime
from sounds import say, write_words
from tolerances import assert_close, assert_same_bits
from unrolled import tasks
from unrolled.cli import main
from unrolled.functional import log_softmax
from unrolled.layers import RNN
from unrolled.models import AcousticModel
from unrolled.tasks import adding, keywords, translation, video
from unrolled.tasks._quantised import dequantised, quantised
from unrolled.training import CheckpointError, load_checkpoint

pytest.importorskip("soundfile", reason='pip install "unrolled[speech]"')

SMALL: dict[str, Any] = {"bands": 20, "batch": 8, "unknown": "none", "quiet": True}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    words = write_words(folder / "words", 15)
    keywords.train(words, output=folder / "full.safetensors", steps=20, **SMALL)
    return folder / "full.safetensors"


@pytest.mark.parametrize("both", [False, True], ids=["causal", "both-ways"])
@pytest.mark.parametrize("conv", [0, 5])
def test_rounding_twice_is_rounding_once(
    isa: str, narrow_cell: str, both: bool, conv: int, rng: np.random.Generator
) -> None:
    model = AcousticModel(
        9, 5, hidden_size=13, cell=narrow_cell, bidirectional=both, conv=conv, pooled=True, rng=rng
    )
    model.flat.values[:] *= 10.0 ** rng.uniform(-3, 1, model.flat.values.shape).astype(np.float32)
    model.rnn.parameters["weight_ih_l0"][2] = 0.0
    model.rnn.parameters["weight_hh_l1"][3] *= np.float32(1e-33)
    arrays = quantised(model.parameters)
    assert {name for name, array in arrays.items() if array.dtype == np.int8} == {
        f"rnn.{name}" for name in model.rnn.parameters if name.startswith("weight")
    }
    again = AcousticModel.from_config(model.config, init="zeros")
    again.load_parameters(dequantised(arrays))
    x, lengths = rng.standard_normal((23, 4, 9)).astype(np.float32), np.array([23, 1, 0, 16])
    with model.in_precision("int8"), again.in_precision("int8"):
        assert_same_bits(again(x, lengths), model(x, lengths))
    assert_same_bits(again.head.parameters["weight"], model.head.parameters["weight"])
    for name, array in quantised(dequantised(arrays)).items():
        if array.ndim == 2:
            assert_same_bits(array, arrays[name], name)


def test_ties_are_rounded_as_by_the_kernels() -> None:
    """Among two million weights some lie so near a tie that their product in float32 is one."""
    rng = np.random.default_rng(0)
    layer = RNN(1024, 1024, bias=False, rng=rng, init="zeros")
    for weight in layer.parameters.values():
        weight[:] = rng.uniform(-1, 1, weight.shape)
    arrays = quantised(layer.parameters)
    near = 0
    for name, weight in layer.parameters.items():
        steps = np.float32(127) / arrays[name + ".largest"]
        near += np.count_nonzero(np.rint(weight * steps[:, None]) != arrays[name])
    assert near > 0
    again = RNN(1024, 1024, bias=False, init="zeros")
    again.load_parameters(dequantised(arrays))
    x = rng.standard_normal((2, 1, 1024)).astype(np.float32)
    layer.precision = again.precision = "int8"
    assert_same_bits(again(x)[0], layer(x)[0])


def test_the_file(checkpoint: Path, tmp_path: Path) -> None:
    """The default model: under 500 kB, the same answers, and listening in int8 too."""
    (small,) = tasks.export(checkpoint, tmp_path / "small", precision="int8")
    assert small == tmp_path / "small.safetensors"
    assert small.stat().st_size < 500_000 < checkpoint.stat().st_size
    full, loaded = keywords.load(checkpoint), keywords.load(small)
    assert (loaded.model.rnn.precision, loaded.words) == ("int8", full.words)
    rng = np.random.default_rng(1)
    sounds = [say(word, rng) for word in ("low", "high", "rise")]
    exact = [full(sound) for sound in sounds]
    with full.model.in_precision("int8"):
        expected = [full(sound) for sound in sounds]
        listener = keywords.Listener(full)
    assert [loaded(sound) for sound in sounds] == expected != exact
    other = keywords.Listener(loaded)
    for sound in sounds:
        assert other(sound) == listener(sound)
        assert_same_bits(other.probabilities(), listener.probabilities())
    (again,) = tasks.export(small, tmp_path / "again", precision="int8")
    for name, array in load_checkpoint(small).arrays.items():
        assert_same_bits(load_checkpoint(again).arrays[name], array, name)


def test_full_precision_leaves_the_training_out(checkpoint: Path, tmp_path: Path) -> None:
    (path,) = tasks.export(checkpoint, tmp_path / "plain.safetensors")
    full, loaded = keywords.load(checkpoint), keywords.load(path)
    assert_same_bits(loaded.model.flat.values, full.model.flat.values)
    assert loaded.model.rnn.precision == "full"
    assert path.stat().st_size < checkpoint.stat().st_size / 2
    with pytest.raises(CheckpointError, match="holds a model, but no training to resume"):
        keywords.train((), resume=path, steps=30, quiet=True)


def test_another_task(tmp_path: Path) -> None:
    path = tmp_path / "adding.safetensors"
    tasks.train(adding.Adding, output=path, steps=2, hidden=8, quiet=True)
    (small,) = tasks.export(path, tmp_path / "small", precision="int8")
    assert tasks.load(small, adding.Adding)[1].model.rnn.precision == "int8"


@pytest.mark.parametrize("name", ["adding", "keywords"])
def test_onnx(name: str, checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx comes with the extra [onnx]")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime comes with [onnx]")
    rng, lengths = np.random.default_rng(0), np.array([40, 25])
    if name == "adding":
        checkpoint = tmp_path / "adding.safetensors"
        tasks.train(adding.Adding, output=checkpoint, steps=2, hidden=8, quiet=True)
    path = tmp_path / "model.onnx"
    with pytest.raises(SystemExit):
        main(["export", str(checkpoint), str(path), "--lengths"])
    model = tasks.load(checkpoint, tasks.find_task(name))[1].model
    x = rng.standard_normal((40, 2, 2 if name == "adding" else model.features), np.float32)
    K = sum(array.size for array in model.parameters.values() if array.ndim > 1)
    got = run_runtime(runtime, path.read_bytes(), {"x": x, "lengths": lengths})[0]
    assert_close(model(x, lengths), got, K=K, kind="peer")


def exported(capsys: pytest.CaptureFixture[str], checkpoint: Path, output: Path) -> list[str]:
    """The names of the files that the command says it wrote; all of them are there."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["export", str(checkpoint), str(output)])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    names = [re.fullmatch(r"exported   (.*), [\d,]+ bytes", line)[1] for line in lines]
    assert sorted(Path(name).name for name in names) == sorted(os.listdir(output.parent))
    return names


def test_onnx_of_a_translation_is_two_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx", reason="onnx comes with the extra [onnx]")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime comes with [onnx]")
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("red dog\troter Hund\nblue cat\tblaue Katze\n" * 30)
    path = tmp_path / "m.safetensors"
    sizes = {"hidden": 24, "embedding": 12, "batch": 8, "tokens": "word", "min_count": 1}
    translation.train(pairs, steps=2, output=path, quiet=True, **sizes)
    (tmp_path / "out").mkdir()
    names = exported(capsys, path, tmp_path / "out" / "a.b.onnx")
    assert [Path(name).name for name in names] == ["a.b.encoder.onnx", "a.b.decoder.onnx"]
    encoder, decoder = (Path(name).read_bytes() for name in names)
    translator = translation.load(path)
    model = translator.model
    sources, lengths = np.array([translator.encode("red dog")]).T, np.array([2])
    memory, state = model.encode(sources, lengths)
    stream = model.packed().start(memory, lengths, state)
    memory, h, c = run_runtime(runtime, encoder, {"sources": sources, "lengths": lengths})
    tokens = np.zeros(1, np.int64)
    feed = {"tokens": tokens, "memory": memory, "memory_lengths": lengths, "h_0": h, "c_0": c}
    log_p = run_runtime(runtime, decoder, feed)[0]
    K = sum(array.size for array in model.parameters.values() if array.ndim > 1)
    assert_close(log_softmax(stream.step(tokens)[0]), log_p, K=K, kind="peer")


@pytest.mark.parametrize("kind", ["text", "label"])
def test_onnx_of_videos(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Captions are two files, a label for a clip is one."""
    pytest.importorskip("onnx", reason="onnx comes with the extra [onnx]")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime comes with [onnx]")
    rng = np.random.default_rng(0)
    for number in range(24):
        word = ("up", "down")[number % 2]
        folder = tmp_path / "clips" / (word if kind == "label" else "")
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{number}.npy", rng.integers(0, 256, (5, 12, 12, 1), np.uint8))
        if kind == "text":
            (folder / f"{number}.txt").write_text(word)
    path = tmp_path / "m.safetensors"
    sizes = {"height": 12, "width": 12, "grey": True, "channels": "4,4", "hidden": 8, "batch": 8}
    video.train(tmp_path / "clips", steps=2, output=path, quiet=True, **sizes)
    (tmp_path / "out").mkdir()
    names = exported(capsys, path, tmp_path / "out" / "a.onnx")
    model = video.load(path).model
    lengths = np.array([4, 2])
    images = rng.standard_normal((6, *model.encoder.image), np.float32)
    feed = {"images": images, "lengths": lengths}
    got = run_runtime(runtime, Path(names[0]).read_bytes(), feed)[0]
    expected = model.encode(images, lengths)[0] if kind == "text" else model(images, lengths)
    K = sum(array.size for array in model.parameters.values() if array.ndim > 1)
    assert_close(expected, got, K=K, kind="peer")
    assert len(names) == (2 if kind == "text" else 1)


def test_commands(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str | Path) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        assert ended.value.code == 0
        return capsys.readouterr().out

    told = run("export", "--help")
    assert "NAME.encoder.onnx" in told
    assert "NAME.decoder.onnx" in told
    small = tmp_path / "small.safetensors"
    assert "small.safetensors, " in run("export", checkpoint, small, "--int8")
    told = run("evaluate", "keywords", small)
    assert "in int8; " in told
    ours, full = (
        text.split(",")[0]
        for text in (told, run("evaluate", "keywords", checkpoint, "--precision", "int8"))
    )
    assert ours == full


def test_errors(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"would be replaced, and its training be lost"):
        tasks.export(checkpoint, checkpoint)
    with pytest.raises(ValueError, match="expected precision full or int8, got 'bf16'"):
        tasks.export(checkpoint, tmp_path / "a", precision="bf16")
    with pytest.raises(ValueError, match="an ONNX model is in full precision, not in int8"):
        tasks.export(checkpoint, tmp_path / "a.onnx", precision="int8")
    with pytest.raises(ValueError, match="state and lengths are of ONNX models"):
        tasks.export(checkpoint, tmp_path / "a", lengths=True)
    with pytest.raises(FileNotFoundError):
        tasks.export(tmp_path / "nothing.safetensors", tmp_path / "a")
    (small,) = tasks.export(checkpoint, tmp_path / "small", precision="int8")
    with pytest.raises(ValueError, match="is in int8: what was rounded away does not come back"):
        tasks.export(small, tmp_path / "a")
    arrays = load_checkpoint(small, "model.").arrays
    del arrays["model.rnn.weight_ih_l0.largest"]
    with pytest.raises(ValueError, match="is in 8 bits, without a scale for each of its rows"):
        dequantised(arrays)
    with pytest.raises(TypeError, match=r"int8 takes weights of float32; rnn\.weight_ih_l0 is"):
        quantised({"rnn.weight_ih_l0": np.zeros((2, 2))})
