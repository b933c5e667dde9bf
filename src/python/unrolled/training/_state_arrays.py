"""The state of a run as named arrays, and back.

The arrays of a carry have the rows of all ranks.
"""

from collections.abc import Mapping

from unrolled.layers._place import Place, move

from ._group import Group
from ._types import Array, Carry

_NAME = "carry"


def carry_arrays(carry: Carry, group: Group) -> dict[str, Array]:
    """Returns a carry as arrays by name: none, one, or one for each part. All ranks call it."""
    if carry is None:
        return {}
    if isinstance(carry, tuple):
        return {f"{_NAME}.{index}": group.gather(part) for index, part in enumerate(carry)}
    return {_NAME: group.gather(carry)}


def on_host(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Returns the same arrays, or copies of those that lie on a device."""
    return {name: move(array, "cpu") for name, array in arrays.items()}


def carry_of(arrays: Mapping[str, Array], group: Group, place: Place = "cpu") -> Carry:
    """Returns this rank's share of the carry that `carry_arrays` made arrays of; a copy there.

    Raises:
        ValueError: its rows cannot be divided evenly among the ranks.
    """
    if _NAME in arrays:
        return move(group.share(arrays[_NAME]).copy(), place)
    count = sum(name.startswith(_NAME + ".") for name in arrays)
    parts = (arrays[f"{_NAME}.{index}"] for index in range(count))
    return tuple(move(group.share(part).copy(), place) for part in parts) or None


def part_of(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """Returns the arrays whose names begin with `prefix`, under the rest of their names."""
    return {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}
