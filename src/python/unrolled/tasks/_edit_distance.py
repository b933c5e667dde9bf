"""How many symbols differ between two sequences."""

from collections import deque
from collections.abc import Hashable, Iterator, Sequence


def _rows(first: Sequence[Hashable], second: Sequence[Hashable]) -> Iterator[list[int]]:
    """Yields, for i = 0 .. all, the distances of the first i symbols from each beginning of second.

    Source: Levenshtein 1966; row by row, Wagner and Fischer 1974.
    """
    row = list(range(len(second) + 1))
    yield row
    for i, a in enumerate(first, 1):
        above, row = row, [i]
        for j, b in enumerate(second, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b)))
        yield row


def edit_distance(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Returns the least number of insertions, deletions and substitutions from one to the other."""
    (last,) = deque(_rows(first, second), maxlen=1)
    return last[-1]


def matches(first: Sequence[Hashable], second: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Returns the places (i, j) of equal symbols on a shortest way from one to the other."""
    rows = list(_rows(first, second))
    i, j, found = len(first), len(second), []
    while i and j:
        if rows[i][j] == rows[i - 1][j - 1] + (first[i - 1] != second[j - 1]):
            i, j = i - 1, j - 1
            if first[i] == second[j]:
                found.append((i, j))
        elif rows[i][j] == rows[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
    return found[::-1]


def error_rate(said: Sequence[Sequence[Hashable]], heard: Sequence[Sequence[Hashable]]) -> float:
    """Returns all edits of pairs of sequences as a part of the symbols that were said."""
    edits = sum(edit_distance(a, b) for a, b in zip(said, heard, strict=True))
    return edits / max(sum(len(a) for a in said), 1)
