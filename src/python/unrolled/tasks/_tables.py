"""Tables of sounds, or videos, with something said of each."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

ItemT = TypeVar("ItemT")

#: Names of the column of files.
_FILE_COLUMNS = ("file", "path")

#: Endings of sound files that are taken from folders; a table may name any.
SOUND_ENDINGS = frozenset((".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au"))


def read_sources(
    sources: Sequence[Path],
    of_folder: Callable[[Path], Iterable[ItemT]],
    of_table: Callable[[Path], Iterable[ItemT]],
) -> list[ItemT]:
    """Returns what the two functions find in folders and in tables.

    Raises:
        FileNotFoundError: a source is not there.
    """
    found: list[ItemT] = []
    for source in sources:
        if source.is_dir():
            found += of_folder(source)
        elif source.is_file():
            found += of_table(source)
        else:
            raise FileNotFoundError(f"no folder or table {str(source)!r}")
    return found


def table_columns(table: Path) -> frozenset[str]:
    """Returns the names in the first line of a CSV or TSV file.

    Raises:
        ValueError: it is no CSV file in UTF-8.
    """
    with table.open(encoding="utf-8-sig", newline="") as lines, _understood(table):
        return frozenset(next(csv.reader(lines, delimiter=_delimiter(table)), ()))


def _delimiter(table: Path) -> str:
    return "\t" if table.suffix.lower() == ".tsv" else ","


def read_rows(
    table: Path, *columns: str, optional: Sequence[str] = ()
) -> Iterator[tuple[int, Path, tuple[str, ...]]]:
    """Yields the number of each line of a table, its file, and what stands in `columns`.

    Values stand between commas, of a .tsv file between tabs. The column of files is `file` or
    `path`; they are relative to the table, and may be folders. Values of the optional columns
    follow, "" where the table has none.

    Raises:
        FileNotFoundError: a file in the table is not there.
        ValueError: it lacks a column, or is no CSV file in UTF-8.
    """
    with table.open(encoding="utf-8-sig", newline="") as lines, _understood(table):
        # What a short line lacks is empty.
        rows = csv.DictReader(lines, restval="", delimiter=_delimiter(table))
        names = rows.fieldnames or ()
        files = [name for name in _FILE_COLUMNS if name in names]
        if not files or not set(columns) <= set(names):
            missing = ",".join(("file", *columns))
            raise ValueError(f"{table} has no columns {missing} in its first line")
        for row in rows:
            path = table.parent / row[files[0]]
            if not row[files[0]] or not path.exists():
                raise FileNotFoundError(f"{table}, line {rows.line_num}: no file {str(path)!r}")
            values = *(row[column] for column in columns), *(row.get(c, "") for c in optional)
            yield rows.line_num, path, values


@contextmanager
def _understood(table: Path) -> Iterator[None]:
    try:
        yield
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} is no CSV file in UTF-8: {error}") from error
