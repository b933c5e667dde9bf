"""Linear map, softmax and cross-entropy in one: the end of a classifier over V classes."""

from collections.abc import Callable

import numpy as np

from ._base import Layer
from ._linear import Linear
from ._options import LossOptions
from ._place import functions_of
from ._types import Array


class SoftmaxHead(Linear, LossOptions):
    """A linear map to V logits, with the cross-entropy of their softmax.

        z = x W^T + b
        loss = -log softmax(z)[target] = log(sum_v exp(z_v)) - z_target      in nats

    Losses are computed a block of rows at a time: the (N, V) logits, the largest array of a
    language model by far, never exist as a whole.

    Shapes: H inputs, V classes. weight (V, H), bias (V,); x (..., H), targets (...) int64 in
    0 .. V-1, or -1 for a position that does not count.

    Args: as `Linear`, with input_size H and output_size V.
    """

    def logits(self, x: Array) -> Array:
        """Returns z (..., V) of x (..., H)."""
        return self(x)

    def losses(self, x: Array, targets: Array) -> Array:
        """Returns the loss of every position, (...) in nats; 0 where the target is -1."""
        check_targets(self, x, targets)
        weight = self._parameters["weight"]
        losses: Array = functions_of(weight).linear_cross_entropy(
            x.reshape(-1, self.input_size),
            weight,
            self._parameters.get("bias"),
            targets.reshape(-1),
            precision=self._loss_precision,
        )
        return losses.reshape(targets.shape)

    def loss_vjp(
        self, x: Array, targets: Array, *, smoothing: float = 0.0
    ) -> tuple[float, Callable[..., Array]]:
        """Returns the mean loss of the positions that count, and its pullback.

        With `smoothing` the loss is that of smoothed labels, see
        `functional.linear_cross_entropy_vjp`.

        Gradients come out of the same pass over blocks of logits as the losses, so the pullback
        only scales and adds.

        Returns:
            loss, pullback. `dx = pullback(dloss=1.0)` adds to `grads`. Where no position counts,
            loss and gradients are 0.
        """
        check_targets(self, x, targets)
        self._expect(self._own_names)
        counted = int(np.count_nonzero(targets >= 0))
        weight = self._parameters["weight"]
        losses, dx, dweight, dbias = functions_of(weight).linear_cross_entropy_vjp(
            x.reshape(-1, self.input_size),
            weight,
            self._parameters.get("bias"),
            targets.reshape(-1),
            smoothing=smoothing,
            precision=self._loss_precision,
        )
        loss = float(losses.sum(dtype=np.float64)) / max(counted, 1)

        def pullback(dloss: float = 1.0) -> Array:
            # 1 where dloss is the number of targets, as in training: then nothing is scaled.
            factor = dloss / max(counted, 1)
            self._grads["weight"] += scaled(dweight, factor)
            if dbias is not None:
                self._grads["bias"] += scaled(dbias, factor)
            self._added(self._own_names)
            return scaled(dx, factor).reshape(x.shape)

        return loss, pullback


def check_targets(head: Layer, x: Array, targets: Array) -> None:
    """Raises ValueError unless x is (..., H) for a `head` of H inputs, and targets (...)."""
    where, inputs = type(head).__name__, head.parameters["weight"].shape[1]
    if x.shape[-1:] != (inputs,):
        raise ValueError(f"[{where}] expected x of shape (..., H) = (..., {inputs}), got {x.shape}")
    if targets.shape != x.shape[:-1]:
        raise ValueError(
            f"[{where}] expected targets of shape (...) = {x.shape[:-1]}, got {targets.shape}"
        )


def scaled(array: Array, factor: float) -> Array:
    """Returns factor * array; the array itself where that is the same."""
    return array if factor == 1.0 else array * array.dtype.type(factor)
