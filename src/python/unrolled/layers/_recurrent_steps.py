"""A stack of recurrent layers trained one step at a time."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import functional
from ._mask import Mask, draw_mask
from ._state import as_state, join_state, split_state
from ._types import Array

if TYPE_CHECKING:
    from ._recurrent import Recurrent


class RecurrentSteps:
    """Training where an input depends on the output of the step before; see `Recurrent.steps_vjp`.

    ::

        steps = layer.steps_vjp(rng=rng)
        for t in range(T):
            y, state = steps(x, state, live)           # (B, I) -> (B, H)
        for t in reversed(range(T)):
            dx, dstate = steps.pull(dy, dstate)        # adds to layer.grads

    Weights are packed once, and dropped weights drawn once, for all steps. Where all inputs are
    known, `vjp` does the same in a fraction of the time.
    """

    def __init__(
        self, layer: "Recurrent[Any]", rng: np.random.Generator | None, *, training: bool = True
    ) -> None:
        if layer.num_directions == 2:
            raise ValueError("[steps_vjp] a bidirectional layer has no steps")
        self._layer, self._rng, self._training = layer, rng, training
        where = type(layer).__name__
        self._weight_masks = [
            draw_mask(where, "weight_dropout", layer.weight_dropout, rng) if training else None
            for _ in range(layer.num_layers)
        ]
        self._weights = [layer._pack(scan, mask) for scan, mask in enumerate(self._weight_masks)]
        self._masks = self._draw_masks()
        self._tape: list[tuple[list[functional.Saved], list[Mask]]] = []

    @property
    def hidden_size(self) -> int:
        """H."""
        return self._layer.hidden_size

    def _draw_masks(self) -> list[Mask]:
        layer = self._layer
        where = type(layer).__name__
        p = [0.0, *[layer.dropout if self._training else 0.0] * (layer.num_layers - 1)]
        # A mask holds for one step, so that the same seed is variational dropout.
        return [draw_mask(where, "dropout", each, self._rng) for each in p]

    def __call__(self, x: Array, state: Any, live: Array) -> tuple[Array, Any]:
        """Advances all rows whose `live` (B,) int64 is 1; returns outputs (B, H) and the state.

        Outputs of the others are 0, and their states stay.
        """
        layer = self._layer
        masks = self._masks if layer.variational else self._draw_masks()
        shape = (layer.num_layers, len(x), layer.hidden_size)
        names = functional.cell_info(layer.cell).states
        initial = split_state(type(layer).__name__, state, names, shape, layer.dtype)
        saved, final = [], []
        y = x[None]
        for weights, own, mask in zip(self._weights, initial, masks, strict=True):
            if self._training:
                y, last, one = functional.scan_vjp(weights, mask(y), own, lengths=live)
                saved.append(one)
            else:
                y, last = functional.scan(weights, y, own, lengths=live)
            final.append(last)
        if self._training:
            self._tape.append((saved, masks))
        return y[0], as_state(join_state(final))

    def pull(self, dy: Array, dstate: Any) -> tuple[Array, Any]:
        """Carries gradients back through the last step that is left; adds to the parameters'.

        Shapes: dy (B, H); returns dx (B, I) and the gradient of the state before the step.
        """
        layer = self._layer
        saved, masks = self._tape.pop()
        shape = (layer.num_layers, len(dy), layer.hidden_size)
        names = [f"d{name}" for name in functional.cell_info(layer.cell).states]
        dfinal = split_state(type(layer).__name__, dstate, names, shape, layer.dtype)
        dinitial: list[tuple[Array, ...]] = [()] * layer.num_layers
        dx = dy[None]
        for k in range(layer.num_layers - 1, -1, -1):
            dw_ih, dw_hh, *dbiases = (layer._grads[name] for name in layer._scan_names[k])
            db_ih, db_hh = dbiases if layer.bias else (None, None)
            drop = self._weight_masks[k]
            assert drop is not None  # there is a tape
            dmasked = np.zeros_like(dw_hh) if drop.p else dw_hh
            below, dinitial[k] = functional.scan_backward(
                saved[k], dx, dfinal[k], grads=(dw_ih, dmasked, db_ih, db_hh)
            )
            assert below is not None
            dx = masks[k](below)
            if drop.p:
                dw_hh += drop(dmasked)
        return dx[0], as_state(join_state(dinitial))
