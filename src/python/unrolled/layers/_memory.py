"""The memory that a recurrent layer's training step takes."""

from dataclasses import dataclass

from .. import functional
from ._types import Array, DType


@dataclass(frozen=True)
class LayerMemory:
    """Bytes that `vjp` and its pullback take, beside the caller's x, y, dy and dx.

    The first three are kept from `vjp` until the pullback is dropped.

    Attributes:
        weights: packed parameters.
        saved: what the kernels store for back-propagation.
        between: outputs of inner layers, which the layers above read again.
        scratch: the most that one pass needs for itself, with gradients between layers.
    """

    weights: int
    saved: int
    between: int
    scratch: int

    @property
    def held(self) -> int:
        """What is kept between `vjp` and the pullback."""
        return self.weights + self.saved + self.between

    @property
    def peak(self) -> int:
        """The most at any time."""
        return self.held + self.scratch


def stack_memory(
    cell: str,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    num_directions: int,
    steps: int,
    batch: int,
    *,
    proj_size: int,
    lengths: Array | None,
    recompute: functional.Recompute,
    precision: functional.Precision,
    dropout: bool,
    weight_dropout: bool,
    dtype: DType,
) -> LayerMemory:
    """The memory of a stack as `Recurrent` runs it; see `Recurrent.memory`."""
    outputs = proj_size or hidden_size
    width, inner = num_directions * outputs, num_layers - 1
    sequence = steps * batch * width * dtype.itemsize
    scans = [
        functional.scan_memory(
            cell,
            width if layer else input_size,
            hidden_size,
            steps,
            batch,
            output_size=outputs,
            lengths=lengths,
            reverse=direction == 1,
            recompute=recompute,
            precision=precision,
            dtype=dtype,
        )
        for layer in range(num_layers)
        for direction in range(num_directions)
    ]
    # A gradient between two layers is read while the next one is written; dropout makes a copy.
    gradients = min(inner, 2) + (1 if inner and dropout else 0)
    # The gradient of a layer's masked recurrent weights, and its masked copy.
    gates = len(functional.cell_info(cell).gates)
    matrices = 2 * gates * hidden_size * outputs * dtype.itemsize if weight_dropout else 0
    return LayerMemory(
        weights=sum(scan.weights for scan in scans),
        saved=sum(scan.saved for scan in scans),
        between=inner * sequence,
        scratch=max(
            max(scan.forward for scan in scans),
            max(scan.backward for scan in scans) + gradients * sequence + matrices,
        ),
    )
