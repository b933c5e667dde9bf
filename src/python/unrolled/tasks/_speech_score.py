"""How well speech was recognised: which symbols, and where."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ._edit_distance import error_rate, matches
from ._spoken import Spoken
from ._utterances import Segment


def boundary_errors(
    said: Sequence[Sequence[Segment]], heard: Sequence[Sequence[Segment]]
) -> NDArray[np.float64]:
    """Returns by how many seconds starts and ends of recognised segments miss the true ones.

    Which segment is which follows from the shortest edit from what was said to what was heard.
    """
    misses = []
    for truth, found in zip(said, heard, strict=True):
        for i, j in matches([s.symbol for s in truth], [s.symbol for s in found]):
            misses += [abs(truth[i].start - found[j].start), abs(truth[i].end - found[j].end)]
    return np.array(misses)


def error_lines(spoken: Spoken, heard: Sequence[Sequence[Segment]]) -> Iterator[str]:
    """Yields the error rate of the symbols and, where the truth has times, that of boundaries."""
    rate = error_rate(spoken.symbols, [[s.symbol for s in row] for row in heard])
    yield f"errors     {rate:.2%} of the symbols of {len(heard):,} utterances"
    misses = 1000 * boundary_errors(spoken.segments, heard)
    if misses.size:
        yield (
            f"boundaries {np.median(misses):.0f} ms (median), {misses.mean():.0f} ms (mean) off, "
            f"of {misses.size // 2:,} symbols that were recognised"
        )
