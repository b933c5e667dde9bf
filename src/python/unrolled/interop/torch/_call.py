"""What a call of one recurrent layer on torch's tensors is, and their memory as arrays."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ... import functional
from ..._extras import import_extra
from ...layers._types import Array
from ._ragged import Ragged

torch: Any = import_extra("torch", "torch")

Layout: TypeAlias = Literal["steps", "rows", "packed", "one"]
"""How a tensor holds sequences: (T, B, W), (B, T, W), the tokens of a packed sequence (N, W), or a
single step (B, W)."""


class LayerCall(NamedTuple):
    """What a call of one layer is, but for the numbers.

    Shapes: T steps, B batch, I input, H hidden (P in y and h with a projection), D directions. A
    layer reads x and the states before
    the first step, (D, B, H) each, and gives y (T, B, D*H) and the states after the last one. For a
    single step (layout "one") states are (B, H), and y is not given: it is h.

    Attributes:
        cell: a name out of `functional.cells()`.
        directions: D.
        bias: whether there are biases.
        reads: the layout of x.
        writes: the layout of y.
        ragged: how sequences are packed, None if they all take T steps.
        precision: in which numbers products multiply.
    """

    cell: str
    directions: int
    bias: bool
    reads: Layout = "steps"
    writes: Layout = "steps"
    ragged: Ragged | None = None
    precision: functional.Precision = "full"

    def parameters(self, direction: int, tensors: Sequence[Any]) -> Sequence[Any]:
        """Those of one direction, out of all of the layer."""
        each = len(tensors) // self.directions
        return tensors[direction * each : (direction + 1) * each]

    def steps_of(self, tensor: Any, layout: Layout) -> Array:
        """A tensor's sequences as an array (T, B, W): its own memory, unless they are packed."""
        array: Array = (tensor if tensor.stride(-1) == 1 else tensor.contiguous()).numpy(force=True)
        if layout == "rows":
            array = array.swapaxes(0, 1)
        elif layout == "one":
            array = array[None]
        elif layout == "packed" and self.ragged is not None:
            array = self.ragged.pad(array)
        return array

    def empty(self, like: Any, shape: tuple[int, int, int], layout: Layout) -> tuple[Any, Array]:
        """A tensor for sequences (T, B, W), and the array (T, B, W) in which they are written.

        The tensor of packed sequences is None: `filled` makes it once they are known.
        """
        steps, batch, width = shape
        if layout == "packed":
            return None, functional.empty(shape, like.numpy(force=True).dtype)
        if layout == "rows":
            tensor = like.new_empty((batch, steps, width))
            return tensor, tensor.numpy().swapaxes(0, 1)
        if layout == "one":
            tensor = like.new_empty((batch, width))
            return tensor, tensor.numpy()[None]
        tensor = like.new_empty(shape)
        return tensor, tensor.numpy()

    def filled(self, tensor: Any, array: Array) -> Any:
        """The tensor of `empty`, now that the array is written."""
        if tensor is None and self.ragged is not None:
            return torch.from_numpy(self.ragged.unpad(array))
        return tensor

    def join(self, parts: Sequence[Array]) -> Any:
        """The states of each direction, (B, H) each, as one tensor."""
        if self.reads == "one":
            return torch.from_numpy(parts[0])
        return torch.from_numpy(parts[0][None] if len(parts) == 1 else np.stack(parts))

    def split(self, states: Sequence[Any]) -> list[tuple[Array, ...] | None]:
        """The states of each direction, None for zeros; undoes `join`."""
        if any(state is None for state in states):
            return [None] * self.directions
        arrays = [state.numpy(force=True) for state in states]
        if self.reads == "one":
            return [tuple(arrays)]
        return [tuple(array[d] for array in arrays) for d in range(self.directions)]
