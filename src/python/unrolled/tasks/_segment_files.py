"""Segments as text: lines, JSON, Praat's TextGrid."""

import json
from collections.abc import Sequence
from typing import Any

from ._utterances import Segment


def as_lines(segments: Sequence[Segment]) -> str:
    """A line for each segment: start, end, probability, symbol."""
    return "\n".join(
        f"{s.start:9.3f} {s.end:9.3f}  {s.probability:.2f}  {s.symbol}" for s in segments
    )


def as_json(segments: Sequence[Segment]) -> str:
    """A list of objects with symbol, start and end in seconds, and probability.

    Words have a list of their phonemes, alike.
    """
    return json.dumps([_plain(s) for s in segments], ensure_ascii=False, indent=1)


def _plain(segment: Segment) -> dict[str, Any]:
    values: dict[str, Any] = {
        "symbol": segment.symbol,
        "start": round(segment.start, 4),
        "end": round(segment.end, 4),
        "probability": round(segment.probability, 4),
    }
    if segment.parts:
        values["phonemes"] = [_plain(part) for part in segment.parts]
    return values


def as_textgrid(segments: Sequence[Segment], seconds: float) -> str:
    """Tiers of intervals over a sound of so many seconds, pauses as intervals without text.

    A tier of symbols; or two, of words and of phonemes.
    """
    tiers = {"symbols": list(segments)}
    if any(segment.parts for segment in segments):
        tiers = {"words": list(segments), "phonemes": [p for s in segments for p in s.parts]}
    seconds = max([seconds, *(segment.end for segment in segments)])
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {seconds:.6f}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, tier) in enumerate(tiers.items(), 1):
        lines += [f"    item [{number}]:", *_tier(name, tier, seconds)]
    return "\n".join(lines)


def _tier(name: str, segments: Sequence[Segment], seconds: float) -> list[str]:
    intervals: list[tuple[float, float, str]] = []
    place = 0.0
    for segment in segments:
        if segment.start > place:
            intervals.append((place, segment.start, ""))
        intervals.append((segment.start, segment.end, segment.symbol))
        place = segment.end
    if seconds > place or not intervals:
        intervals.append((place, seconds, ""))
    lines = [
        '        class = "IntervalTier"',
        f'        name = "{name}"',
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
    return lines
