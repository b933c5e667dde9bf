"""Tables of series and of words, damaged."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from native.source import Source
from unrolled.tasks._dictionary import Dictionary
from unrolled.tasks.series.data import Columns, read_panel
from unrolled.tasks.series.ts_format import read_ts

_CSV = (
    "date,series,load,heat\n2024-01-01,a,1.5,2\n2024-01-02,a,,3\n2024-01-03,a,2.5,4\n"
    "2024-01-01,b,1e3,2\n2024-01-02,b,-7,3\n2024-01-03,b,2.5,4\n",
    "time;y\n2024-01-01T00:00;1\n2024-01-01T01:00;2\n2024-01-01T02:00;3\n",
    "y\n1\n2\n3\n",
)
_TS = (
    "@problemName a\n@univariate true\n@classLabel true x y\n@data\n1,2,3:x\n3,2,1:y\n",
    "@univariate false\n@dimensions 2\n@equalLength false\n@classLabel false\n@data\n1,2:3,4\n"
    "5,?,6:7,8,9\n",
)
_WORDS = "HELLO  HH AH0 L OW1\nHELLO(2)  HH EH0 L OW1\n;;; a remark\nworld W ER1 L D\n"


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="unrolled-fuzz-"))


def _damaged(source: Source, name: str, text: str) -> Path:
    path = _folder() / name
    path.write_bytes(source.damaged(text.encode()))
    return path


def _check_named(path: Path, error: ValueError, *others: str) -> None:
    assert any(text in str(error) for text in (str(path), *others)), error


def fuzz_table(source: Source) -> None:
    """What is no table of series is a ValueError; else there are numbers of one length."""
    path = _damaged(source, "table.csv", source.choice(_CSV))
    series = source.choice((None, "series"))
    try:
        panel = read_panel(path, Columns(series=series, targets=source.choice(((), ("y",)))))
    except ValueError as error:
        _check_named(path, error, "column")
        return
    for each in panel.series:
        assert np.asarray(each.targets).dtype == np.float64


def fuzz_ts(source: Source) -> None:
    """What is no .ts file is a ValueError that names it."""
    path = _damaged(source, "series.ts", source.choice(_TS))
    try:
        found = read_ts(path)
    except ValueError as error:
        _check_named(path, error)
        return
    assert found.labels is None or len(found.labels) == len(found.series)
    assert len({len(each) for each in found.series}) == 1
    assert all(each.shape[1] >= 1 for each in found.series)


def fuzz_dictionary(source: Source) -> None:
    """What is no dictionary is a ValueError that names it; the rest is read again as it is."""
    path = _damaged(source, "words.dict", _WORDS)
    try:
        found = Dictionary.read(path)
    except ValueError as error:
        _check_named(path, error)
        return
    assert Dictionary.parse(found.text).entries == found.entries
