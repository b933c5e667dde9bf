"""Batch normalisation of images."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import functional
from ._base import Layer
from ._checks import checked_dtype, checked_size
from ._images import check_images
from ._linear import LinearPullback
from ._place import contiguous, functions_of
from ._types import Array


class BatchNorm2d(Layer):
    """Normalises each channel over all places of all images.

        y = f((x - mean) / sqrt(variance + eps) * weight + bias)

    with the mean and the variance of the batch in training, and running ones at inference:

        running <- (1 - momentum) * running + momentum * of the batch

    where the running variance gains the unbiased one. running_mean and running_var are parameters
    to which no pullback adds: checkpoints and averages carry them, and optimizers leave vectors
    without a gradient as they are. `vjp` of a batch changes them, so it may not be called from
    several threads at once.

    Shapes: N images, C channels. weight, bias, running_mean, running_var (C,); x and y
        (N, H, W, C).

    Args:
        num_features: C.
        eps: what keeps the root away from zero.
        momentum: how much of the running statistics a batch replaces, 0 < momentum <= 1.
        activation: f, "none", "relu" or "relu6"; it costs no pass of its own.
        dtype: float32 or float64.

    Raises:
        ValueError: num_features below 1, eps not above 0, momentum out of range, or an unknown
            activation.

    Source: Ioffe and Szegedy, "Batch normalization", 2015; names and semantics as
    torch.nn.BatchNorm2d.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        activation: functional.Activation = "none",
        dtype: DTypeLike = np.float32,
    ) -> None:
        where = type(self).__name__
        self.num_features = checked_size(where, "num_features", num_features)
        if not eps > 0.0:
            raise ValueError(f"[{where}] expected eps > 0, got {eps}")
        if not 0.0 < momentum <= 1.0:
            raise ValueError(f"[{where}] expected 0 < momentum <= 1, got {momentum}")
        functional.check_activation(where, activation)
        self.eps, self.momentum = float(eps), float(momentum)
        self.activation: functional.Activation = activation
        kind = checked_dtype(where, dtype)
        ones, zeros = np.ones(self.num_features, kind), np.zeros(self.num_features, kind)
        super().__init__(
            {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones}
        )

    def __repr__(self) -> str:
        options = f", eps={self.eps:g}, momentum={self.momentum:g}"
        options += f", activation={self.activation!r}" if self.activation != "none" else ""
        return f"{type(self).__name__}({self.num_features}{options}, dtype={self.dtype})"

    def __call__(self, x: Array) -> Array:
        """Returns y of x (N, H, W, C), by the running statistics."""
        x = self._checked(x)
        p = self._parameters
        return self._normalise(x, p["running_mean"], p["running_var"])

    def vjp(self, x: Array, *, frozen: bool = False) -> tuple[Array, LinearPullback]:
        """Returns y and its pullback.

        `pullback(dy, needs_dx=True)` adds to `grads` and returns dx (None if not needed). It refers
        to x, to y and to the weight: leave them as they are until it has run.

        Args:
            frozen: normalise by the running statistics, as at inference, and leave them alone;
                otherwise by those of the batch, which the running ones then follow.

        Raises:
            ValueError: a batch of fewer than two places a channel, which has no variance.
        """
        x = self._checked(x)
        self._expect(("weight", "bias"))
        p = self._parameters
        if frozen:
            mean, variance = p["running_mean"].copy(), p["running_var"].copy()
        else:
            count = x.size // self.num_features
            if count < 2:
                raise ValueError(
                    f"[{type(self).__name__}] expected at least two places in all, got {x.shape}; "
                    "frozen=True needs none"
                )
            mean, variance = functions_of(x).moments(x)
            for running, fresh in (
                (p["running_mean"], mean),
                (p["running_var"], variance * (count / (count - 1))),
            ):
                running += self.momentum * (fresh - running)
        y = self._normalise(x, mean, variance)

        def pullback(dy: Array, *, needs_dx: bool = True) -> Any:
            dx = functions_of(x).normalise_backward(
                x,
                mean,
                variance,
                self._parameters["weight"],
                y,
                contiguous(dy),
                eps=self.eps,
                activation=self.activation,
                of_batch=not frozen,
                dweight=self._grads["weight"],
                dbias=self._grads["bias"],
                needs_dx=needs_dx,
            )
            self._added(("weight", "bias"))
            return dx

        return y, pullback

    def scale_and_shift(self) -> tuple[Array, Array]:
        """Returns (C,) factors a and terms b with y = f(a * x + b) at inference."""
        p = self._parameters
        scale = p["weight"] / np.sqrt(p["running_var"] + self.dtype.type(self.eps))
        return scale, p["bias"] - p["running_mean"] * scale

    def _normalise(self, x: Array, mean: Array, variance: Array) -> Array:
        p = self._parameters
        y: Array = functions_of(x).normalise(
            x, mean, variance, p["weight"], p["bias"], eps=self.eps, activation=self.activation
        )
        return y

    def _checked(self, x: Array) -> Array:
        check_images(type(self).__name__, x, self.num_features, self.dtype)
        return contiguous(x)
