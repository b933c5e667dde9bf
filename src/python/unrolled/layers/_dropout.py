"""Random silence for training."""

import numpy as np

from .. import functional
from ._base import Layer
from ._checks import checked_probability
from ._types import Array, ArrayPullback


class Dropout(Layer):
    """Sets each element to zero with probability p while training, and scales the others.

        y = x * mask / (1 - p)

    The expected output is the input, so that inference, `layer(x)`, is the identity. Masks come
    from a counter-based generator and are made again in the pullback rather than stored.

    Args:
        p: probability of dropping an element, 0 <= p < 1.

    Source: Srivastava et al., "Dropout", 2014.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = checked_probability("Dropout", "p", p)
        super().__init__()

    def __repr__(self) -> str:
        return f"Dropout({self.p:g})"

    def __call__(self, x: Array) -> Array:
        """Returns x itself."""
        return x

    def vjp(
        self, x: Array, *, rng: np.random.Generator | None = None
    ) -> tuple[Array, ArrayPullback]:
        """Returns y and its pullback, `dx = pullback(dy)`; rng is needed unless p is 0."""
        if self.p == 0.0:
            return x, lambda dy: dy
        if rng is None:
            raise ValueError(f"[Dropout] p={self.p:g} needs rng in vjp")
        seed = int(rng.integers(2**63))
        y = functional.dropout(x, self.p, seed=seed)
        return y, lambda dy: functional.dropout(dy, self.p, seed=seed)
