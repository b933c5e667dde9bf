"""A file of torch.save gives its tensors, and does nothing else, whatever is in it."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tolerances import assert_same_bits
from unrolled.interop.torch_file import read_state_dict

TORCH = 'pip install "unrolled[peers]"'


# Files by hand: the operations that torch writes, so that no torch is needed.


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(
    shape: tuple[int, ...],
    *,
    count: int,
    offset: int = 0,
    strides: tuple[int, ...] | None = None,
    kind: str = "FloatStorage",
    legacy: bool = False,
) -> bytes:
    """One over the storage "0" of `count` numbers."""
    if strides is None:
        strides = tuple(int(np.prod(shape[place + 1 :])) for place in range(len(shape)))
    pid = b"(" + text("storage") + name("torch", kind) + text("0") + text("cpu") + number(count)
    pid += (b"N" if legacy else b"") + b"tQ"
    hooks = name("collections", "OrderedDict") + b")R"
    arguments = pid + number(offset) + numbers(*shape) + numbers(*strides) + b"\x89" + hooks
    return name("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"


def described(*items: tuple[str, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in items) + b"u."


def zipped(
    pickled: bytes, data: bytes = b"", *, compression: int = zipfile.ZIP_STORED, **more: bytes
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("weights/data.pkl", pickled)
        archive.writestr("weights/data/0", data)
        for key, value in more.items():
            archive.writestr(f"weights/{key}", value)
    return file.getvalue()


def locked(archive: bytes) -> bytes:
    """With the flag of a password on every entry."""
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        parts = archive.split(signature)
        parts[1:] = [p[: place - 4] + b"\x01" + p[place - 3 :] for p in parts[1:]]
        archive = signature.join(parts)
    return archive


def moved(archive: bytes) -> bytes:
    """With a directory that says it lies behind its place, so that entries lie before the file."""
    end = archive.rindex(b"PK\x05\x06") + 16
    place = struct.unpack("<I", archive[end : end + 4])[0]
    return archive[:end] + struct.pack("<I", place + 1000) + archive[end + 4 :]


def legacy(pickled: bytes, data: bytes, count: int) -> bytes:
    header = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    first = b"".join(pickle.dumps(each, 2) for each in header)
    return first + pickled + pickle.dumps(["0"], 2) + struct.pack("<q", count) + data


def read(content: bytes, folder: Path) -> dict[str, Any]:
    path = folder / "weights.pth"
    path.write_bytes(content)
    return read_state_dict(path)


VALUES = np.arange(12, dtype=np.float32)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_files_of_both_formats(form: str, tmp_path: Path) -> None:
    old = form == "legacy"
    pickled = described(
        ("w", tensor((2, 3), count=12, legacy=old)),
        ("step", number(7)),
        ("inner", b"}" + text("t") + tensor((4, 2), count=12, offset=4, strides=(1, 4), legacy=old)
         + b"s"),
    )  # fmt: skip
    data = VALUES.tobytes()
    arrays = read(legacy(pickled, data, 12) if old else zipped(pickled, data), tmp_path)
    assert list(arrays) == ["w", "inner.t"]
    assert_same_bits(arrays["w"], VALUES[:6].reshape(2, 3))
    assert_same_bits(arrays["inner.t"], VALUES[4:].reshape(2, 4).T)


def test_bytes_in_the_other_order(tmp_path: Path) -> None:
    content = zipped(
        described(("w", tensor((12,), count=12))), VALUES.astype(">f4").tobytes(), byteorder=b"big"
    )
    assert_same_bits(read(content, tmp_path)["w"], VALUES)


def touch(path: Path) -> bytes:
    """A pickle that makes a file where it is loaded."""
    return b"\x80\x02}" + text("w") + name("os", "mkdir") + b"(" + text(str(path)) + b"tR" + b"s."


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_code_is_named_and_not_run(form: str, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    hostile = touch(trap)
    pickle.loads(hostile)  # it would
    trap.rmdir()
    with pytest.raises(ValueError, match=r"names os\.mkdir, which no tensor needs"):
        read(zipped(hostile) if form == "zip" else legacy(hostile, b"", 0), tmp_path)
    assert not trap.exists()


good = described(("w", tensor((12,), count=12)))
HOSTILE = {
    "a bomb of deflated zeros": (
        zipped(good, bytes(10_000_000), compression=zipfile.ZIP_DEFLATED),
        "larger than the file",
    ),
    "a view outside of its storage": (
        zipped(described(("w", tensor((3, 4), count=12, offset=1))), VALUES.tobytes()),
        "does not fit",
    ),
    "strides outside": (
        zipped(described(("w", tensor((3,), count=12, strides=(6,)))), VALUES.tobytes()),
        "does not fit",
    ),
    "a negative stride": (
        zipped(described(("w", tensor((3,), count=12, strides=(-1,)))), VALUES.tobytes()),
        "shape is none",
    ),
    "one number as many": (
        zipped(described(("w", tensor((2**30, 2**30), count=1, strides=(0, 0)))), bytes(4)),
        "does not fit",
    ),
    "a storage that is shorter than it says": (zipped(good, bytes(40)), "40 bytes, not 12"),
    "a missing storage": (
        zipped(good.replace(text("0"), text("1")), VALUES.tobytes()),
        "data/1 is missing",
    ),
    "an unknown storage": (zipped(good.replace(b"Float", b"Quint")), "QuintStorage"),
    "a memo of 30 GB": (zipped(b"\x80\x02}r\xff\xff\xff\xff."), "remembers more"),
    "a newer operation": (zipped(pickle.dumps({"w": 1}, 4)), "does FRAME"),
    "a name on the stack": (zipped(b"\x80\x02" + text("os") + text("mkdir") + b"\x93."), "does"),
    "a list": (zipped(b"\x80\x02]."), "expected a dict"),
    "a dict of itself": (zipped(b"\x80\x02}q\x00" + text("w") + b"h\x00s."), "twice"),
    "a tensor that is none": (
        zipped(described(("w", name("torch._utils", "_rebuild_tensor_v2") + b")R"))),
        "no storage",
    ),
    "names as tuples": (zipped(b"\x80\x02}(" + numbers(1) + tensor((1,), count=1) + b"u."), "tupl"),
    "no pickle": (zipped(b"hello"), "is no file of torch tensors"),
    "no file of torch": (b"GIF89a", "is no file of torch tensors"),
    "another legacy file": (pickle.dumps(12, 2) * 5, "neither of torch's formats"),
    "a legacy file cut": (legacy(good, VALUES.tobytes()[:-1], 12), "ends within the storage 0"),
    "a zip with a password": (locked(zipped(good, VALUES.tobytes())), "encrypted"),
    "a zip whose entries lie before it": (
        moved(zipped(good, VALUES.tobytes())),
        "is no file of torch tensors",
    ),
    "a zip of something else": (
        zipped(good).replace(b"data.pkl", b"data.txt"),
        "expected one data.pkl",
    ),
    "nothing": (b"", "is no file of torch tensors"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_other_files_are_refused(what: str, tmp_path: Path) -> None:
    content, expected = HOSTILE[what]
    with pytest.raises(ValueError, match=expected):
        read(content, tmp_path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_state_dict(tmp_path / "none.pth")


@given(st.booleans(), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4))
def test_damage_is_an_error_or_numbers(
    tmp_path_factory: pytest.TempPathFactory, old: bool, changes: list[tuple[int, int]]
) -> None:
    pickled = described(("w", tensor((3, 4), count=12, legacy=old)))
    data = VALUES.tobytes()
    content = bytearray(legacy(pickled, data, 12) if old else zipped(pickled, data))
    for place, value in changes:
        content[place % len(content)] = value
    try:
        arrays = read(bytes(content), tmp_path_factory.mktemp("damaged"))
    except ValueError as error:
        assert "is no file of torch tensors" in str(error)  # noqa: PT017
    else:
        assert all(array.size <= 12 for array in arrays.values())


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_it_is_torch_load(zip_format: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason=TORCH)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4))
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    kinds = (torch.float64, torch.float16, torch.int32, torch.int16, torch.int8, torch.uint8)
    values = {
        "model": module.state_dict(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "view": base[1:, ::2],
        "turned": base.T,
        "shared": base,
        "expanded": torch.ones(3).expand(1, 3),
        "empty": torch.zeros(0, 5),
        "scalar": torch.tensor(2.5),
        "flags": torch.tensor([True, False]),
        "narrow": torch.randn(5).bfloat16(),
        "kinds": {str(kind): torch.arange(3).to(kind) for kind in kinds},
        "epoch": 3,
        "note": "text",
        "rates": [0.1, None, True, (1, 2**40)],
    }
    path = tmp_path / "weights.pth"
    torch.save(values, path, _use_new_zipfile_serialization=zip_format)
    arrays = read_state_dict(path)
    loaded = torch.load(path)
    inner = OrderedDict((f"model.{key}", each) for key, each in loaded["model"].items())
    inner.update((f"kinds.{key}", each) for key, each in loaded["kinds"].items())
    expected = {key: each for key, each in loaded.items() if isinstance(each, torch.Tensor)} | inner
    assert set(arrays) == set(expected)
    for key, value in expected.items():
        wide = value.float() if value.dtype == torch.bfloat16 else value
        assert_same_bits(arrays[key], wide.detach().numpy(), key)
    assert np.shares_memory(arrays["shared"], arrays["turned"])
    with pytest.raises(ValueError, match="read-only"):
        arrays["shared"][0] = 1
