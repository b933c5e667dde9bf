"""Inputs that come from files and from people: checkpoints, vocabularies, texts, options."""

from __future__ import annotations

import json
import struct
import tempfile
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from native.source import Source
from unrolled import LanguageModel
from unrolled.tasks import Saved, make_options, option_types
from unrolled.tasks import language_model as lm
from unrolled.tasks._corpus import read_documents
from unrolled.tasks._text import Vocabulary
from unrolled.training import CheckpointError, load_checkpoint

_TEXT = "The quick brown fox, it's said, jumps over the lazy dog.\n" * 40


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="unrolled-fuzz-"))


@cache
def texts() -> Path:
    """Two documents to train on and to hold out."""
    for name in ("a.txt", "b.txt"):
        (folder() / "texts").mkdir(exist_ok=True)
        (folder() / "texts" / name).write_text(_TEXT, encoding="utf-8")
    return folder() / "texts"


@cache
def checkpoint(level: str) -> bytes:
    """A good file: a tiny model, two updates into its training."""
    path = folder() / f"{level}.safetensors"
    lm.train(
        texts(), output=path, quiet=True, level=level, hidden=4, embedding=3, batch=2, steps=2,
        steps_per_update=5, layers=2, tied=False, min_count=1,
    )  # fmt: skip
    return path.read_bytes()


@cache
def model(level: str) -> lm.TextModel:
    path = folder() / f"model-{level}.safetensors"
    path.write_bytes(checkpoint(level))
    return lm.load(path)


def changed_checkpoint(source: Source, data: bytes) -> bytes:
    """A good file with its bytes damaged, or with well-formed nonsense in its header."""
    if source.one_in(4):
        return source.damaged(data)
    (size,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    for _ in range(source.integer(1, 3)):
        texts = header.get("__metadata__")
        inner = source.choice(("metadata", "metadata", "metadata", "crc32", "", ""))
        if isinstance(texts, dict) and isinstance(texts.get(inner), str):
            with suppress(ValueError):  # it may be no JSON any more
                texts[inner] = json.dumps(source.changed(json.loads(texts[inner])))
            continue
        header = source.changed(header)
        if not isinstance(header, dict):
            break
    if isinstance(header, dict) and not source.one_in(4):
        with_checksums(header, body)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def with_checksums(header: dict[str, Any], body: bytes) -> None:
    """Makes the checksums right for whatever the header says now, so that it is looked at."""
    sums = {}
    for name, entry in header.items():
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        if isinstance(offsets, list) and all(isinstance(offset, int) for offset in offsets):
            begin, end = (*offsets, 0, 0)[:2]
            sums[name] = zlib.crc32(body[begin:end])
    if isinstance(header.get("__metadata__"), dict):
        header["__metadata__"]["crc32"] = json.dumps(sums)


def write_changed(source: Source) -> Path:
    path = folder() / "changed.safetensors"
    path.write_bytes(changed_checkpoint(source, checkpoint(source.choice(("char", "word")))))
    return path


def fuzz_checkpoint(source: Source) -> None:
    """What is no checkpoint is a CheckpointError; what loads can be used."""
    path = write_changed(source)
    try:
        load_checkpoint(path)
        loaded = lm.load(path)
    except CheckpointError:
        return
    try:
        lm.generate(loaded, "The d", length=3)
    except ValueError as error:
        if "NaN" not in str(error) and "finite" not in str(error):
            raise


def fuzz_resume(source: Source) -> None:
    """A run goes on, or says what is wrong with its file or its options.

    MemoryError is an answer, too: the options of a run may ask for more than there is.
    """
    path = write_changed(source)
    with suppress(ValueError, OSError, MemoryError):
        Saved.read(path, training=True)
        lm.train(texts(), resume=path, output=folder() / "resumed", quiet=True, minutes=1e-3)


def fuzz_vocabulary(source: Source) -> None:
    values = {"level": source.choice(("char", "word")), "symbols": list("abc é"), "rare": 2}
    try:
        vocabulary = Vocabulary.from_json(source.changed(values))
    except ValueError:
        return
    tokens = vocabulary.encode(source.text(40))
    assert all(0 <= token < len(vocabulary) for token in tokens)
    vocabulary.piece(source.integer(0, len(vocabulary) - 1), source.text(3))
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


def fuzz_text(source: Source) -> None:
    """Any bytes may be a text, and any text may be read, scored and written on from."""
    path = folder() / "any.txt"
    path.write_bytes(source.bytes(200) if source.one_in(2) else _surrogate_free(source.text(80)))
    try:
        text = read_documents([path])[0].text  # reads the file only now
    except ValueError as error:
        if str(path) not in str(error):
            raise
        text = source.text(80)
    for level in ("char", "word"):
        trained = model(level)
        lm.generate(trained, text, length=2, seed=0)
        lm.suggest(trained, text)
        if len(text):
            lm.evaluate(trained, text)
        built = Vocabulary.build([text], level, limit=source.integer(0, 20))
        assert built.join([text, ""]).max() < len(built)


def _surrogate_free(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def fuzz_options(source: Source) -> None:
    """Options of a run, and the architecture that a checkpoint describes."""
    names = sorted(option_types(lm.LanguageModelling))
    given = {source.choice(names): source.json(0) for _ in range(source.integer(0, 4))}
    with suppress(ValueError, TypeError):
        make_options(lm.LanguageModelling, given).budget()
    good = model("char").model
    config = source.changed(good.config)
    if isinstance(config, dict):
        with suppress(ValueError, TypeError, MemoryError):
            LanguageModel.from_parameters(config, good.parameters)
