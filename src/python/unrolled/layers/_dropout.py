"""Random silence for training."""

import numpy as np

from ._base import Layer
from ._checks import checked_probability
from ._mask import draw_mask
from ._types import Array, ArrayPullback


class Dropout(Layer):
    """Sets each element to zero with probability p while training, and scales the others.

        y = x * mask / (1 - p)

    The expected output is the input, so that inference, `layer(x)`, is the identity. Masks come
    from a counter-based generator and are made again in the pullback rather than stored.

    Variational dropout, also called locked, draws the mask of one step and uses it in all of them:
    what is silent stays silent for the whole sequence, so that noise does not add up over time.

    Shapes: x (...); variational, x (T, ...) with steps first and a mask of shape (...).

    Args:
        p: probability of dropping an element, 0 <= p < 1.
        variational: the same mask in every step.

    Source: Srivastava et al., "Dropout", 2014; Gal and Ghahramani, "A theoretically grounded
    application of dropout in recurrent neural networks", 2016.
    """

    _runs_on_cuda = True

    def __init__(self, p: float = 0.5, *, variational: bool = False) -> None:
        self.p = checked_probability("Dropout", "p", p)
        self.variational = bool(variational)
        super().__init__()

    def __repr__(self) -> str:
        return f"Dropout({self.p:g}{', variational=True' if self.variational else ''})"

    def __call__(self, x: Array) -> Array:
        """Returns x itself."""
        return x

    def vjp(
        self, x: Array, *, rng: np.random.Generator | None = None
    ) -> tuple[Array, ArrayPullback]:
        """Returns y and its pullback, `dx = pullback(dy)`; rng is needed unless p is 0."""
        mask = draw_mask("Dropout", "p", self.p, rng, variational=self.variational)
        return mask(x), mask
