"""From the last states of an encoder to the first states of a decoder."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..layers import Initialiser, Layer, Linear
from ..layers._place import contiguous
from ..layers._state import as_state, state_arrays
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

    _runs_on_cuda = True

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
        results = [
            np.stack([linear(x) for linear, x in zip(maps, _join(array, len(maps)), strict=True)])
            for array, maps in zip(state_arrays(state), self._maps, strict=True)
        ]
        np.tanh(results[0], out=results[0])
        return as_state(tuple(results))

    def vjp(self, state: Any) -> tuple[Any, Callable[[Any], Any]]:
        """Returns the decoder's first state and its pullback, from dstate to dstate."""
        arrays = state_arrays(state)
        results, pullbacks = [], []
        for array, maps in zip(arrays, self._maps, strict=True):
            joined = _join(array, len(maps))
            pairs = [linear.vjp(x) for linear, x in zip(maps, joined, strict=True)]
            results.append(np.stack([y for y, _ in pairs]))
            pullbacks.append([pull for _, pull in pairs])
        h = np.tanh(results[0], out=results[0])

        def pullback(dstate: Any) -> Any:
            dh, *others = state_arrays(dstate)
            grads = []
            for dy, pulls in zip((dh * (1.0 - h * h), *others), pullbacks, strict=True):
                dx = np.stack([pull(part) for pull, part in zip(pulls, dy, strict=True)])
                grads.append(_split(dx, len(arrays[0])))
            return as_state(tuple(grads))

        return as_state(tuple(results)), pullback


def _join(array: Array, layers: int) -> Array:
    """(L*D, B, E) to (L, B, D*E)."""
    scans, batch, width = array.shape
    parts = array.reshape(layers, scans // layers, batch, width).swapaxes(1, 2)
    joined: Array = contiguous(parts).reshape(layers, batch, -1)
    return joined


def _split(array: Array, scans: int) -> Array:
    """(L, B, D*E) to (L*D, B, E): undoes `_join`."""
    layers, batch, _ = array.shape
    parts = array.reshape(layers, batch, scans // layers, -1).swapaxes(1, 2)
    split: Array = contiguous(parts).reshape(scans, batch, -1)
    return split
