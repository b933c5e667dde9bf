"""The memory that a recurrent layer's training step takes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import functional
from ._types import Array

if TYPE_CHECKING:
    from ._recurrent import Recurrent


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
    layer: "Recurrent[Any]", steps: int, batch: int, lengths: Array | None
) -> LayerMemory:
    """The memory of a stack as `Recurrent` runs it; see `Recurrent.memory`."""
    layer.check_on_host()
    item, inner, hidden = layer.dtype.itemsize, layer.num_layers - 1, layer.hidden_size
    info = functional.cell_info(layer.cell)
    sequence = steps * batch * layer.output_size * item
    scans = [
        functional.scan_memory(
            layer.cell,
            layer.output_size if k else layer.input_size,
            hidden,
            steps,
            batch,
            output_size=layer._width,
            lengths=lengths,
            reverse=direction == 1,
            recompute=layer.recompute,
            precision=layer.precision,
            dtype=layer.dtype,
            recurrent_factors=layer.recurrent_dropout > 0,
            clip_gradient=layer.clip_gradient,
        )
        for k in range(layer.num_layers)
        for direction in range(layer.num_directions)
    ]
    # What each scan takes of its new states, with zoneout, and of h, with recurrent dropout.
    widths = sum(shape[2] for shape in layer._shapes(batch))
    updates = steps * batch * widths * item if layer.zoneout else 0
    updates += batch * layer._width * item if layer.recurrent_dropout else 0
    # A gradient between two layers is read while the next one is written; dropout makes a copy.
    gradients = min(inner, 2) + (1 if inner and layer.dropout else 0)
    # The gradient of a layer's masked recurrent weights, and its masked copy.
    matrices = 2 * len(info.gates) * hidden * layer._width * item if layer.weight_dropout else 0
    return LayerMemory(
        weights=sum(scan.weights for scan in scans),
        saved=sum(scan.saved + updates for scan in scans),
        between=inner * sequence,
        scratch=max(
            max(scan.forward for scan in scans),
            max(scan.backward for scan in scans) + gradients * sequence + matrices,
        ),
    )
