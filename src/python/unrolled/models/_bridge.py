"""From the last states of an encoder to the first states of a decoder."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..layers import Initialiser, Layer, Linear
from ..layers._types import Array


class Bridge(Layer):
    """An affine map of each state of each layer, over both directions side by side.

        h_0 = tanh(W_h [h_forward; h_backward] + b_h)
        c_0 = W_c [c_forward; c_backward] + b_c             of an LSTM

    Shapes: L layers, D directions, B batch, E units of the encoder, H of the decoder. Encoder's
    states (L*D, B, E), decoder's (L, B, H).

    Args:
        inputs: D*E.
        outputs: H.
        num_layers: L.
        states: names of the cell's states, as ("h", "c").
        dtype, rng, init: as of `Linear`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        num_layers: int,
        states: tuple[str, ...],
        *,
        dtype: DTypeLike,
        rng: np.random.Generator,
        init: str | Initialiser,
    ) -> None:
        self._states = states
        self._maps = [
            [Linear(inputs, outputs, dtype=dtype, rng=rng, init=init) for _ in range(num_layers)]
            for _ in states
        ]
        super().__init__(
            children={
                f"{name}_l{k}": each
                for name, maps in zip(states, self._maps, strict=True)
                for k, each in enumerate(maps)
            }
        )

    def __call__(self, state: Any) -> Any:
        """Returns the decoder's first state."""
        return self.vjp(state)[0]

    def vjp(self, state: Any) -> tuple[Any, Callable[[Any], Any]]:
        """Returns the decoder's first state and its pullback, dstate of either side."""
        single = len(self._states) == 1
        results: list[Array] = []
        pullbacks = []
        for array, maps in zip([state] if single else state, self._maps, strict=True):
            joined = _join(array, len(maps))
            pairs = [linear.vjp(x) for linear, x in zip(maps, joined, strict=True)]
            y = np.stack([y for y, _ in pairs])
            results.append(np.tanh(y) if not results else y)
            pullbacks.append([pull for _, pull in pairs])
        h = results[0]

        def pullback(dstate: Any) -> Any:
            grads = []
            for k, (dy, pulls) in enumerate(
                zip([dstate] if single else dstate, pullbacks, strict=True)
            ):
                if k == 0:
                    dy = dy * (1.0 - h * h)
                dx = [pull(part) for pull, part in zip(pulls, dy, strict=True)]
                grads.append(_split(np.stack(dx)))
            return grads[0] if single else tuple(grads)

        def _split(dx: Array) -> Array:
            directions = (state if single else state[0]).shape[0] // len(dx)
            layers, batch, width = dx.shape
            parts = dx.reshape(layers, batch, directions, width // directions)
            return np.ascontiguousarray(
                parts.transpose(0, 2, 1, 3).reshape(layers * directions, batch, -1)
            )

        return (h if single else tuple(results)), pullback


def _join(array: Array, layers: int) -> Array:
    """(L*D, B, E) to (L, B, D*E)."""
    scans, batch, width = array.shape
    parts = array.reshape(layers, scans // layers, batch, width)
    joined: Array = np.ascontiguousarray(parts.transpose(0, 2, 1, 3)).reshape(layers, batch, -1)
    return joined
