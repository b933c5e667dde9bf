"""An affine map."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from .. import cuda, functional
from ._base import Layer
from ._checks import checked_dtype, checked_size
from ._initialisers import Initialiser, initialise
from ._place import functions_of, on_device
from ._specs import linear_specs
from ._types import Array


class LinearPullback(Protocol):
    """Carries gradients back through one `Linear.vjp`; see there."""

    def __call__(self, dy: Array, *, needs_dx: bool = True) -> Any: ...


class Linear(Layer):
    """An affine map of the last axis.

        y = x W^T + b

    Shapes: I inputs, O outputs. weight (O, I), bias (O,); x (..., I), y (..., O).

    Args:
        input_size: I.
        output_size: O.
        bias: whether there is a b.
        dtype: float32 or float64.
        rng: where initial values come from; None draws fresh entropy.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.

    Source: names and shapes as torch.nn.Linear.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        input_size: int,
        output_size: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: str | Initialiser = "orthogonal",
    ) -> None:
        where = type(self).__name__
        self.input_size = checked_size(where, "input_size", input_size)
        self.output_size = checked_size(where, "output_size", output_size)
        self.bias = bool(bias)
        kind = checked_dtype(where, dtype)
        rng = np.random.default_rng() if rng is None else rng
        specs = linear_specs(self.input_size, self.output_size, bias=self.bias)
        super().__init__({spec.name: initialise(init, spec, rng, kind) for spec in specs})

    def __repr__(self) -> str:
        bias = "" if self.bias else ", bias=False"
        sizes = f"{self.input_size}, {self.output_size}"
        return f"{type(self).__name__}({sizes}{bias}, dtype={self.dtype})"

    def __call__(self, x: Array) -> Array:
        """Returns y (..., O) of x (..., I)."""
        weight = self._parameters["weight"]
        y: Array = functions_of(weight).linear(x, weight, self._parameters.get("bias"))
        return y

    def packed(self) -> Callable[[Array], Array]:
        """Returns the map for many calls with few rows, (N, I) -> (N, O), with copied weights."""
        return packed_linear(self._parameters["weight"], self._parameters.get("bias"))

    def vjp(self, x: Array) -> tuple[Array, LinearPullback]:
        """Returns y and its pullback.

        `pullback(dy, needs_dx=True)` adds to `grads` and returns dx (None if not needed). It refers
        to x and to the weight: leave both as they are until it has run.
        """
        self._expect(self._own_names)

        def pullback(dy: Array, *, needs_dx: bool = True) -> Any:
            weight = self._parameters["weight"]
            dx = functions_of(weight).linear_backward(
                x,
                weight,
                dy,
                dweight=self._grads["weight"],
                dbias=self._grads.get("bias"),
                needs_dx=needs_dx,
            )
            self._added(self._own_names)
            return dx

        return self(x), pullback


def packed_linear(weight: Array, bias: Array | None = None) -> Callable[[Array], Array]:
    """An affine map for many calls with few rows, (N, I) -> (N, O), with copied weights."""
    if not on_device(weight):
        return functional.PackedLinear(weight, bias)
    copied = None if bias is None else bias.copy()
    return partial(cuda.linear, weight=weight.copy(), bias=copied)
