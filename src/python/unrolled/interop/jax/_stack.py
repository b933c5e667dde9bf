"""Parameters of a stack of layers, as a tree of torch-named arrays, and the checks of arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import functional
from ..._extras import import_extra
from ...layers._sizes import LayerSizes
from ...layers._specs import recurrent_specs

jax: Any = import_extra("jax", "jax")


@dataclass(frozen=True)
class Stack:
    """Parameters by layer and direction.

    Attributes:
        layers: of each layer one or two directions of the cell's parameters, in the order of
            `functional.PARAMETERS`; biases that are not among the parameters are zero.
        state_sizes: the columns of each state, H but for h of a cell that projects it.
    """

    layers: list[list[tuple[Any, ...]]]
    state_sizes: tuple[int, ...]

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


def read_stack(
    where: str, cell: functional.CellInfo, params: Any, inputs: int, dtype: Any
) -> Stack:
    """How many layers and directions there are, the names of the parameters tell."""
    if not isinstance(params, Mapping):
        raise TypeError(
            f"[{where}] expected params as a dict of arrays (weight_ih_l0, weight_hh_l0, ...), "
            f"got {type(params).__name__}"
        )
    directions = 2 if "weight_ih_l0_reverse" in params else 1
    count = 1
    while f"weight_ih_l{count}" in params:
        count += 1
    arrays = {name: as_array(where, name, params[name]) for name in sorted(params)}
    hidden, outputs = _sizes(where, cell, arrays)
    layers = []
    for layer in range(count):
        read = inputs if layer == 0 else directions * outputs
        sizes = LayerSizes(read, hidden, outputs, directions * outputs, False)
        layers.append([*recurrent_specs(cell, layer, sizes, directions, bias=True)])
    specs = [spec for layer in layers for scan in layer for spec in scan.values()]
    missing = {s.name for s in specs if not s.role.endswith("bias")} - {*params}
    unknown = {*params} - {s.name for s in specs}
    if missing or unknown:
        first = ", ".join(spec.name for spec in layers[0][0].values())
        raise ValueError(
            f"[{where}] expected params with torch's names for {count} layer(s) and "
            f"{directions} direction(s): {first}, ...; "
            f"missing: {', '.join(sorted(missing)) or 'none'}, "
            f"unknown: {', '.join(sorted(unknown)) or 'none'}"
        )
    for layer, scans in enumerate(layers):
        letters = _letters(cell, layer)
        for key, spec in ((key, spec) for scan in scans for key, spec in scan.items()):
            array = arrays.setdefault(spec.name, jax.numpy.zeros(spec.shape, dtype))
            check(where, f"{spec.name} of shape {letters[key]}", array, spec.shape, dtype)
    return Stack(
        [[tuple(arrays[s.name] for s in scan.values()) for scan in scans] for scans in layers],
        (outputs, *[hidden] * (len(cell.states) - 1)),
    )


def _sizes(where: str, cell: functional.CellInfo, arrays: Mapping[str, Any]) -> tuple[int, int]:
    """H, and the columns R of h, out of the first layer's parameters; 1 where they are missing."""
    name = "weight_hr" if cell.projects else "weight_hh" if cell.recurrent else "weight_ih"
    array = arrays.get(f"{name}_l0")
    if array is None:
        return 1, 1
    rows, columns = array.shape if array.ndim == 2 else (0, 0)
    hidden = columns if name != "weight_ih" else rows // len(cell.gates)
    outputs = rows if cell.projects else hidden
    if not 1 <= outputs <= hidden:
        needed = "1 <= R <= H" if cell.projects else "H >= 1"
        raise ValueError(
            f"[{where}] expected {name}_l0 of shape {_letters(cell, 0)[name]} with {needed}, "
            f"got {array.shape}"
        )
    return hidden, outputs


def _letters(cell: functional.CellInfo, layer: int) -> dict[str, str]:
    """The shapes of parameters, for errors."""
    h = "R" if cell.projects else "H"
    return {
        "weight_ih": "(G*H, I)" if layer == 0 else f"(G*H, D*{h})",
        "weight_hh": f"(G*H, {h})",
        "bias_ih": "(G*H,)",
        "bias_hh": "(G*H,)",
        "weight_unit": "(P*H,)",
        "weight_hr": "(R, H)",
    }


def read_states(
    where: str,
    names: Sequence[str],
    state: Any,
    shape: tuple[int, ...],
    sizes: Sequence[int],
    dtype: Any,
) -> list[Any]:
    """The arrays of a state, zeros for None: (layers*directions, B), then the columns of each."""
    if state is None:
        return [jax.numpy.zeros((*shape, size), dtype) for size in sizes]
    given: Sequence[Any] = (state,) if len(names) == 1 else state
    if not isinstance(given, tuple | list) or len(given) != len(names):
        raise TypeError(
            f"[{where}] expected state as a tuple ({', '.join(names)}), got {type(state).__name__}"
        )
    arrays = []
    for name, one, size in zip(names, given, sizes, strict=True):
        array = as_array(where, f"state {name}", one)
        letter = "H" if size == sizes[-1] else "R"
        text = f"state {name} of shape (layers*directions, B, {letter})"
        check(where, text, array, (*shape, size), dtype)
        arrays.append(array)
    return arrays
