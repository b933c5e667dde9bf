"""The sizes of a stack of recurrent layers."""

from typing import Any

from .. import functional
from ._base import Layer
from ._state import split_state
from ._types import Array


class StackSizes(Layer):
    """A layer that knows the sizes of its outputs and states."""

    hidden_size: int
    proj_size: int
    """R where the cell projects its output, else 0."""
    num_layers: int
    num_directions: int
    _state_names: tuple[str, ...]

    @property
    def output_size(self) -> int:
        """The size D*H of one step's output; D*R with a projection."""
        return self.num_directions * self._width

    def check_state(self, state: Any, batch: int) -> None:
        """Raises ValueError or TypeError if `state` is none of this layer for a batch of B rows."""
        self._split(state, batch)

    def _split(self, state: object, batch: int, prefix: str = "") -> list[tuple[Array, ...] | None]:
        """The states of each scan; `prefix` is "d" for their gradients. See `split_state`."""
        names = [prefix + name for name in self._state_names]
        return split_state(self._where, state, names, self._shapes(batch), self.dtype)

    @property
    def _where(self) -> str:
        return type(self).__name__

    @property
    def _width(self) -> int:
        """The columns of the state h."""
        return self.proj_size or self.hidden_size

    def _shapes(self, batch: int) -> list[tuple[int, int, int]]:
        """Those of the states."""
        scans = self.num_layers * self.num_directions
        sizes = [self._width, *[self.hidden_size] * (len(self._state_names) - 1)]
        return [(scans, batch, size) for size in sizes]

    def _half(self, y: Array, direction: int) -> Array:
        """The part of a (T, B, output_size) array that belongs to one direction."""
        return y[:, :, direction * self._width : (direction + 1) * self._width]


def checked_proj_size(
    where: str, proj_size: int, hidden_size: int, info: functional.CellInfo
) -> int:
    """Returns the columns of h of a cell that projects (0 is all H), and 0 of another cell."""
    most = hidden_size if info.projects else 0
    if not 0 <= proj_size <= most:
        bounds = f"0 .. {most}" if most else f"0 for the cell {info.name}"
        raise ValueError(f"[{where}] expected proj_size {bounds}, got {proj_size}")
    return int(proj_size) or most
