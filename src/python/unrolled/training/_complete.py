"""Which parts of a flat gradient are complete, while back-propagation is still under way."""

from collections import Counter
from collections.abc import Callable, Sequence

from unrolled.layers import FlatBuffer

#: Bytes below which a part waits for the end: a message of its own would cost more in latency
#: than it could hide (at 1 Gbit/s so many take about half a millisecond).
_SMALLEST = 1 << 16


class CompleteParts:
    """Hands out parts of a flat gradient in the order in which back-propagation completes them.

    It is the `GradientListener` of one update. Parts that lie side by side and are completed
    together are handed out as one. Vectors, at the end of the buffer, and other small parts are
    left for `rest`, which joins what lies side by side. The order follows from the model alone, so
    that it is the same on all ranks.

    Args:
        flat: the buffer of the model.
        hand_out: gets the place of each part, during the pullback that completed it.
    """

    def __init__(self, flat: FlatBuffer, hand_out: Callable[[slice], None]) -> None:
        self._flat = flat
        self._hand_out = hand_out
        self._expected: Counter[str] = Counter()
        self._done: set[str] = set()
        self._gone: list[slice] = []

    def expected(self, names: Sequence[str]) -> None:
        """A pullback will add to these gradients."""
        self._check(names)
        self._expected.update(names)

    def added(self, names: Sequence[str]) -> None:
        """A pullback has added to these gradients; hands out those that are complete now."""
        self._check(names)
        self._expected.subtract(names)
        complete = [name for name in names if self._expected[name] == 0]
        self._done.update(complete)
        matrices = self._flat.matrices.stop
        places = [self._flat.slices[name] for name in complete]
        for place in _joined([place for place in places if place.stop <= matrices]):
            if (place.stop - place.start) * self._flat.grads.itemsize >= _SMALLEST:
                self._gone.append(place)
                self._hand_out(place)

    def rest(self) -> list[slice]:
        """Returns the places of all that has not been handed out."""
        places, start = [], 0
        for place in sorted(self._gone, key=lambda place: int(place.start)):
            places.append(slice(start, place.start))
            start = place.stop
        places.append(slice(start, self._flat.grads.size))
        return [place for place in places if place.stop > place.start]

    def _check(self, names: Sequence[str]) -> None:
        late = [name for name in names if name in self._done]
        if late:
            raise RuntimeError(
                f"a pullback adds to the gradient of {', '.join(late)} after it was complete: "
                "every vjp of an update must come after Group.begin and before the first pullback"
            )


def _joined(places: Sequence[slice]) -> list[slice]:
    """Returns the places in ascending order, neighbours as one."""
    joined: list[slice] = []
    for place in sorted(places, key=lambda place: int(place.start)):
        if joined and joined[-1].stop == place.start:
            joined[-1] = slice(joined[-1].start, place.stop)
        else:
            joined.append(place)
    return joined
