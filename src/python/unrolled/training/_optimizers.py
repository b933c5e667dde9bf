"""Optimizers: each is one fused pass over a model's flat buffer."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from unrolled.layers import Layer
from unrolled.layers._place import assign, functions_of

from ._types import Array


class Optimizer(ABC):
    """Updates a model's parameters from its gradients, in place.

    Weight decay acts on matrices only: biases and gains have no direction to shrink in.

    Args:
        model: the outermost layer; its flat buffer is what gets updated, where it lies now.
        lr: the learning rate at a schedule of 1.
        weight_decay: how strongly matrices are pulled to zero.

    Attributes:
        steps: how many updates have been made.
    """

    def __init__(self, model: Layer, *, lr: float, weight_decay: float) -> None:
        where = type(self).__name__
        if not lr >= 0.0:
            raise ValueError(f"[{where}] expected lr >= 0, got {lr}")
        if not weight_decay >= 0.0:
            raise ValueError(f"[{where}] expected weight_decay >= 0, got {weight_decay}")
        self.lr = lr
        self.weight_decay = weight_decay
        self.steps = 0
        self._model, self._flat = model, model.flat
        #: Parts of the buffer, each with its weight decay and its factor of the learning rate.
        self._parts = [
            (self._flat.matrices, weight_decay, 1.0),
            (self._flat.vectors, 0.0, 1.0),
        ]

    def slow_down(self, prefix: str, factor: float) -> None:
        """Lets parameters whose names begin so learn at a part of the rate, as pretrained ones.

        Raises:
            ValueError: factor is not >= 0, or no name begins so.
        """
        where = type(self).__name__
        if not 0.0 <= factor < math.inf:
            raise ValueError(f"[{where}] expected a factor >= 0, got {factor}")
        if not any(name.startswith(prefix) for name in self._flat.slices):
            raise ValueError(f"[{where}] no parameter's name begins with {prefix!r}")
        parts: list[tuple[slice, float, float]] = []
        for name, place in self._flat.slices.items():
            decay, rate = next(
                (decay, rate)
                for whole, decay, rate in self._parts
                if whole.start <= place.start < whole.stop
            )
            rate = factor if name.startswith(prefix) else rate
            first = place.start
            if parts and parts[-1][1:] == (decay, rate):
                first = parts.pop()[0].start  # neighbours that are alike are one pass
            parts.append((slice(first, place.stop), decay, rate))
        self._parts = parts

    def step(
        self, *, lr_scale: float = 1.0, grad_scale: float = 1.0, clip_value: float = math.inf
    ) -> None:
        """Makes one update.

        Args:
            lr_scale: factor of the learning rate, usually from a schedule.
            grad_scale: factor of the gradients, usually from `clip_scale`.
            clip_value: each gradient, after that factor, is clamped to -clip_value..clip_value.

        Raises:
            RuntimeError: the model was moved to a device, or into another, since.
        """
        if self._model.flat is not self._flat:
            raise RuntimeError(
                f"[{type(self).__name__}] the model lies elsewhere than when this optimizer was "
                "made; make it after model.to"
            )
        self.steps += 1
        lr = self.lr * lr_scale
        gradient = {"grad_scale": grad_scale, "clip_value": clip_value}
        for part, weight_decay, rate in self._parts:
            self._update(part, lr * rate, weight_decay, gradient)

    @abstractmethod
    def _update(
        self, part: slice, lr: float, weight_decay: float, gradient: Mapping[str, float]
    ) -> None:
        """Updates one part of the flat buffer; `steps` counts this update already.

        `gradient` is for the fused step: what becomes of the gradients before they are used.
        """

    @abstractmethod
    def _arrays(self) -> dict[str, Array]:
        """Returns what the optimizer keeps for each parameter, (P,) arrays by name."""

    def state(self) -> dict[str, Array]:
        """Returns everything a checkpoint needs, by name; the arrays are live, not copies."""
        return {"steps": np.array([self.steps], np.int64), **self._arrays()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Copies a state that `state` returned into this optimizer.

        Raises:
            ValueError: it comes from another kind of optimizer or another model.
        """
        where = type(self).__name__
        mine = self.state()
        if set(mine) != set(state):
            raise ValueError(
                f"[{where}] expected a state with {', '.join(sorted(mine))}, "
                f"got {', '.join(sorted(state)) or 'nothing'}"
            )
        for name, array in mine.items():
            if state[name].shape != array.shape or state[name].dtype != array.dtype:
                raise ValueError(
                    f"[{where}] expected {name} of shape {array.shape} and dtype {array.dtype}, "
                    f"got {state[name].shape} and {state[name].dtype}"
                )
        for name, array in self._arrays().items():
            assign(array, state[name])
        self.steps = int(state["steps"][0])


class SGD(Optimizer):
    """Stochastic gradient descent with optional (Nesterov) momentum.

    g = grad_scale * gradient + weight_decay * p;  v <- momentum * v + g
    p <- p - lr * v        or, with `nesterov`, p - lr * (g + momentum * v)

    Args:
        model: the outermost layer.
        lr: learning rate.
        momentum: 0 keeps no velocity.
        nesterov: look ahead along the velocity; needs momentum > 0.
        weight_decay: L2 penalty on matrices.

    Source: as torch.optim.SGD with dampening 0.
    """

    def __init__(
        self,
        model: Layer,
        *,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, lr=lr, weight_decay=weight_decay)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"[SGD] expected 0 <= momentum < 1, got {momentum}")
        if nesterov and momentum == 0.0:
            raise ValueError("[SGD] nesterov needs momentum > 0")
        self.momentum = momentum
        self.nesterov = nesterov
        self._velocity = np.zeros_like(self._flat.values) if momentum else None

    def _update(
        self, part: slice, lr: float, weight_decay: float, gradient: Mapping[str, float]
    ) -> None:
        functions_of(self._flat.values).sgd_step(
            self._flat.values[part],
            self._flat.grads[part],
            None if self._velocity is None else self._velocity[part],
            lr=lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=weight_decay,
            **gradient,
        )

    def _arrays(self) -> dict[str, Array]:
        return {} if self._velocity is None else {"velocity": self._velocity}


class RMSprop(Optimizer):
    """RMSprop with optional momentum and optional centering.

    g = gradient + weight_decay * p;  s <- alpha * s + (1 - alpha) * g^2
    centered: m <- alpha * m + (1 - alpha) * g, and s - m^2 in the place of s
    v <- momentum * v + g / (sqrt(s) + eps);  p <- p - lr * v

    Args:
        model: the outermost layer.
        lr: learning rate.
        alpha: decay rate of the mean square.
        eps: keeps the quotient finite.
        momentum: 0 keeps no velocity.
        centered: divide by an estimate of the standard deviation.
        weight_decay: L2 penalty on matrices.

    Source: Tieleman and Hinton 2012, centered as Graves 2013; as torch.optim.RMSprop.
    """

    def __init__(
        self,
        model: Layer,
        *,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, lr=lr, weight_decay=weight_decay)
        for name, value in (("alpha", alpha), ("momentum", momentum)):
            if not 0.0 <= value < 1.0:
                raise ValueError(f"[RMSprop] expected 0 <= {name} < 1, got {value}")
        if not eps > 0.0:
            raise ValueError(f"[RMSprop] expected eps > 0, got {eps}")
        self.alpha = alpha
        self.eps = eps
        self.momentum = momentum
        self._square = np.zeros_like(self._flat.values)
        self._mean = np.zeros_like(self._flat.values) if centered else None
        self._velocity = np.zeros_like(self._flat.values) if momentum else None

    def _update(
        self, part: slice, lr: float, weight_decay: float, gradient: Mapping[str, float]
    ) -> None:
        functions_of(self._flat.values).rmsprop_step(
            self._flat.values[part],
            self._flat.grads[part],
            self._square[part],
            None if self._mean is None else self._mean[part],
            None if self._velocity is None else self._velocity[part],
            lr=lr,
            alpha=self.alpha,
            eps=self.eps,
            momentum=self.momentum,
            weight_decay=weight_decay,
            **gradient,
        )

    def _arrays(self) -> dict[str, Array]:
        arrays = {"square": self._square, "mean": self._mean, "velocity": self._velocity}
        return {name: array for name, array in arrays.items() if array is not None}


class Adam(Optimizer):
    """Adam with bias correction; weight decay is an L2 penalty added to the gradient.

    g = grad_scale * gradient (+ weight_decay * p)
    m <- beta1 * m + (1 - beta1) * g;  v <- beta2 * v + (1 - beta2) * g^2
    p <- p - lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)

    Args:
        model: the outermost layer.
        lr: learning rate.
        betas: decay rates of the two moments.
        eps: keeps the quotient finite.
        weight_decay: L2 penalty on matrices.

    Source: Kingma and Ba 2015; as torch.optim.Adam.
    """

    _decoupled = False

    def __init__(
        self,
        model: Layer,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, lr=lr, weight_decay=weight_decay)
        where = type(self).__name__
        if not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"[{where}] expected 0 <= beta < 1, got betas = {betas}")
        if not eps > 0.0:
            raise ValueError(f"[{where}] expected eps > 0, got {eps}")
        self.betas = betas
        self.eps = eps
        self._m = np.zeros_like(self._flat.values)
        self._v = np.zeros_like(self._flat.values)

    def _update(
        self, part: slice, lr: float, weight_decay: float, gradient: Mapping[str, float]
    ) -> None:
        functions_of(self._flat.values).adam_step(
            self._flat.values[part],
            self._flat.grads[part],
            self._m[part],
            self._v[part],
            lr=lr,
            beta1=self.betas[0],
            beta2=self.betas[1],
            eps=self.eps,
            weight_decay=weight_decay,
            decoupled=self._decoupled,
            step=self.steps,
            **gradient,
        )

    def _arrays(self) -> dict[str, Array]:
        return {"m": self._m, "v": self._v}


class AdamW(Adam):
    """Adam whose weight decay shrinks matrices directly, p <- p - lr * weight_decay * p.

    Args:
        model: the outermost layer.
        lr: learning rate.
        betas: decay rates of the two moments.
        eps: keeps the quotient finite.
        weight_decay: fraction of a matrix taken off per unit of learning rate.

    Source: Loshchilov and Hutter 2019; as torch.optim.AdamW.
    """

    _decoupled = True

    def __init__(
        self,
        model: Layer,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(model, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
