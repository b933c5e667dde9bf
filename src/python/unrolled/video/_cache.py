"""Frames, or what was computed of them, kept on disk between runs."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from ._arrays import image_paths
from ._cache_file import read_entry, write_entry
from ._files import Frame, Frames, Source, stream_frames
from ._settings import FrameSettings

#: What makes the frames of a source between two times, the second None = its end.
Maker = Callable[[Source, float, float | None], Iterable[Frame]]

#: The environment variable that names the folder of caches.
FOLDER_VARIABLE = "UNROLLED_VIDEO_CACHE"

#: Seconds after which a file that somebody began to write is left over from a crash.
_LEFT_OVER = 24 * 3600.0


def default_folder() -> Path:
    """Returns where caches lie: what `UNROLLED_VIDEO_CACHE` names, else a folder of the user's.

    That is `unrolled/video` in `XDG_CACHE_HOME`, else in `~/.cache`.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "unrolled" / "video"


class FrameCache:
    """Frames or features of many videos, each computed once::

        cache = FrameCache.of(FrameSettings(40, 80, colour=False))
        frames = cache.read("clip.mp4")          # decoded the first time, then mapped from disk

    What is kept belongs to a file as it is now, by path, size and time of change, and to `key`; a
    file that changed is computed again. Entries are written aside and take their names when they
    are whole, so a crash leaves none by halves, and several processes may share a folder: where two
    compute the same at once, one result stays. Arrays are mapped into memory, read only. A map
    holds a file open: keep paths and read again rather than thousands of arrays.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        key: object,
        make: Maker,
        *,
        limit: int = 32 * 2**30,
    ) -> None:
        """Opens a cache; its folder is made when there is something to keep.

        Args:
            folder: where it lies, shared by all keys; None = `default_folder()`.
            key: what the frames depend on besides the file, in values that JSON knows: settings,
                the hash of a model.
            make: computes them: images (H, W, C) or features (F,), of one shape and type.
            limit: bytes of the folder, all keys together; beyond it goes what was not read for the
                longest time. It should hold all that one run reads.

        Raises:
            ValueError: limit is no positive number of bytes.
        """
        if not limit > 0:
            raise ValueError(f"[FrameCache] expected a limit of 1 byte or more, got {limit!r}")
        self.folder = default_folder() if folder is None else Path(folder)
        self._make = make
        self._limit = limit
        self._own = self.folder / _hash(key)
        self._bytes: int | None = None

    @classmethod
    def of(
        cls,
        settings: FrameSettings,
        folder: str | os.PathLike[str] | None = None,
        *,
        limit: int = 32 * 2**30,
    ) -> "FrameCache":
        """Returns the cache of frames as `stream_frames` yields them with these settings."""

        def make(source: Source, start: float, end: float | None) -> Iterator[Frame]:
            return stream_frames(source, settings, start=start, end=end)

        return cls(folder, {"frames": settings.to_json()}, make, limit=limit)

    def read(self, source: Source, start: float = 0.0, end: float | None = None) -> Frames:
        """Returns the frames of a source, computed now if they are not there.

        Args:
            source: a file, a folder of images or a sequence of image files.
            start: seconds at which to begin.
            end: seconds at which to stop; None = at the end.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the source is an array, which has no name; or nothing, or frames of
                different shapes, were made. And whatever making them raises.
        """
        paths = _paths(source)
        stamp = _stamp(paths)
        names = [str(path.absolute()) for path in paths]
        path = self._own / f"{_hash([names, float(start), end])}.frames"
        kept = read_entry(path, stamp)
        if kept is not None:
            with contextlib.suppress(FileNotFoundError):  # somebody else made room
                os.utime(path)  # it was read: among the last to go
            return kept
        self._own.mkdir(parents=True, exist_ok=True)
        made = write_entry(path, stamp, self._make(source, start, end), str(paths[0]))
        self._make_room(path)
        return made

    def fill(self, sources: Sequence[Source], threads: int = 2) -> Iterator[Source]:
        """Computes what is not there, on several threads; yields each source when it is done.

        Raises: as `read`, at the first source that does, when those that were begun are done.
        """
        with ThreadPoolExecutor(max(threads, 1)) as pool:
            running = {pool.submit(self._read_and_forget, source): source for source in sources}
            try:
                for done in as_completed(running):
                    done.result()
                    yield running[done]
            finally:
                for each in running:
                    each.cancel()

    def _read_and_forget(self, source: Source) -> None:
        self.read(source)

    @property
    def size(self) -> int:
        """Bytes of the folder, all keys together."""
        return sum(size for _, size, _ in _entries(self.folder))

    def clear(self, *, everything: bool = False) -> int:
        """Removes the entries of this key, or of all; returns how many. What is mapped stays."""
        removed = 0
        for path, _, _ in _entries(self.folder if everything else self._own):
            path.unlink(missing_ok=True)
            removed += 1
        self._bytes = None
        return removed

    def _make_room(self, newest: Path) -> None:
        """Counts what was added; removes what was not read for long where it is too much."""
        if self._bytes is not None:
            with contextlib.suppress(FileNotFoundError):  # somebody else made room
                self._bytes += newest.stat().st_size
            if self._bytes <= self._limit:
                return
        # Others write here, too: what is in the folder counts.
        entries = sorted((used, size, path) for path, size, used in _entries(self.folder))
        self._bytes = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if self._bytes <= self._limit:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                self._bytes -= size


def _entries(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Path, bytes and time of last use of all entries below a folder, and of what a crash left."""
    now = time.time()
    for path in folder.rglob("*"):
        if path.suffix in (".frames", ".partial"):
            try:
                facts = path.stat()
            except FileNotFoundError:  # somebody else removed it
                continue
            if path.suffix == ".frames" or now - facts.st_mtime > _LEFT_OVER:
                yield path, facts.st_size, facts.st_mtime


def _paths(source: Source) -> list[Path]:
    """The file, or the image files, of a source; a folder comes first."""
    if isinstance(source, np.ndarray):
        raise ValueError("[FrameCache] expected a file, a folder or image files, got an array")
    if not isinstance(source, (str, os.PathLike)):
        return [Path(each) for each in source]
    path = Path(source)
    return [path, *image_paths(path)] if path.is_dir() else [path]


def _stamp(paths: Sequence[Path]) -> str:
    """What changes when one of the files does; raises FileNotFoundError if one is not there."""
    facts = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"no file or folder {str(path)!r}")
        stat = path.stat()
        facts.append([stat.st_size, stat.st_mtime_ns])
    return _hash(facts)


def _hash(values: object) -> str:
    text = json.dumps(values, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"[FrameCache] expected a key of values that JSON knows, got {value!r}")
