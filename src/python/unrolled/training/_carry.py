"""The carry of a run as named arrays, and back."""

from collections.abc import Mapping

from ._types import Array, Carry

_NAME = "carry"


def carry_arrays(carry: Carry) -> dict[str, Array]:
    """Returns a carry as arrays by name: none, one, or one for each part."""
    if carry is None:
        return {}
    if isinstance(carry, tuple):
        return {f"{_NAME}.{index}": part for index, part in enumerate(carry)}
    return {_NAME: carry}


def carry_of(arrays: Mapping[str, Array]) -> Carry:
    """Returns the carry that `carry_arrays` made arrays of, among others; a copy."""
    if _NAME in arrays:
        carry: Array = arrays[_NAME].copy()
        return carry
    count = sum(name.startswith(_NAME + ".") for name in arrays)
    return tuple(arrays[f"{_NAME}.{index}"].copy() for index in range(count)) or None
