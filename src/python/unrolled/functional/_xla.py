"""The scan as custom calls of XLA: handlers to register, and the sizes of the memory they share."""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import _core
from ._cells import load_kernels


class XlaSizes(NamedTuple):
    """Bytes of the arrays that one custom call writes and a later one reads.

    Attributes:
        packed: parameters in the layout of the kernels, without or with the copies for BPTT.
        saved: what a forward pass with gradients leaves for its pullback, for rows of any lengths.
    """

    packed: int
    saved: int


def xla_handlers(major: int, minor: int) -> dict[str, object]:
    """Capsules of the handlers "pack", "forward" and "backward", of version 4 of custom calls.

    Operands, results and attributes: see src/cpp/bindings/xla.cpp.

    Args:
        major, minor: version of the interface that the XLA in use has.

    Raises:
        ValueError: a version that the handlers cannot speak.
    """
    return _core.xla_handlers(major, minor)


def xla_sizes(
    cell: str,
    input_size: int,
    hidden_size: int,
    steps: int,
    batch: int,
    *,
    output_size: int | None = None,
    backward: bool,
    dtype: DTypeLike,
) -> XlaSizes:
    """The sizes of `packed` and `saved` for one scan, on the instruction set in use.

    The kernels of a cell of `add_cell` are loaded by this: programs find them by the cell's name.

    Args:
        cell: a name out of `cells()`.
        input_size, hidden_size, steps, batch: I, H, T and B.
        output_size: R, the columns of h of a cell that projects it; None = H.
        backward: whether there will be a pullback.
        dtype: float32 or float64.

    Raises:
        ValueError: an unknown cell, or sizes that it cannot have.
        MemoryError: sizes beyond all memory.
    """
    load_kernels(cell, dtype, "full")
    outputs = hidden_size if output_size is None else output_size
    double = np.dtype(dtype) == np.float64
    sizes = (input_size, hidden_size, outputs, steps, batch)
    return XlaSizes(*_core.xla_sizes(cell, *sizes, backward, double))
