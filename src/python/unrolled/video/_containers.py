"""Pictures out of whatever FFmpeg reads, one at a time."""

import errno
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from .._extras import import_extra
from ._errors import DamagedVideoWarning, VideoError
from ._sampling import Picture

#: A picture may have so many pixels, three of 8K; decoders hold some twenty of them.
MOST_PIXELS = 100_000_000

#: Seconds; some files begin before 0.
_FOREVER = Fraction(10**9)

#: Kinds of files that FFmpeg opens but that are no video: lists of other files and addresses, which
#: it would go to, devices, and text as a terminal would show it.
_NO_VIDEO = {
    *("applehttp", "concat", "concatf", "dash", "hls", "imf", "rtp", "rtsp", "sap", "sdp"),
    *("alsa", "fbdev", "iec61883", "jack", "kmsgrab", "lavfi", "oss", "pulse", "sndio", "v4l2"),
    *("video4linux2", "webm_dash_manifest", "x11grab", "adf", "bin", "idf", "tty", "xbin"),
}

#: A video that ends earlier than its file announces, by more than both, was cut off: seconds, and a
#: part of it. Sound and picture need not be of quite the same length.
_SHORT_SECONDS, _SHORT_PART = 1.0, 0.05


def decode(path: Path, start: Fraction, threads: int) -> Generator[Picture, None, None]:
    """Yields the pictures of a file.

    Times count from the beginning of the file, which is where its first stream begins. A picture
    without a time follows the one before it.

    Args:
        path: the file.
        start: seconds; what comes well before need not be decoded, but may be.
        threads: of the decoder; 0 = as many as it likes.

    Raises:
        VideoError: it is no video, has no pictures, or has pictures that are too large.
    """
    av = import_extra("av", "video")
    with _opened(av, path) as container:
        stream = _picture_stream(av, container, path)
        stream.codec_context.thread_count = threads
        stream.thread_type = "AUTO" if threads != 1 else "SLICE"
        if start > 0:
            _seek(av, container, stream, start)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        length = 1 / (stream.average_rate or stream.guessed_rate or Fraction(25))
        origin = Fraction(container.start_time or 0, av.time_base)
        clock, damage = stream.time_base, _Damage(path)
        before: Fraction = -_FOREVER
        following: Fraction | None = None
        for frame in _frames(av, container, stream, damage):
            time = following or Fraction(0)
            if frame.pts is not None:
                time = max(frame.pts * clock - origin, before)
            damage.parts += frame.is_corrupt and time >= start
            before, shown = time, (frame.duration or 0) * clock or length
            following = time + shown
            yield Picture(time, frame, shown, aspect)
        if following is None and start == 0:
            raise VideoError(
                f"{path} holds no picture that can be decoded: it is damaged, or the beginning of "
                "a video alone"
            )
        announced = float(Fraction(container.duration or 0, av.time_base))
        damage.warn(announced, announced if following is None else float(following))


class _Damage:
    """How much of a file could not be decoded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts = 0

    def warn(self, announced: float, found: float) -> None:
        """Says so, at the end of a file that should be so many seconds long and is."""
        what = f"{self.parts} part(s) of it could not be decoded" if self.parts else ""
        if announced - found > max(_SHORT_SECONDS, _SHORT_PART * announced):
            what = f"its pictures end after {found:.1f} of {announced:.1f} s"
        if what:
            warnings.warn(
                f"{self.path} is damaged or cut off: {what}; the other frames were kept",
                DamagedVideoWarning,
                stacklevel=2,
            )


@contextmanager
def _opened(av: Any, path: Path) -> Iterator[Any]:
    options = {
        "format_whitelist": ",".join(sorted(av.formats_available - _NO_VIDEO)),
        "protocol_whitelist": "file,crypto,data",
    }
    try:
        # An absolute path, since "a:b" would name a protocol.
        container = av.open(str(path.absolute()), metadata_errors="replace", options=options)
    except (av.error.FFmpegError, ValueError) as error:
        refused = getattr(error, "errno", None) == errno.EINVAL
        reason = "text or a list of other files" if refused else _reason(error)
        raise VideoError(
            f"{path} is no video that can be read ({reason}); files of FFmpeg's kinds can, as MP4, "
            "MKV, WebM, MOV, AVI, GIF, PNG and JPEG; one whose copying broke off may lack the "
            "table that tells where its pictures are: copy it again"
        ) from error
    with container:
        yield container


def _picture_stream(av: Any, container: Any, path: Path) -> Any:
    marks = av.stream.Disposition
    streams = [s for s in container.streams.video if not s.disposition & marks.attached_pic]
    if not streams:
        kinds = " and ".join(sorted({each.type for each in container.streams}))
        raise VideoError(
            f"{path} holds no video, only {kinds}: give a file with pictures"
            if kinds
            else f"{path} is damaged or cut off, nothing in it can be read: copy it again"
        )
    stream = max(streams, key=lambda each: (bool(each.disposition & marks.default), -each.index))
    if stream.codec_context is None:
        raise VideoError(f"{path} is of a kind for which FFmpeg here has no decoder")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MOST_PIXELS:
        raise VideoError(
            f"{path} has pictures of {width:,} x {height:,} pixels, more than {MOST_PIXELS:,}: "
            "make it smaller first, as by ffmpeg -i IN -vf scale=1920:-2 OUT"
        )
    # Sizes may change within a file; the decoder, which counts its padding, then refuses.
    stream.codec_context.options = {"max_pixels": str(2 * MOST_PIXELS)}
    return stream


def _seek(av: Any, container: Any, stream: Any, start: Fraction) -> None:
    """Goes to the last picture before `start` that decodes by itself, or to the first one."""
    place = int(start / stream.time_base) + (stream.start_time or 0)
    try:
        container.seek(place, stream=stream, backward=True)
    except av.error.FFmpegError:
        container.seek(0)


def _frames(av: Any, container: Any, stream: Any, damage: _Damage) -> Iterator[Any]:
    """What decodes; parts that do not are counted and left out, as players do."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            damage.parts += 1
            packet = None
        damage.parts += packet is not None and packet.is_corrupt
        try:
            frames = stream.codec_context.decode(packet)
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            damage.parts += 1
            frames = ()
        yield from frames
        if packet is None:
            return


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
