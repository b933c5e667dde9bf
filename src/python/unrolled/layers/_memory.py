"""The memory that a recurrent layer's training step takes."""

from dataclasses import dataclass
from itertools import pairwise
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
    item, info = layer.dtype.itemsize, functional.cell_info(layer.cell)
    tokens = steps * batch * item
    scans = [
        functional.scan_memory(
            layer.cell,
            sizes.inputs,
            sizes.hidden,
            steps,
            batch,
            output_size=sizes.h,
            lengths=lengths,
            reverse=direction == 1,
            recompute=layer.recompute,
            precision=layer.precision,
            dtype=layer.dtype,
            recurrent_factors=layer.recurrent_dropout > 0,
            clip_gradient=layer.clip_gradient,
        )
        for sizes in layer._layers
        for direction in range(layer.num_directions)
    ]
    # What each scan takes of its new states, with zoneout, and of h, with recurrent dropout.
    widths = sum(sum(sizes.states(len(info.states))) for sizes in layer._layers)
    updates = tokens * widths * layer.num_directions if layer.zoneout else 0
    if layer.recurrent_dropout:
        hidden = sum(sizes.h for sizes in layer._layers)
        updates += batch * hidden * layer.num_directions * item
    inner = [tokens * sizes.outputs for sizes in layer._layers[:-1]]
    # A gradient between two layers is read while the next one is written; dropout makes a copy.
    gradients = max(map(sum, pairwise(inner)), default=sum(inner))
    gradients += max(inner, default=0) if layer.dropout else 0
    # Outputs of the second direction, before they are added.
    halves = max(sizes.h for sizes in layer._layers) * tokens if layer.merge == "sum" else 0
    # The gradient of a layer's masked recurrent weights, and its masked copy.
    matrix = max(len(info.gates) * sizes.hidden * sizes.h for sizes in layer._layers)
    matrices = 2 * matrix * item if layer.weight_dropout else 0
    return LayerMemory(
        weights=sum(scan.weights for scan in scans),
        saved=sum(scan.saved for scan in scans) + updates,
        between=sum(inner),
        scratch=max(
            max(scan.forward for scan in scans) + halves,
            max(scan.backward for scan in scans) + gradients + matrices,
        ),
    )
