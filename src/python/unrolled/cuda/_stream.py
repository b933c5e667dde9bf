"""Steps through a stack of layers on a CUDA device, for input that arrives as it is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ._arrays import array_module, to_device
from ._scan import Weights
from ._views import Views, full_plan


class Stream:
    """`functional.Stream` on a device; the arguments are the same, and where arrays lie.

    All memory of a step is made once and stays where it is, so that a layer's step is one CUDA
    graph from the third time on. Input and output are copied to and from it. Outputs are those of
    `scan` over the whole sequence up to rounding: cuBLAS may add in another order for one token.

    Shapes: B batch, I input, H hidden.
    """

    def __init__(
        self,
        weights: Sequence[Weights],
        states: Sequence[Sequence[Any]],
        updates: Sequence[float] = (),
        cell_clip: float | None = None,
    ) -> None:
        arrays = self._arrays = array_module("stream", states[0][0])
        batch = int(states[0][0].shape[0])
        self._x = x = arrays.empty((1, batch, weights[0].input_size))
        self._layers: list[Callable[[int], None]] = []  # of the stream to run on
        for layer, own in zip(weights, states, strict=True):
            self._y = arrays.empty((1, batch, layer.state_sizes[0]))
            shares = [
                to_device(np.full((1, batch, size), share, np.float32))
                for size, share in zip(layer.state_sizes, updates, strict=False)
            ]
            self._layers.append(_step(layer, x, self._y, own, shares, cell_clip))
            x = self._y

    def step(self, x: Any, out: Any) -> None:
        """Reads x (B, I), writes the output of the last layer (B, H) to another array `out`.

        Raises ValueError: a shape does not fit; TypeError: a dtype, or an array of the host.
        """
        stream = self._arrays.stream
        for name, letters, array, own in (("x_t", "I", x, self._x), ("out", "H", out, self._y)):
            array_module("stream", array)
            if array.shape != own.shape[1:]:
                raise ValueError(
                    f"[stream] expected {name} of shape (B, {letters}) = {tuple(own.shape[1:])}, "
                    f"got {tuple(array.shape)}"
                )
            if array.dtype != own.dtype:
                raise TypeError(f"[stream] expected {name} of {own.dtype}, got {array.dtype}")
        self._x[0] = x
        for run in self._layers:
            run(stream)
        out[...] = self._y[0]


def _step(
    weights: Weights,
    x: Any,
    y: Any,
    states: Sequence[Any],
    updates: Sequence[Any],
    cell_clip: float | None,
) -> Callable[[int], None]:
    """One step of a layer."""
    from .. import _cuda

    arrays = array_module(weights.cell, x)
    views = Views(weights.cell, arrays.stream)
    plan = full_plan(weights.cell, arrays, views.stream, 1, x.shape[1], False)
    state_sizes, _, scratch_size, _ = _cuda.sizes(weights._core, plan, False, False)
    state_views = views.of_all("states", tuple(states))
    return partial(
        _cuda.forward,
        weights._core,
        plan,
        views.of("x", x),
        views.of("out", y),
        [],
        views.of_all("updates", tuple(updates)),
        math.inf if cell_clip is None else cell_clip,
        None,
        state_views,
        state_views,  # a row's state is read before its next one is written
        views.of_all("states", tuple(arrays.empty((size,)) for size in state_sizes)),
        None,
        views.of("scratch", arrays.empty((scratch_size,))),
    )
