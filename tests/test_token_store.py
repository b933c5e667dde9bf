"""Token stores: what goes in comes out, little of it is in memory, and damage is noticed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes import run_python
from unrolled.training import StreamBatches, TokenStore, TokenStoreError, write_tokens

DOCUMENTS = [list(range(start, start + length)) for start, length in ((0, 7), (290, 10), (5, 0))]


def write(path: Path, documents: Any = DOCUMENTS, size: int = 300) -> TokenStore:
    with write_tokens(path, size=size, metadata={"näme": [1, None]}) as writer:
        for document in documents:
            writer.append(np.array(document, np.int64))
            writer.end_document()
    return TokenStore(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "a.tokens")
    return tmp_path / "a.tokens"


@given(st.lists(st.lists(st.integers(0, 299), max_size=30), max_size=8))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]]) -> None:
    path = tmp_path_factory.mktemp("store") / "a.tokens"
    store = write(path, documents)
    assert len(store) == len(documents)
    assert [store.document(index).tolist() for index in range(len(store))] == documents
    assert store.tokens.tolist() == [token for document in documents for token in document]
    assert (store.size, store.metadata) == (300, {"näme": [1, None]})
    store.verify()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_documents_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "a.tokens"
    with write_tokens(path, size=10) as writer:
        writer.append(np.array([1, 2]))
        writer.append(np.array([3]))
        writer.end_document()
        writer.append(np.array([4]))  # its end is that of the block
        writer.metadata["tokens"] = writer.tokens
    store = TokenStore(path)
    assert store.starts.tolist() == [0, 3, 4]
    assert store.metadata == {"tokens": 4}
    for index in (-1, 2):
        with pytest.raises(IndexError, match="there are 2 documents"):
            store.document(index)


@pytest.mark.parametrize(
    ("size", "dtype"), [(1, "u1"), (256, "u1"), (257, "<u2"), (1 << 16, "<u2"), (70_000, "<u4")]
)
def test_the_smallest_type(tmp_path: Path, size: int, dtype: str) -> None:
    store = write(tmp_path / "a.tokens", [[size - 1, 0]], size)
    assert store.tokens.dtype == np.dtype(dtype)
    assert store.tokens.tolist() == [size - 1, 0]


def test_numpy_reads_the_tokens(path: Path) -> None:
    tokens = np.load(path, mmap_mode="r")
    assert tokens.tolist() == [token for document in DOCUMENTS for token in document]


def test_tokens_cannot_be_changed(path: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        TokenStore(path).tokens[0] = 1


def test_the_checksum_identifies_the_tokens(path: Path) -> None:
    crc32 = TokenStore(path).crc32
    assert write(path).crc32 == crc32
    assert write(path, [[1]]).crc32 != crc32
    assert write(path, [*DOCUMENTS, []]).crc32 != crc32


def test_truncated_anywhere(path: Path) -> None:
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(TokenStoreError, match=r"a\.tokens"):
            TokenStore(path)


@pytest.mark.filterwarnings("ignore:Reading `.npy`")  # NumPy, of a header it can half read
def test_flipped_bits(path: Path) -> None:
    store = TokenStore(path)
    tokens, starts = store.tokens.copy(), store.starts.copy()  # the file will change
    whole, unnoticed = path.read_bytes(), []
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        try:
            damaged_store = TokenStore(path)
            damaged_store.verify()
        except TokenStoreError:
            continue
        unnoticed.append(position)
        np.testing.assert_array_equal(damaged_store.tokens, tokens)
        np.testing.assert_array_equal(damaged_store.starts, starts)
    assert len(unnoticed) < len(whole) / 10, "letters of the metadata at most"


def rewritten(path: Path, **values: Any) -> None:
    """Changes what the metadata of a store say."""
    with path.open("rb") as file:
        parts = [np.load(file) for _ in range(3)]
    header = {**json.loads(bytes(parts[2])), **values}
    parts[2] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with path.open("wb") as file:
        for part in parts:
            np.save(file, part)


def test_foreign_and_newer_files(path: Path) -> None:
    rewritten(path, version=1)
    TokenStore(path).verify()
    for values, text in (
        ({"version": 2}, "format version 2, .* pip install -U unrolled"),
        ({"format": "other"}, "no token store of unrolled"),
        ({"metadata": None}, "is damaged: its metadata"),
    ):
        write(path)
        rewritten(path, **values)
        with pytest.raises(TokenStoreError, match=text):
            TokenStore(path)
    for array in (np.zeros(9), np.zeros((2, 2), np.uint8), np.zeros(0, np.uint8)):
        with path.open("wb") as file:
            np.save(file, array)
        with pytest.raises(TokenStoreError, match="no token store"):
            TokenStore(path)
    path.write_text("plain text\n" * 100)
    with pytest.raises(TokenStoreError, match="no token store"):
        TokenStore(path)
    with pytest.raises(TokenStoreError, match="is a folder"):
        TokenStore(path.parent)
    with pytest.raises(FileNotFoundError, match=r"no file .*missing"):
        TokenStore(path.parent / "missing.tokens")


def test_nothing_in_a_file_is_code(path: Path) -> None:
    class Boom:
        def __reduce__(self) -> Any:
            return sys.exit, ()

    with path.open("wb") as file:
        np.save(file, np.array([Boom()], object), allow_pickle=True)
    with pytest.raises(TokenStoreError, match="an array of object"):
        TokenStore(path)


def test_the_old_file_survives_a_failed_write(path: Path) -> None:
    before = path.read_bytes()

    def documents() -> Iterator[list[int]]:
        yield [1, 2]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write(path, documents())
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write(path.parent / "no" / "a.tokens")


def test_bad_tokens(tmp_path: Path) -> None:
    for tokens, text in (
        (np.array([0, 300]), r"tokens in 0\.\.299, got 0\.\.300"),
        (np.array([-1]), "got -1"),
        (np.array([0.5]), "integer tokens"),
        (np.zeros((2, 2), int), "of shape"),
    ):
        with (
            pytest.raises(ValueError, match=text),
            write_tokens(tmp_path / "a.tokens", size=300) as writer,
        ):
            writer.append(tokens)
    with (
        pytest.raises(ValueError, match="size >= 1, got 0"),
        write_tokens(tmp_path / "a.tokens", size=0),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_batches_of_a_store_are_those_of_its_array(tmp_path: Path) -> None:
    store = write(tmp_path / "a.tokens", np.random.default_rng(0).integers(0, 300, (5, 100)))
    options: dict[str, Any] = {"batch_size": 3, "steps": 8, "seed": 1}
    mapped = StreamBatches(store.tokens, **options, fingerprint=store.crc32)
    array = StreamBatches(np.array(store.tokens), **options, fingerprint=store.crc32)
    for _ in range(50):
        np.testing.assert_array_equal(mapped.next().tokens, array.next().tokens)
    assert mapped.state() == array.state()
    with pytest.raises(ValueError, match="the data are not those"):
        StreamBatches(store.tokens, **options, fingerprint=7).load_state(mapped.state())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems limit memory otherwise")
def test_a_store_larger_than_memory(tmp_path: Path) -> None:
    """200 MB are written, gone through and checked by a process that may have 64 MB more."""
    code = """
        import resource, sys
        import numpy as np
        from unrolled.training import StreamBatches, TokenStore, write_tokens

        used = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (used + (64 << 20),) * 2)
        chunk = np.arange(1_000_000) % 1000
        with write_tokens(sys.argv[1], size=1000) as writer:
            for _ in range(100):
                writer.append(chunk)
        store = TokenStore(sys.argv[1])
        assert store.tokens.nbytes == 200_000_000
        batches = StreamBatches(
            store.tokens, batch_size=64, steps=1 << 12, seed=0, fingerprint=store.crc32
        )
        count = 0
        while batches.epoch < 1.0:
            batch = batches.next()
            count += batch.tokens.size
            assert (batch.targets == (batch.tokens + 1) % 1000).all()
            batches.state()
        assert count > store.tokens.size - (64 << 12)
        store.verify()
        try:
            np.array(store.tokens)
        except MemoryError:
            print("it does not fit")
    """
    code = code.replace("sys.argv[1]", repr(str(tmp_path / "large.tokens")))
    done = run_python(code, timeout=300)
    assert (done.returncode, done.stdout) == (0, "it does not fit\n"), done.stderr
