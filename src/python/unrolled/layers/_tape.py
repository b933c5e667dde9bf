"""What a stack of recurrent layers keeps for its pullback."""

from dataclasses import dataclass
from typing import Any, Protocol

from .. import functional
from ._mask import Mask
from ._rows import Rows
from ._state import StateT
from ._types import Array


class RecurrentPullback(Protocol[StateT]):
    """Carries gradients back through one `Recurrent.vjp`; see there."""

    def __call__(
        self, dy: Array | None, dstate: StateT | None = None, *, needs_dx: bool = True
    ) -> tuple[Any, StateT]: ...


@dataclass(frozen=True)
class Tape:
    """What one layer of the stack keeps.

    Attributes:
        looked_up: whether the gradient of its input is that of a table.
        input_mask: of the dropout before this layer.
        saved: what BPTT reads, one a direction.
        weight_masks: of the recurrent weights, one a direction.
    """

    looked_up: bool
    input_mask: Mask
    saved: tuple[functional.Saved, ...]
    weight_masks: tuple[Mask, ...]


@dataclass(frozen=True)
class StackTape:
    """What a stack keeps.

    Attributes:
        layers: one for each layer.
        rows: of the batch.
        shape: (T, B).
        begins: whether the learned initial states took part.
    """

    layers: list[Tape]
    rows: Rows
    shape: tuple[int, int]
    begins: bool
