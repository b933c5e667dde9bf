"""One of the networks of a forecasting model: an encoder of the past, a decoder of what comes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import functional
from ..layers import Dropout, Layer, Linear, Recurrent
from ..layers._state import as_state, state_arrays
from ..layers._types import Array
from ._bridge import Bridge


class ForecastMember(Layer):
    """A recurrent encoder, a bridge from any of its steps to a recurrent decoder, a head.

    Shapes: T steps, B series, I inputs a step of the past, R origins, N = R * B, H steps to come,
    F inputs a step to come, O outputs.

    Args:
        cell: of both.
        input_size, future_size, hidden_size, outputs: I, F, units, O.
        num_layers: of the encoder.
        dropout: between the encoder's layers and before the head.
        common: dtype, rng and init of all layers.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        future_size: int,
        hidden_size: int,
        num_layers: int,
        outputs: int,
        dropout: float,
        common: Mapping[str, Any],
    ) -> None:
        self.encoder: Recurrent[Any] = Recurrent(
            cell,
            input_size,
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            variational=True,
            **common,
        )
        self._states = tuple(functional.cell_info(cell).states)
        self.bridge = Bridge(hidden_size, hidden_size, 1, self._states, **common)
        self.decoder: Recurrent[Any] = Recurrent(cell, future_size, hidden_size, **common)
        self.dropout = Dropout(dropout, variational=True)
        self.head = Linear(hidden_size, outputs, **common)
        super().__init__(
            children={
                "encoder": self.encoder,
                "bridge": self.bridge,
                "decoder": self.decoder,
                "dropout": self.dropout,
                "head": self.head,
            }
        )

    def read(self, x: Array, origins: Array, resets: Array | None) -> Array:
        """Returns the states (N, units) of the encoder at the origins."""
        hidden = self.encoder(x, resets=resets)[0][origins]
        return hidden.reshape(-1, hidden.shape[2])

    def decode(self, hidden: Array, coming: Array) -> Array:
        """Returns outputs (H', N, O) from states (N, units) and inputs (H', N, F)."""
        states, _ = self.decoder(coming, self.bridge(self._first(hidden)))
        return self.head(states)

    def steps(self, hidden: Array, paths: int) -> Callable[[Array], Array]:
        """Starts paths of their own from each state (N, units), path-major: P * N rows.

        Returns a function from the inputs (P * N, F) of a step to come to its outputs (P * N, O).
        """
        stream = self.decoder.stream(paths * len(hidden))
        first = state_arrays(self.bridge(self._first(hidden)))
        stream.state = as_state(tuple(np.tile(each, (1, paths, 1)) for each in first))
        return lambda coming: self.head(stream(coming))

    def vjp(
        self,
        x: Array,
        origins: Array,
        coming: Array,
        resets: Array | None,
        rng: np.random.Generator | None,
    ) -> tuple[Array, Callable[..., Array | None]]:
        """Returns outputs (H', N, O) and their pullback, which adds to `grads`.

        `pullback(doutputs, needs_dx=False)` returns dx (T, B, I) if it is needed.
        """
        (hidden, _), encoder_pullback = self.encoder.vjp(x, resets=resets, rng=rng)
        first, bridge_pullback = self.bridge.vjp(
            self._first(hidden[origins].reshape(-1, hidden.shape[2]))
        )
        (states, _), decoder_pullback = self.decoder.vjp(coming, first, rng=rng)
        dropped, dropout_pullback = self.dropout.vjp(states, rng=rng)
        outputs, head_pullback = self.head.vjp(dropped)

        def pullback(doutputs: Array, needs_dx: bool = False) -> Array | None:
            _, dfirst = decoder_pullback(dropout_pullback(head_pullback(doutputs)), needs_dx=False)
            dpicked = sum(state_arrays(bridge_pullback(dfirst)))
            dhidden = np.zeros_like(hidden)
            np.add.at(dhidden, origins, np.reshape(dpicked, (len(origins), *hidden.shape[1:])))
            dx: Array | None = encoder_pullback(dhidden, needs_dx=needs_dx)[0]
            return dx

        return outputs, pullback

    def _first(self, hidden: Array) -> Any:
        """What the bridge reads: the same for each state of the cell, (1, N, units)."""
        return as_state(tuple(hidden[None] for _ in self._states))
