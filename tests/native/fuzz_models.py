"""Checkpoints of tasks other than language models, changed: each answers, or says why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from native.fuzz_files import changed_checkpoint, folder
from native.source import Source
from sounds import write_words
from unrolled.tasks import classification, forecasting, keywords, phonemes, translation
from unrolled.training import CheckpointError
from utterances import write_utterances

_TINY: Mapping[str, Any] = {"steps": 2, "quiet": True, "batch": 4, "validations": 1}


def _keywords(output: Any) -> None:
    words = write_words(folder() / "words", 4)
    keywords.train(words, output=output, hidden=4, bands=8, augment=False, **_TINY)


def _phonemes(output: Any) -> None:
    said = write_utterances(folder() / "said", 12)
    phonemes.train(said, output=output, hidden=4, layers=1, bands=8, augment=False, **_TINY)


def _translation(output: Any) -> None:
    for name, words in (("source", "a b c"), ("target", "x y z")):
        lines = [" ".join(words.split()[: 1 + n % 3]) for n in range(40)]
        (folder() / name).write_text("\n".join(lines) + "\n")
    translation.train(
        source=str(folder() / "source"), target=str(folder() / "target"), output=output,
        tokens="word", min_count=1, hidden=4, embedding=3, **_TINY,
    )  # fmt: skip


def _forecasting(output: Any) -> None:
    forecasting.train(_table(), output=output, horizon=2, context=4, hidden=4, **_TINY)


def _classification(output: Any) -> None:
    path = folder() / "series.ts"
    lines = [f"{n},{n + 1},{-n}:{'xy'[n % 2]}" for n in range(40)]
    path.write_text("@univariate true\n@classLabel true x y\n@data\n" + "\n".join(lines) + "\n")
    classification.train(path, output=output, hidden=4, **_TINY)


def _table() -> Any:
    path = folder() / "table.csv"
    days = np.arange(np.datetime64("2024-01-01"), np.datetime64("2024-03-01"))
    path.write_text("date,y\n" + "".join(f"{day},{n % 7}\n" for n, day in enumerate(days)))
    return path


_SOUND = np.sin(np.arange(4000.0), dtype=np.float32)

#: How a model is made, and what is done with one that loads.
_TASKS: Mapping[str, tuple[Callable[[Any], None], Callable[[Any], Any]]] = {
    "keywords": (_keywords, lambda path: keywords.load(path)(_SOUND)),
    "phonemes": (_phonemes, lambda path: phonemes.load(path)(_SOUND)),
    "translation": (
        _translation,
        lambda path: translation.load(path).translate(["a b", "d"], width=2),
    ),
    "forecasting": (_forecasting, lambda path: forecasting.load(path).predict(_table())),
    "classification": (
        _classification,
        lambda path: classification.load(path)(np.ones((1, 5), np.float32)),
    ),
}


@cache
def _checkpoint(task: str) -> bytes:
    path = folder() / f"{task}.safetensors"
    _TASKS[task][0](path)
    _TASKS[task][1](path)
    return path.read_bytes()


def fuzz_models(source: Source) -> None:
    """What is no model is a CheckpointError; one that loads answers, or refuses with a ValueError.

    MemoryError is an answer, too: of settings that ask for more than there is.
    """
    task = source.choice(sorted(_TASKS))
    path = folder() / "changed-model.safetensors"
    path.write_bytes(changed_checkpoint(source, _checkpoint(task)))
    # Figures in a file may be as large as numbers are.
    with np.errstate(all="ignore"), suppress(CheckpointError, ValueError, MemoryError):
        _TASKS[task][1](path)
