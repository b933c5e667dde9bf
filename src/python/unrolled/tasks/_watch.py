"""A bar for what takes long before training begins."""

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

from unrolled.training import import_extra

ItemT = TypeVar("ItemT")


def watched(items: Sequence[ItemT], what: str) -> Iterable[ItemT]:
    """Goes through items and shows how far it is, on a terminal; the bar is gone at the end."""
    if not sys.stderr.isatty():
        return items
    progress = import_extra("rich.progress", "train")
    console = import_extra("rich.console", "train").Console(stderr=True)
    bar: Iterable[ItemT] = progress.track(items, what, console=console, transient=True)
    return bar
