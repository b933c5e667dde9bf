"""What was computed of a video is read from disk, and again when file or settings change."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from processes import run_python
from unrolled.video import Frame, FrameCache, FrameSettings, Source, default_folder


class Maker:
    """Features of a file, of its size, and how often they were made."""

    def __init__(self, count: int = 3) -> None:
        self.made: list[str] = []
        self.count = count

    def __call__(self, source: Source, start: float, end: float | None) -> Iterator[Frame]:
        self.made.append(str(source))
        value = float(len(Path(str(source)).read_bytes()))
        for number in range(self.count):
            yield Frame(start + number / 10, np.array([value, number], np.float32))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip"
    path.write_bytes(b"12345")
    return path


def test_computed_once(clip: Path, tmp_path: Path) -> None:
    make = Maker()
    for _ in range(3):
        cache = FrameCache(tmp_path / "cache", {"model": "a"}, make)
        frames = cache.read(clip)
        np.testing.assert_array_equal(frames.images, [[5, 0], [5, 1], [5, 2]])
        np.testing.assert_array_equal(frames.times, [0.0, 0.1, 0.2])
    assert make.made == [str(clip)]
    assert frames.images.dtype == np.float32
    assert isinstance(frames.images, np.memmap)
    for array in frames:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_what_belongs_to_an_entry(clip: Path, tmp_path: Path) -> None:
    """File, times and key; a change of one of them computes anew."""
    make, folder = Maker(), tmp_path / "cache"
    cache = FrameCache(folder, {"model": "a"}, make)
    cache.read(clip)
    cache.read(clip, 1.0)
    cache.read(clip, 1.0, 2.0)
    assert cache.read(clip, 1.0).times[0] == 1.0
    FrameCache(folder, {"model": "b"}, make).read(clip)
    other = clip.with_name("other")
    other.write_bytes(b"12345")
    cache.read(other)
    assert len(make.made) == 5
    clip.write_bytes(b"123456")
    assert cache.read(clip).images[0, 0] == 6
    assert len(make.made) == 6
    os.utime(clip, (1, 1))  # as when another file of this size took its place
    cache.read(clip)
    assert len(make.made) == 7


def test_folders_of_images(tmp_path: Path) -> None:
    """A clip is its images: one more, or another one, is another clip."""

    def make(source: Source, start: float, end: float | None) -> Iterator[Frame]:
        for path in sorted(Path(str(source)).iterdir()):
            yield Frame(0.0, np.frombuffer(path.read_bytes(), np.uint8))

    folder = tmp_path / "images"
    folder.mkdir()
    cache = FrameCache(tmp_path / "cache", "", make)
    for data in ([b"a"], [b"a", b"b"], [b"a", b"c"]):
        for number, each in enumerate(data):
            path = folder / f"{number}.png"
            if not path.exists() or path.read_bytes() != each:
                path.write_bytes(each)
                os.utime(path, ns=(0, ord(each)))
        assert cache.read(folder).images.tobytes() == b"".join(data)


def test_files_that_are_damaged_are_made_again(clip: Path, tmp_path: Path) -> None:
    make = Maker()
    cache = FrameCache(tmp_path / "cache", "", make)
    cache.read(clip)
    (entry,) = (tmp_path / "cache").rglob("*.frames")
    whole = entry.read_bytes()
    for damaged in (b"", whole[:-1], whole[8:], b"x" * 100, whole[:-30] + whole[-25:]):
        entry.write_bytes(damaged)
        np.testing.assert_array_equal(cache.read(clip).images[:, 0], [5, 5, 5])
        assert entry.read_bytes() == whole
    assert len(make.made) == 6


def test_killed_while_it_wrote(clip: Path, tmp_path: Path) -> None:
    result = run_python(
        f"""
        import os, signal
        import numpy as np
        from unrolled.video import Frame, FrameCache
        def make(source, start, end):
            yield Frame(0.0, np.zeros(100_000, np.float32))
            os.kill(os.getpid(), signal.SIGKILL)
        FrameCache({str(tmp_path / "cache")!r}, "", make).read({str(clip)!r})
        """
    )
    assert result.returncode == -signal.SIGKILL
    cache = FrameCache(tmp_path / "cache", "", Maker())
    assert cache.read(clip).images.shape == (3, 2)
    (left,) = (tmp_path / "cache").rglob("*.partial")
    assert cache.clear() == 1
    assert left.exists()  # somebody may be writing it
    os.utime(left, (1, 1))
    assert cache.clear() == 1
    assert not left.exists()


def test_several_processes(tmp_path: Path) -> None:
    """Share a folder: each reads whole entries, whoever wrote them."""
    code = f"""
import numpy as np
from unrolled.video import Frame, FrameCache
def make(source, start, end):
    number = int(open(source).read())
    for step in range(50):
        yield Frame(step, np.full(1000, number, np.int32))
cache = FrameCache({str(tmp_path / "cache")!r}, "", make, limit=1_000_000)
for round in range(5):
    for number in range(8):
        frames = cache.read(f"{tmp_path}/{{number}}")
        assert frames.images.shape == (50, 1000)
        assert (frames.images == number).all()
"""
    for number in range(8):
        (tmp_path / str(number)).write_text(str(number))
    with ThreadPoolExecutor(3) as pool:
        for result in pool.map(run_python, [code] * 3):
            assert result.returncode == 0, result.stderr
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_the_limit_lets_go_what_was_not_read_for_long(tmp_path: Path) -> None:
    make = Maker(100)
    folder = tmp_path / "cache"
    paths = [tmp_path / str(number) for number in range(4)]
    for path in paths:
        path.write_bytes(b"1")
    one = FrameCache(folder, "", make)
    one.read(paths[0])
    size = one.size
    cache = FrameCache(folder, "", make, limit=3 * size + size // 2)
    for place, path in enumerate(paths[:3]):
        cache.read(path)
        for number, entry in enumerate(sorted(folder.rglob("*.frames"), key=os.path.getmtime)):
            os.utime(entry, (number, number))
        assert abs(cache.size - (place + 1) * size) < 100  # names differ in length
    cache.read(paths[0])  # now the second was not read for the longest time
    cache.read(paths[3])
    made = len(make.made)
    for path in (paths[0], paths[2], paths[3]):
        cache.read(path)
    assert len(make.made) == made
    cache.read(paths[1])
    assert len(make.made) == made + 1


def test_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("UNROLLED_VIDEO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "unrolled" / "video"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert default_folder() == Path.home() / ".cache" / "unrolled" / "video"
    monkeypatch.setenv("UNROLLED_VIDEO_CACHE", str(tmp_path / "own"))
    assert FrameCache(None, "", Maker()).folder == tmp_path / "own"
    assert FrameCache(tmp_path / "given", "", Maker()).folder == tmp_path / "given"


def test_errors(clip: Path, tmp_path: Path) -> None:
    """Leave nothing behind."""

    def fails(source: Source, start: float, end: float | None) -> Iterator[Frame]:
        yield Frame(0.0, np.zeros(2))
        raise RuntimeError("out of luck")

    def differs(source: Source, start: float, end: float | None) -> Iterator[Frame]:
        yield Frame(0.0, np.zeros(2))
        yield Frame(0.0, np.zeros(3))

    def text(source: Source, start: float, end: float | None) -> Iterator[Frame]:
        yield Frame(0.0, np.array(["a"]))

    folder = tmp_path / "cache"
    for make, kind, message in (
        (fails, RuntimeError, "out of luck"),
        (differs, ValueError, r"one shape and type, got \(2,\) of float64, then \(3,\)"),
        (text, ValueError, "cannot be kept"),
        (Maker(0), ValueError, "no frames were made"),
    ):
        with pytest.raises(kind, match=message):
            FrameCache(folder, "", make).read(clip)
    assert not [path for path in folder.rglob("*") if path.is_file()]
    cache = FrameCache(folder, "", Maker())
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        cache.read(tmp_path / "none")
    with pytest.raises(ValueError, match="got an array"):
        cache.read(np.zeros((1, 2, 2, 1), np.uint8))
    with pytest.raises(ValueError, match="limit of 1 byte or more"):
        FrameCache(folder, "", Maker(), limit=0)
    with pytest.raises(TypeError, match="values that JSON knows"):
        FrameCache(folder, {"model": object()}, Maker())


def test_frames_of_videos(tmp_path: Path) -> None:
    pytest.importorskip("av", reason='pip install "unrolled[video]"')
    from unrolled.video import read_frames
    from videos import numbered, write_video

    paths = [write_video(tmp_path / f"{number}.mkv", numbered(10)) for number in range(3)]
    settings = FrameSettings(16, 24, rate=12.5)
    cache = FrameCache.of(settings, tmp_path / "cache")
    assert sorted(cache.fill(paths)) == paths
    for path in paths:
        expected = read_frames(path, settings)
        for kept, read in zip(cache.read(path), expected, strict=True):
            np.testing.assert_array_equal(kept, read)
    assert len(list((tmp_path / "cache").rglob("*.frames"))) == 3
    with pytest.raises(FileNotFoundError):
        list(cache.fill([*paths, tmp_path / "none"]))
    assert cache.clear(everything=True) == 3
