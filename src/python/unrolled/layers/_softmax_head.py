"""Linear map, softmax and cross-entropy in one: the end of a classifier over V classes."""

from collections.abc import Callable

import numpy as np

from .. import functional
from ._linear import Linear
from ._types import Array


class SoftmaxHead(Linear):
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
        self._check_targets(x, targets)
        losses = functional.linear_cross_entropy(
            x.reshape(-1, self.input_size),
            self._parameters["weight"],
            self._parameters.get("bias"),
            targets.reshape(-1),
        )
        return losses.reshape(targets.shape)

    def loss_vjp(self, x: Array, targets: Array) -> tuple[float, Callable[..., Array]]:
        """Returns the mean loss of the positions that count, and its pullback.

        Gradients come out of the same pass over blocks of logits as the losses, so the pullback
        only scales and adds.

        Returns:
            loss, pullback. `dx = pullback(dloss=1.0)` adds to `grads`. Where no position counts,
            loss and gradients are 0.
        """
        self._check_targets(x, targets)
        self._expect(self._own_names)
        counted = int(np.count_nonzero(targets >= 0))
        losses, dx, dweight, dbias = functional.linear_cross_entropy_vjp(
            x.reshape(-1, self.input_size),
            self._parameters["weight"],
            self._parameters.get("bias"),
            targets.reshape(-1),
            1.0 / max(counted, 1),
        )
        loss = float(losses.sum(dtype=np.float64)) / max(counted, 1)

        def pullback(dloss: float = 1.0) -> Array:
            self._grads["weight"] += _scaled(dweight, dloss)
            if dbias is not None:
                self._grads["bias"] += _scaled(dbias, dloss)
            self._added(self._own_names)
            return _scaled(dx, dloss).reshape(x.shape)

        return loss, pullback

    def _check_targets(self, x: Array, targets: Array) -> None:
        if x.shape[-1:] != (self.input_size,):
            raise ValueError(
                f"[SoftmaxHead] expected x of shape (..., H) = (..., {self.input_size}), "
                f"got {x.shape}"
            )
        if targets.shape != x.shape[:-1]:
            raise ValueError(
                f"[SoftmaxHead] expected targets of shape (...) = {x.shape[:-1]}, "
                f"got {targets.shape}"
            )


def _scaled(array: Array, factor: float) -> Array:
    return array if factor == 1.0 else array * array.dtype.type(factor)
