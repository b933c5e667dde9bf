"""Tables of series that tests write."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any


def write_table(path: Path, columns: dict[str, Any]) -> Path:
    """Writes columns by name as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path
