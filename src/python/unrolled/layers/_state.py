"""States of stacked recurrent layers: between callers' arrays and one tuple per scan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeVar, cast

import numpy as np

from ._checks import check_array
from ._types import Array, DType

# A layer's state: one array for cells with a single state (GRU, RNN), a tuple otherwise (LSTM).
StateT = TypeVar("StateT")


@dataclass(frozen=True)
class StateForm:
    """How the states of all scans of a stack lie in the arrays that callers have.

    There is one array for each state of the cell: (L*D, B, H), one scan after the other as torch
    has them; where layers differ in width, (D, B, H_1 + ... + H_L), one layer beside the other.

    Attributes:
        names: what the arrays are called, as ("h", "c").
        sizes: of each layer, the columns of each state.
        directions: D.
    """

    names: tuple[str, ...]
    sizes: tuple[tuple[int, ...], ...]
    directions: int

    @property
    def scans(self) -> int:
        """L*D."""
        return len(self.sizes) * self.directions

    @property
    def _stacked(self) -> bool:
        return len({*self.sizes}) == 1

    def shapes(self, batch: int) -> list[tuple[int, int, int]]:
        """The shape of each array for B rows."""
        columns = [*zip(*self.sizes, strict=True)]
        if self._stacked:
            return [(self.scans, batch, of[0]) for of in columns]
        return [(self.directions, batch, sum(of)) for of in columns]

    def split(
        self, where: str, state: object, batch: int, dtype: DType, prefix: str = ""
    ) -> list[tuple[Array, ...] | None]:
        """Returns the states of each scan.

        Args:
            where: the layer, as error texts name it.
            state: None, an array, or a tuple of arrays, as a caller has them.
            batch: B.
            dtype: dtype of the layer.
            prefix: stands before the names, as "d" for gradients.

        Returns:
            for each of the L*D scans a tuple of (B, H) arrays, C-contiguous, or None.

        Raises:
            ValueError, TypeError: the state is not of this form.
        """
        if state is None:
            return [None] * self.scans
        names = [prefix + name for name in self.names]
        arrays: Sequence[Array]
        if len(names) == 1:
            arrays = (cast(Array, state),)
        elif isinstance(state, tuple | list) and len(state) == len(names):
            arrays = state
        else:
            many = isinstance(state, tuple | list)
            got = f"{len(cast(Any, state))} entries" if many else type(state).__name__
            raise TypeError(f"[{where}] expected state as a tuple ({', '.join(names)}), got {got}")
        letters = "layers*directions, B, H" if self._stacked else "directions, B, sum of H"
        for name, array, shape in zip(names, arrays, self.shapes(batch), strict=True):
            check_array(where, f"state {name} of shape ({letters})", array, shape, dtype)
        if self._stacked:
            return [tuple(array[scan] for array in arrays) for scan in range(self.scans)]
        ends = [*accumulate(self.sizes, _sums)]
        return [
            tuple(
                array[direction, :, last - size : last].copy()
                for array, last, size in zip(arrays, end, sizes, strict=True)
            )
            for end, sizes in zip(ends, self.sizes, strict=True)
            for direction in range(self.directions)
        ]

    def stack(self, parts: Sequence[tuple[Array, ...]]) -> tuple[Array, ...]:
        """Copies the states of each scan, (..., H) each, to a caller's arrays: undoes `split`."""
        columns = [*zip(*parts, strict=True)]
        if not self._stacked:
            ways = range(self.directions)
            columns = [
                tuple(np.concatenate(of[way :: self.directions], axis=-1) for way in ways)
                for of in columns
            ]
        return tuple(np.stack(of) for of in columns)

    def join(self, parts: Sequence[tuple[Array, ...]]) -> tuple[Array, ...]:
        """`stack` of arrays that nobody writes any more: a single scan's are not copied."""
        if len(parts) == 1:
            return tuple(array[None] for array in parts[0])
        return self.stack(parts)


def _sums(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(sum, zip(a, b, strict=True)))


def as_state(arrays: tuple[Array, ...]) -> object:
    """Returns `arrays` in a layer's form: the array itself where there is only one."""
    return arrays[0] if len(arrays) == 1 else arrays


def state_arrays(state: Any) -> tuple[Array, ...]:
    """Returns the arrays of a layer's state: undoes `as_state`."""
    return state if isinstance(state, tuple) else (state,)


def map_state(function: Callable[[Array], Array], state: Any) -> Any:
    """Returns a state of the same form, made of what `function` returns of each array."""
    return as_state(tuple(map(function, state_arrays(state))))
