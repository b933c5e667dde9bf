"""Frames at the ticks of a clock, from pictures at any times."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from ._errors import VideoError

#: Seconds between two pictures of one video; a longer gap is a damaged clock, not a slow video.
LONGEST_GAP = 24 * 3600


class Picture(NamedTuple):
    """A picture as it was stored.

    Attributes:
        time: when it is shown, in seconds.
        image: what a `Scaler` reads, or an array.
        length: seconds for which it is shown; 0 = not known.
        aspect: width by height of its pixels.
    """

    time: Fraction
    image: Any
    length: Fraction = Fraction(0)
    aspect: Fraction = Fraction(1)


def sample(
    pictures: Iterable[Picture],
    rate: float | None,
    start: Fraction,
    end: Fraction | None,
    name: str,
) -> Iterator[Picture]:
    """Yields pictures of the time from `start` until before `end`; two are held at a time.

    With a rate it is, at each tick, the picture whose time is nearest, the earlier of two; times
    are those of the ticks. The first tick is `start`, or the first picture if that comes later. The
    last is no later than half a picture's length behind the last picture.

    Args:
        pictures: in the order of time.
        rate: ticks a second; None: pictures as they are.
        start: seconds.
        end: seconds; None: all the rest.
        name: of the video, for errors.

    Raises:
        VideoError: the time jumps by a day.
    """
    if rate is None:
        for picture in pictures:
            if end is not None and picture.time >= end:
                return
            if picture.time >= start or not start:  # a file may begin a little before 0
                yield picture
        return
    # The nearest simple fraction, so that ticks meet pictures exactly where they should.
    step = 1 / Fraction(rate).limit_denominator(10_000)
    before: Picture | None = None
    tick, shown = start, Fraction(0)
    for picture in pictures:
        if before is None:
            tick = max(start, picture.time)
        else:
            shown = picture.time - before.time
            if shown > LONGEST_GAP:
                raise VideoError(
                    f"{name} is damaged: its time jumps from {float(before.time):.1f} to "
                    f"{float(picture.time):.1f} s; without a rate it can be read"
                )
            while 2 * tick <= before.time + picture.time:
                if end is not None and tick >= end:
                    return
                yield before._replace(time=tick)
                tick += step
        before = picture
    if before is None:
        return
    last = before.time + (before.length or shown) / 2
    while tick <= last and (end is None or tick < end):
        yield before._replace(time=tick)
        tick += step
