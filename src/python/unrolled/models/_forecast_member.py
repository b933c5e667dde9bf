"""One of the networks of a forecasting model: an encoder of the past, a decoder of what comes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import functional
from ..layers import Dropout, Layer, Linear, Recurrent
from ..layers._place import functions_of, move, take_rows
from ..layers._state import as_state, state_arrays
from ..layers._types import Array
from ._bridge import Bridge


class ForecastMember(Layer):
    """A recurrent encoder, a bridge from any of its steps to a recurrent decoder, a head.

    Shapes: T steps, B series, I inputs a step of the past, R origins, N = R * B, H steps to come,
    F inputs a step to come, O outputs. All arrays lie on the host, wherever the parameters lie.

    Args:
        cell: of both.
        input_size, future_size, hidden_size, outputs: I, F, units, O.
        num_layers: of the encoder.
        dropout: between the encoder's layers and before the head.
        common: dtype, rng and init of all layers.
    """

    _runs_on_cuda = True

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
        hidden, _ = self.encoder(move(x, self.place), resets=resets)
        rows = _origin_rows(origins, hidden.shape[1])
        return move(take_rows(hidden.reshape(-1, hidden.shape[2]), rows), "cpu")

    def decode(self, hidden: Array, coming: Array) -> Array:
        """Returns outputs (H', N, O) from states (N, units) and inputs (H', N, F)."""
        first = self.bridge(self._first(move(hidden, self.place)))
        states, _ = self.decoder(move(coming, self.place), first)
        return move(self.head(states), "cpu")

    def steps(self, hidden: Array, paths: int) -> Callable[[Array], Array]:
        """Starts paths of their own from each state (N, units), path-major: P * N rows.

        Returns a function from the inputs (P * N, F) of a step to come to its outputs (P * N, O).
        """
        stream = self.decoder.stream(paths * len(hidden))
        first = state_arrays(self.bridge(self._first(move(hidden, self.place))))
        stream.state = as_state(tuple(np.tile(each, (1, paths, 1)) for each in first))
        return lambda coming: move(self.head(stream(move(coming, self.place))), "cpu")

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
        x, coming = move(x, self.place), move(coming, self.place)
        (hidden, _), encoder_pullback = self.encoder.vjp(x, resets=resets, rng=rng)
        rows, width = _origin_rows(origins, hidden.shape[1]), hidden.shape[2]
        picked = take_rows(hidden.reshape(-1, width), rows)
        first, bridge_pullback = self.bridge.vjp(self._first(picked))
        (states, _), decoder_pullback = self.decoder.vjp(coming, first, rng=rng)
        dropped, dropout_pullback = self.dropout.vjp(states, rng=rng)
        outputs, head_pullback = self.head.vjp(dropped)

        def pullback(doutputs: Array, needs_dx: bool = False) -> Array | None:
            dstates = dropout_pullback(head_pullback(move(doutputs, self.place)))
            _, dfirst = decoder_pullback(dstates, needs_dx=False)
            dpicked: Any = sum(state_arrays(bridge_pullback(dfirst)))
            dhidden = np.zeros_like(hidden)
            functions_of(dhidden).embedding_backward(
                rows, dpicked.reshape(-1, width), dweight=dhidden.reshape(-1, width)
            )
            dx: Array | None = encoder_pullback(dhidden, needs_dx=needs_dx)[0]
            return None if dx is None else move(dx, "cpu")

        return move(outputs, "cpu"), pullback

    def _first(self, hidden: Array) -> Any:
        """What the bridge reads: the same for each state of the cell, (1, N, units)."""
        return as_state(tuple(hidden[None] for _ in self._states))


def _origin_rows(origins: Array, batch: int) -> Array:
    """Where the states of all series at the origins stand among T * B rows, (R * B,)."""
    rows: Array = (origins[:, None] * batch + np.arange(batch)).reshape(-1)
    return rows
