"""Parameters of a stack of layers, as a tree of torch-named arrays, and the checks of arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import functional
from ..._extras import import_extra

jax: Any = import_extra("jax", "jax")

_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True)
class Stack:
    """Parameters by layer and direction.

    Attributes:
        layers: of each layer one or two directions of (weight_ih, weight_hh, bias_ih, bias_hh);
            biases that are not among the parameters are zero.
        hidden_size: H.
        dtype: float32 or float64.
    """

    layers: list[list[tuple[Any, ...]]]
    hidden_size: int
    dtype: Any

    @property
    def directions(self) -> int:
        return len(self.layers[0])


def as_array(where: str, name: str, value: Any) -> Any:
    """`value` as JAX's array, of the dtype that it has already."""
    given = value if hasattr(value, "dtype") else np.asarray(value)
    array = jax.numpy.asarray(given)
    if array.dtype != given.dtype and given.dtype == np.float64:
        raise TypeError(
            f"[{where}] expected {name} of dtype float32 (float64 needs "
            f'jax.config.update("jax_enable_x64", True)), got float64'
        )
    return array


def check(where: str, text: str, array: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Raises unless `array` has this shape and dtype; `text` is as "x of shape (T, B, I)"."""
    if array.shape != shape:
        raise ValueError(f"[{where}] expected {text} = {shape}, got {array.shape}")
    if array.dtype != dtype:
        name = text.split(" of shape")[0]
        raise TypeError(f"[{where}] expected {name} of dtype {dtype}, got {array.dtype}")


def read_stack(where: str, cell: str, params: Any, inputs: int, dtype: Any) -> Stack:
    """How many layers and directions there are, the names of the parameters tell."""
    if not isinstance(params, Mapping):
        raise TypeError(
            f"[{where}] expected params as a dict of arrays (weight_ih_l0, weight_hh_l0, ...), "
            f"got {type(params).__name__}"
        )
    suffixes = ["", "_reverse"] if "weight_ih_l0_reverse" in params else [""]
    count = 1
    while f"weight_ih_l{count}" in params:
        count += 1
    names = {
        f"{name}_l{layer}{suffix}"
        for layer in range(count)
        for suffix in suffixes
        for name in _NAMES
    }
    missing = {name for name in names if name.startswith("weight")} - {*params}
    if missing or {*params} - names:
        raise ValueError(
            f"[{where}] expected params with torch's names for {count} layer(s) and "
            f"{len(suffixes)} direction(s): weight_ih_l0, weight_hh_l0, bias_ih_l0, ...; "
            f"missing: {', '.join(sorted(missing)) or 'none'}, "
            f"unknown: {', '.join(sorted({*params} - names)) or 'none'}"
        )
    arrays = {name: as_array(where, name, params[name]) for name in sorted(params)}
    hidden = arrays["weight_hh_l0"].shape[-1] if arrays["weight_hh_l0"].ndim == 2 else 0
    if hidden < 1:
        raise ValueError(
            f"[{where}] expected weight_hh_l0 of shape (G*H, H) with H >= 1, "
            f"got {arrays['weight_hh_l0'].shape}"
        )
    rows = len(functional.cell_info(cell).gates) * hidden
    layers = []
    for layer in range(count):
        read = inputs if layer == 0 else len(suffixes) * hidden
        shapes = ((rows, read), (rows, hidden), (rows,), (rows,))
        letters = ("(G*H, I)" if layer == 0 else "(G*H, D*H)", "(G*H, H)", "(G*H,)", "(G*H,)")
        directions = []
        for suffix in suffixes:
            own = []
            for short, shape, text in zip(_NAMES, shapes, letters, strict=True):
                name = f"{short}_l{layer}{suffix}"
                array = arrays.get(name)
                if array is None:
                    array = jax.numpy.zeros(shape, dtype)
                check(where, f"{name} of shape {text}", array, shape, dtype)
                own.append(array)
            directions.append(tuple(own))
        layers.append(directions)
    return Stack(layers, hidden, dtype)


def read_states(where: str, cell: str, state: Any, shape: tuple[int, ...], dtype: Any) -> list[Any]:
    """The arrays of a state, zeros for None, each (layers*directions, B, H)."""
    names = functional.cell_info(cell).states
    if state is None:
        return [jax.numpy.zeros(shape, dtype)] * len(names)
    given: Sequence[Any] = (state,) if len(names) == 1 else state
    if not isinstance(given, tuple | list) or len(given) != len(names):
        raise TypeError(
            f"[{where}] expected state as a tuple ({', '.join(names)}), got {type(state).__name__}"
        )
    arrays = []
    for name, one in zip(names, given, strict=True):
        array = as_array(where, f"state {name}", one)
        check(where, f"state {name} of shape (layers*directions, B, H)", array, shape, dtype)
        arrays.append(array)
    return arrays
