"""Two contenders a row, as a table in Markdown."""

from __future__ import annotations

from unrolled.bench._timing import Timing


def print_header(theirs: str, ours: str) -> None:
    print(f"| | {theirs} | {ours} | ratio | of the best | spread |\n|---|---|---|---|---|---|")


def print_row(name: str, theirs: Timing, ours: Timing) -> None:
    """Medians in milliseconds, their ratio, that of the fastest calls, and both spreads."""
    print(
        f"| {name} | {theirs.median * 1e3:.3f} | {ours.median * 1e3:.3f} "
        f"| {theirs.median / ours.median:.2f} | {theirs.best / ours.best:.2f} "
        f"| {theirs.spread:.0%}, {ours.spread:.0%} |",
        flush=True,
    )
