"""States of stacked recurrent layers: between torch's stacked form and one tuple per scan."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from ._checks import check_array
from ._types import Array, DType

# A layer's state: one array for cells with a single state (GRU, RNN), a tuple otherwise (LSTM).
StateT = TypeVar("StateT")


def split_state(
    where: str,
    state: object,
    names: Sequence[str],
    shapes: Sequence[tuple[int, int, int]],
    dtype: DType,
) -> list[tuple[Array, ...] | None]:
    """Returns the states of each scan of a stack.

    Shapes: S scans (layers * directions), B batch, H hidden.

    Args:
        where: the layer, as error texts name it.
        state: None (every scan begins at zero), an array (S, B, H), or a tuple of such arrays.
        names: what the arrays are called, as ("h", "c").
        shapes: (S, B, H), of each array.
        dtype: dtype of the layer.

    Returns:
        for each of the S scans a tuple of (B, H) views, or None.

    Raises:
        ValueError, TypeError: the state is not of this form.
    """
    scans = shapes[0][0]
    if state is None:
        return [None] * scans
    arrays: Sequence[Array]
    if len(names) == 1:
        arrays = (cast(Array, state),)
    elif isinstance(state, tuple | list) and len(state) == len(names):
        arrays = state
    else:
        got = f"{len(state)} entries" if isinstance(state, tuple | list) else type(state).__name__
        raise TypeError(f"[{where}] expected state as a tuple ({', '.join(names)}), got {got}")
    for name, array, shape in zip(names, arrays, shapes, strict=True):
        text = f"state {name} of shape (layers*directions, B, H)"
        check_array(where, text, array, shape, dtype)
    return [tuple(array[k] for array in arrays) for k in range(scans)]


def stack_state(parts: Sequence[tuple[Array, ...]]) -> tuple[Array, ...]:
    """Copies the states of each scan, (B, H) each, to arrays (S, B, H): undoes `split_state`."""
    return tuple(np.stack(arrays) for arrays in zip(*parts, strict=True))


def join_state(parts: Sequence[tuple[Array, ...]]) -> tuple[Array, ...]:
    """`stack_state` of arrays that nobody writes any more: a single scan's are not copied."""
    if len(parts) == 1:
        return tuple(array[None] for array in parts[0])
    return stack_state(parts)


def as_state(arrays: tuple[Array, ...]) -> object:
    """Returns `arrays` in a layer's form: the array itself where there is only one."""
    return arrays[0] if len(arrays) == 1 else arrays


def state_arrays(state: Any) -> tuple[Array, ...]:
    """Returns the arrays of a layer's state: undoes `as_state`."""
    return state if isinstance(state, tuple) else (state,)


def map_state(function: Callable[[Array], Array], state: Any) -> Any:
    """Returns a state of the same form, made of what `function` returns of each array."""
    return as_state(tuple(map(function, state_arrays(state))))
