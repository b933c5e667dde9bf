"""Files in the `.ts` format are read as they are written, or refused with the line and a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tolerances import assert_same_bits
from unrolled.tasks.series.ts_format import TsFile, read_ts

HEADER = """\
# Vowels, as an archive would have them.
%  Another comment, in another style.

@problemName Two vowels
@timeStamps false
@missing true
@univariate false
@dimensions 2
@equalLength false
@classLabel true one two
@data
"""


def read(folder: Path, text: str | bytes) -> TsFile:
    path = folder / "some.ts"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_ts(path)


def test_ragged_series_of_several_channels(tmp_path: Path) -> None:
    file = read(tmp_path, HEADER + "0.5,-7,2e-3:1.0,1.5,1.25:one\n\n# between\n 3 , 4:5,6 : two \n")
    assert file.labels == ["one", "two"]
    assert_same_bits(file.series[0], np.array([[0.5, -7.0, 2e-3], [1.0, 1.5, 1.25]]))
    assert_same_bits(file.series[1], np.array([[3.0, 4.0], [5.0, 6.0]]))


def test_missing_values_are_nan(tmp_path: Path) -> None:
    file = read(tmp_path, HEADER + "?,2,NaN:nan, ? ,3:one\n")
    expected = [[np.nan, 2.0, np.nan], [np.nan, np.nan, 3.0]]
    np.testing.assert_array_equal(file.series[0], expected)


def test_headers_in_any_form(tmp_path: Path) -> None:
    """Tags in any case and order, with tabs, a byte order mark or Windows' ends of lines."""
    text = "@CLASSLABEL\tTRUE a b\r\n@dimension 1\r\n@path x\r\n@Data\r\n1,2:a\r\n3:b\r\n"
    file = read(tmp_path, b"\xef\xbb\xbf" + text.encode())
    assert file.labels == ["a", "b"]
    assert [each.shape for each in file.series] == [(1, 2), (1, 1)]
    assert read(tmp_path, "@data\n1,2:3,4:5\n").labels == ["5"]  # a header may be short
    latin = "# caf\xe9\n".encode("latin-1") + b"@data\n1:a\n"
    assert read(tmp_path, latin).labels == ["a"]


def test_labels_are_texts(tmp_path: Path) -> None:
    header = "@classLabel true 'a class' \"it's: odd\" 1 1.0 Été\n@data\n"
    lines = "1:'a class'\n1:\"it's: odd\"\n1:1\n1:1.0\n1:Été\n1:a class\n"
    labels = read(tmp_path, header + lines).labels
    assert labels == ["a class", "it's: odd", "1", "1.0", "Été", "a class"]


def test_a_file_without_labels(tmp_path: Path) -> None:
    file = read(tmp_path, "@classLabel false\n@data\n1,2:3,4\n5:6\n")
    assert file.labels is None
    assert [each.tolist() for each in file.series] == [[[1.0, 2.0], [3.0, 4.0]], [[5.0], [6.0]]]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,2:3,4,5:one", "channel 1 has 2 values and channel 2 has 3: .* same length"),
        ("1,2:one", "expected 2 channels, got 1"),
        ("1:2:3:one", "expected 2 channels, got 3"),
        ("1,inf:3,4:one", r"value 2 of channel 1 is infinite \(inf\): write \?"),
        ("1,2:-1e999,4:one", r"value 1 of channel 2 is infinite \(-1e999\)"),
        ("1,x:3,4:one", "value 2 of channel 1 is 'x', not a number; what is missing"),
        ("1,:3,4:one", "value 2 of channel 1 is '', not a number"),
        ("(0,1),(1,2):(0,3),(1,4):one", r"value 1 of channel 1 is '\(0', not a number"),
        ("1,2:3,4:three", "the class 'three' is none of @classLabel: one, two"),
        ("1,2:3,4:", "expected a class behind the last colon"),
        ("1,2", "expected a class behind the last colon"),
    ],
)
def test_lines_that_will_not_do(line: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"some\.ts, line 13: {reason}"):
        read(tmp_path, HEADER + "1:2:one\n" + line + "\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no line @data"),
        ("@problemName x\n", "has no line @data, so it is no .ts file, or is cut off"),
        ("@data\n", "has no series behind @data"),
        ("@\n", "has no line @data"),
        ("a,b\n1,2\n", "line 1: expected a line that begins with @"),
        ("@timeStamps true\n@data\n(0,1):a\n", "has time stamps .* with @timeStamps false"),
        ("@targetLabel true\n@data\n1:0.5\n", "numbers to predict .* regression"),
        ("@univariate true\n@data\n1:2:a\n", "line 3: expected 1 channels, got 2"),
        ("@univariate maybe\n@data\n", "expected @univariate true or false, got 'maybe'"),
        ("@dimensions many\n@data\n", "expected @dimensions and a number, got 'many'"),
        ("@classLabel perhaps\n@data\n", "expected @classLabel true or false, got 'perhaps'"),
        ("@equalLength true\n@data\n1,2:a\n1:a\n", "line 4: expected 2 steps, .* got 1"),
        (
            "@equalLength true\n@seriesLength 3\n@data\n1,2:a\n",
            r"line 4: expected 3 steps, as the header says \(@equalLength\), got 2",
        ),
        (b"@data\n1:\xe9\n", "line 2 is not UTF-8 text: byte 0xe9; convert"),
    ],
)
def test_files_that_will_not_do(text: str | bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"some\.ts.*{reason}"):
        read(tmp_path, text)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.ts"):
        read_ts(tmp_path / "none.ts")
    with pytest.raises(ValueError, match=r"is a folder: give the \.ts file itself"):
        read_ts(tmp_path)
