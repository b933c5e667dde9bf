"""The linear path of a forecasting model: a regression on the last values.

Shapes: N forecasts, H steps, D targets, C context. Values are relative to the last one.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..layers import Linear
from ..layers._place import move
from ..layers._types import Array

#: dlocation (H, N, D) -> None; adds to the gradients of the matrices.
PathPullback = Callable[[Array], None]


def all_steps(
    linears: Sequence[Linear], history: Array, steps: int, *, training: bool = False
) -> tuple[Array, PathPullback]:
    """All steps from what is known at the origin: A_d (H, C) history_d / C + c_d.

    Divided by C, an update of the size that suits other weights moves forecasts by no more than
    they do.

    Args:
        linears: one for each target, or none.
        history: (N, D, C) the last values, minus the last one.
        steps: H', no more than the matrices have rows.
        training: the pullback will be called.

    Returns:
        (H', N, D), and the pullback.
    """
    count, targets, context = history.shape
    location = np.zeros((steps, count, targets), history.dtype)
    pullbacks = []
    for d, linear in enumerate(linears):
        read = history[:, d] * history.dtype.type(1.0 / context)
        read = move(read, linear.place)
        if training:
            y, pull = linear.vjp(read)
            pullbacks.append((pull, y.shape))
        else:
            y = linear(read)
        location[:, :, d] = move(y, "cpu").T[:steps]

    def pullback(dlocation: Array) -> None:
        for d, (pull, shape) in enumerate(pullbacks):
            dy = np.zeros(shape, dlocation.dtype)
            dy[:, :steps] = dlocation[:, :, d].T
            pull(move(dy, linears[d].place), needs_dx=False)

    return location, pullback


def each_step(
    linears: Sequence[Linear], history: Array, previous: Array, *, training: bool = False
) -> tuple[Array, PathPullback]:
    """One step from the values before it, step by step.

        A_d (1, C) (window - its last value) / C + c_d

    Args:
        linears: one for each target, or none.
        history: (N, D, C) the last values before the first step, minus the last one.
        previous: (H, N, D) the value before each step, minus that same last one.
        training: the pullback will be called.

    Returns:
        (H, N, D), what follows is to be off from `previous`; and the pullback.
    """
    location = np.zeros_like(previous)
    kept = []
    for d, linear in enumerate(linears):
        windows = _windows(history[:, d], previous[1:, :, d])
        weight, bias = (move(linear.parameters[name], "cpu") for name in ("weight", "bias"))
        weight = weight[0] / history.dtype.type(history.shape[2])
        if training:
            linear._expect(("weight", "bias"))
        location[:, :, d] = np.einsum("nhc,c->hn", windows, weight) + bias
        location[:, :, d] -= previous[:, :, d] * weight.sum()
        kept.append((linear, windows))

    def pullback(dlocation: Array) -> None:
        for d, (linear, windows) in enumerate(kept):
            dy = dlocation[:, :, d]
            dweight = np.einsum("nhc,hn->c", windows, dy) - (dy * previous[:, :, d]).sum()
            dweight /= dy.dtype.type(history.shape[2])
            linear.grads["weight"][0] += move(dweight, linear.place)
            linear.grads["bias"][0] += dy.sum()
            linear._added(("weight", "bias"))

    return location, pullback


class DrawnPath:
    """`each_step` where each step is drawn before the next one is forecast, for S paths at once.

    What the history adds is summed at the beginning, so that a path keeps only what was drawn.
    """

    def __init__(self, linears: Sequence[Linear], history: Array, steps: int) -> None:
        count, targets, context = history.shape
        self._known, _ = each_step(linears, history, np.zeros((steps, count, targets)))
        self._weights = np.zeros((max(context, 1), targets), history.dtype)
        for d, linear in enumerate(linears):
            weight = move(linear.parameters["weight"], "cpu")[0]
            self._weights[:, d] = weight / history.dtype.type(context)
        self._sums = self._weights.sum(axis=0)

    def __call__(self, drawn: Array) -> Array:
        """Returns (S, N, D), what follows steps drawn (K, S, N, D) minus the last known value."""
        step = len(drawn)
        location = np.repeat(self._known[step : step + 1].astype(drawn.dtype), drawn.shape[1], 0)
        if step:
            recent = min(step, len(self._weights))
            weights = self._weights[len(self._weights) - recent :]
            location += np.einsum("ksnd,kd->snd", drawn[step - recent :], weights)
            location -= drawn[-1] * self._sums
        return location


def _windows(history: Array, since: Array) -> Array:
    """(N, H, C): the last C values before each step; history (N, C), since (H - 1, N)."""
    whole = np.concatenate([history, since.T], axis=1)
    return sliding_window_view(whole, history.shape[1], axis=1)
