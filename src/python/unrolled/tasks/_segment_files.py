"""Segments as text: lines, JSON, Praat's TextGrid."""

import json
from collections.abc import Sequence

from ._utterances import Segment


def as_lines(segments: Sequence[Segment]) -> str:
    """A line for each segment: start, end, probability, symbol."""
    return "\n".join(
        f"{s.start:9.3f} {s.end:9.3f}  {s.probability:.2f}  {s.symbol}" for s in segments
    )


def as_json(segments: Sequence[Segment]) -> str:
    """A list of objects with symbol, start and end in seconds, and probability."""
    rows = [
        {
            "symbol": s.symbol,
            "start": round(s.start, 4),
            "end": round(s.end, 4),
            "probability": round(s.probability, 4),
        }
        for s in segments
    ]
    return json.dumps(rows, ensure_ascii=False, indent=1)


def as_textgrid(segments: Sequence[Segment], seconds: float) -> str:
    """A tier of intervals over a sound of so many seconds, pauses as intervals without text."""
    intervals: list[tuple[float, float, str]] = []
    place = 0.0
    for segment in segments:
        if segment.start > place:
            intervals.append((place, segment.start, ""))
        intervals.append((segment.start, segment.end, segment.symbol))
        place = segment.end
    seconds = max(seconds, place)
    if seconds > place or not intervals:
        intervals.append((place, seconds, ""))
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {seconds:.6f}",
        "tiers? <exists>",
        "size = 1",
        "item []:",
        "    item [1]:",
        '        class = "IntervalTier"',
        '        name = "symbols"',
        "        xmin = 0",
        f"        xmax = {seconds:.6f}",
        f"        intervals: size = {len(intervals)}",
    ]
    for number, (start, end, symbol) in enumerate(intervals, 1):
        text = symbol.replace('"', '""')
        lines += [
            f"        intervals [{number}]:",
            f"            xmin = {start:.6f}",
            f"            xmax = {end:.6f}",
            f'            text = "{text}"',
        ]
    return "\n".join(lines)
