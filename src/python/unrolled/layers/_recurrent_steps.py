"""A stack of recurrent layers trained one step at a time."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ._mask import Mask, draw_mask, drawn_factors
from ._place import functions_of, place_options
from ._state import as_state
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

    Weights are packed once, and what is dropped of weights and of h drawn once, for all steps.
    Where all inputs are known, `vjp` does the same in a fraction of the time.
    """

    def __init__(
        self, layer: "Recurrent[Any]", rng: np.random.Generator | None, *, training: bool = True
    ) -> None:
        if layer.num_directions == 2:
            raise ValueError("[steps_vjp] a bidirectional layer has no steps")
        self._layer, self._rng, self._training = layer, rng, training
        drop = layer.weight_dropout if training else 0.0
        self._weight_masks = [
            draw_mask(layer._where, "weight_dropout", drop, rng) for _ in range(layer.num_layers)
        ]
        drop = layer.recurrent_dropout if training else 0.0
        self._state_masks = [
            draw_mask(layer._where, "recurrent_dropout", drop, rng) for _ in range(layer.num_layers)
        ]
        self._weights = [
            scan.pack(layer._parameters, layer.precision, mask if training else None)
            for scan, mask in zip(layer._scans, self._weight_masks, strict=True)
        ]
        self._masks = self._draw_masks()
        self._tape: list[tuple[list[Any], list[Mask], bool]] = []

    @property
    def hidden_size(self) -> int:
        """H, the size of an output."""
        return self._layer.output_size

    def _draw_masks(self) -> list[Mask]:
        layer = self._layer
        p = [0.0, *[layer.dropout if self._training else 0.0] * (layer.num_layers - 1)]
        # A mask holds for one step, so that the same seed is variational dropout.
        return [draw_mask(layer._where, "dropout", each, self._rng) for each in p]

    def __call__(self, x: Array, state: Any, live: Array) -> tuple[Array, Any]:
        """Advances all rows whose `live` (B,) int64 is 1; returns outputs (B, H) and the state.

        Outputs of the others are 0, and their states stay.
        """
        layer = self._layer
        masks = self._masks if layer.variational else self._draw_masks()
        lengths = None if live.all() else live  # which would cost a device a copy in each step
        begins, initial = layer._begin(state, len(x))
        saved, final = [], []
        y = x[None]
        parts = zip(layer._layers, self._weights, initial, masks, self._state_masks, strict=True)
        for sizes, weights, own, mask, state_mask in parts:
            states = sizes.states(len(layer._state_names))
            options: dict[str, Any] = {
                "lengths": lengths,
                "updates": layer.zoneout.updates(
                    [(1, len(x), size) for size in states],
                    layer.dtype,
                    self._rng,
                    training=self._training,
                ),
                "cell_clip": layer.cell_clip,
                "recurrent_factors": drawn_factors(state_mask, (len(x), sizes.h), layer.dtype),
            }
            place_options(options, x)
            below, functions = y, functions_of(x)
            if self._training:
                y, last, one = functions.scan_vjp(weights, mask(y), own, **options)
                saved.append(one)
            else:
                y, last = functions.scan(weights, y, own, **options)
            if sizes.residual:
                y += below
            final.append(last)
        if self._training:
            self._tape.append((saved, masks, begins))
        return y[0], as_state(layer._form.join(final))

    def pull(self, dy: Array, dstate: Any) -> tuple[Array, Any]:
        """Carries gradients back through the last step that is left; adds to the parameters'.

        Shapes: dy (B, H); returns dx (B, I) and the gradient of the state before the step.
        """
        layer = self._layer
        saved, masks, begins = self._tape.pop()
        dfinal = layer._split(dstate, len(dy), "d")
        dinitial: list[tuple[Array, ...]] = [()] * layer.num_layers
        dx = dy[None]
        for k in range(layer.num_layers - 1, -1, -1):
            below, dinitial[k] = layer._scans[k].pull(
                layer._grads,
                saved[k],
                self._weight_masks[k],
                dx,
                dfinal[k],
                clip_gradient=layer.clip_gradient,
            )
            assert below is not None
            if begins:
                layer._scans[k].pull_begin(layer._grads, dinitial[k])
            above, dx = dx, masks[k](below)
            if layer._layers[k].residual:
                dx += above
        return dx[0], as_state(layer._form.join(dinitial))
