"""The sizes of a stack of recurrent layers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .. import functional
from ._base import Layer
from ._checks import checked_size
from ._state import StateForm
from ._types import Array

Merge: TypeAlias = Literal["concat", "sum"]
"""How the outputs of two directions become those of a layer: side by side, or added."""


@dataclass(frozen=True)
class LayerSizes:
    """The sizes of one layer of a stack.

    Attributes:
        inputs: I of this layer.
        hidden: H.
        h: the columns of the state h: R of a cell that projects its output, else H.
        outputs: those of one step, of both directions together.
        residual: whether the layer's input is added to its output.
    """

    inputs: int
    hidden: int
    h: int
    outputs: int
    residual: bool

    def states(self, count: int) -> tuple[int, ...]:
        """The columns of each of a cell's states, h first."""
        return (self.h, *[self.hidden] * (count - 1))


def layer_sizes(
    where: str,
    info: functional.CellInfo,
    input_size: int,
    hidden_size: int | Sequence[int],
    num_layers: int,
    num_directions: int,
    *,
    proj_size: int,
    merge: Merge,
    residual: bool,
) -> Iterator[LayerSizes]:
    """Yields the sizes of each layer; arguments are those of `Recurrent`, checked here.

    One by one, so that a number of layers out of a file takes no memory before their parameters
    are seen.
    """
    smallest, hidden_sizes = _hidden_sizes(where, hidden_size, num_layers)
    proj_size = _checked_proj_size(where, proj_size, smallest, info)
    if merge not in ("concat", "sum"):
        raise ValueError(f"[{where}] expected merge to be concat or sum, got {merge!r}")
    if merge == "sum" and num_directions == 1:
        raise ValueError(f"[{where}] expected bidirectional=True with merge='sum', got False")
    any_added = False
    widths: list[str] = []
    inputs = checked_size(where, "input_size", input_size)
    for layer, hidden in enumerate(hidden_sizes):
        h = proj_size or hidden
        outputs = h if merge == "sum" else num_directions * h
        added = residual and layer > 0 and outputs == inputs
        yield LayerSizes(inputs, hidden, h, outputs, added)
        inputs, any_added = outputs, any_added or added
        widths.append(str(outputs))
    if residual and not any_added:
        raise ValueError(
            f"[{where}] expected a layer after the first with as many outputs as inputs for "
            f"residual=True, got layers of {', '.join(widths)} outputs"
        )


def _hidden_sizes(
    where: str, hidden_size: int | Sequence[int], num_layers: int
) -> tuple[int, Iterable[int]]:
    """The smallest H, and H of each layer."""
    count = checked_size(where, "num_layers", num_layers)
    if not isinstance(hidden_size, Sequence):
        hidden = checked_size(where, "hidden_size", hidden_size)
        return hidden, (hidden for _ in range(count))  # `repeat` takes no such number as 2**63
    if count not in (1, len(hidden_size)) or not hidden_size:
        raise ValueError(
            f"[{where}] expected a hidden_size for each of num_layers={count} layers, "
            f"got {len(hidden_size)}"
        )
    sizes = [checked_size(where, "hidden_size", each) for each in hidden_size]
    return min(sizes), sizes


def _checked_proj_size(
    where: str, proj_size: int, hidden_size: int, info: functional.CellInfo
) -> int:
    """Returns the columns of h of a cell that projects; 0 is all H, and all that others take."""
    most = hidden_size if info.projects else 0
    if not 0 <= proj_size <= most:
        bounds = f"0 .. {most}" if most else f"0 for the cell {info.name}"
        raise ValueError(f"[{where}] expected proj_size {bounds}, got {proj_size}")
    return int(proj_size)


class StackSizes(Layer):
    """A layer that knows the sizes of its outputs and states."""

    cell: str
    num_directions: int
    merge: Merge
    _layers: tuple[LayerSizes, ...]
    _form: StateForm

    @property
    def input_size(self) -> int:
        """I of the first layer."""
        return self._layers[0].inputs

    @property
    def hidden_size(self) -> int:
        """H, that of the last layer where widths differ."""
        return self._layers[-1].hidden

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """H of each layer."""
        return tuple(each.hidden for each in self._layers)

    @property
    def num_layers(self) -> int:
        """L."""
        return len(self._layers)

    @property
    def proj_size(self) -> int:
        """R where the cell projects its output, else 0; 0 also where it is each layer's own H."""
        sizes = {each.h for each in self._layers}
        projects = functional.cell_info(self.cell).projects
        return sizes.pop() if projects and len(sizes) == 1 else 0

    @property
    def residual(self) -> bool:
        """Whether a layer's input is added to its output where the widths agree."""
        return any(each.residual for each in self._layers)

    @property
    def output_size(self) -> int:
        """The size D*H of one step's output; D*R with a projection, without D where merge="sum"."""
        return self._layers[-1].outputs

    def check_state(self, state: Any, batch: int) -> None:
        """Raises ValueError or TypeError if `state` is none of this layer for a batch of B rows."""
        self._split(state, batch)

    def _split(self, state: object, batch: int, prefix: str = "") -> list[tuple[Array, ...] | None]:
        """The states of each scan; `prefix` is "d" for their gradients. See `StateForm.split`."""
        return self._form.split(self._where, state, batch, self.dtype, prefix)

    @property
    def _where(self) -> str:
        return type(self).__name__

    @property
    def _state_names(self) -> tuple[str, ...]:
        return self._form.names

    def _shapes(self, batch: int) -> list[tuple[int, int, int]]:
        """Those of the states as a caller has them."""
        return self._form.shapes(batch)
