"""What dropout drops in one `vjp`: drawn once, the same on the way forward and on the way back."""

from dataclasses import dataclass

import numpy as np

from ._place import functions_of
from ._types import Array, DType


@dataclass(frozen=True)
class Mask:
    """One draw of dropout: some elements become zero, the others are divided by 1 - p.

    It multiplies element by element, so `mask(dy)` is the pullback of `mask(x)`. Nothing is stored
    but the seed: a counter-based generator makes the same bits again, on a CUDA device too.

    Attributes:
        p: probability of dropping an element; with 0 the mask returns its argument itself.
        seed: of the generator.
        variational: draw for x (T, ...) once and drop the same in every step, see
            `functional.dropout`.
    """

    p: float
    seed: int
    variational: bool

    def __call__(self, x: Array) -> Array:
        """Returns x masked, of the same shape."""
        if self.p == 0.0:
            return x
        y: Array = functions_of(x).dropout(x, self.p, seed=self.seed, variational=self.variational)
        return y


def drawn_factors(mask: Mask, shape: tuple[int, ...], dtype: DType) -> Array | None:
    """What the mask multiplies an array of this shape by; None where it drops nothing."""
    return mask(np.ones(shape, dtype)) if mask.p else None


def draw_mask(
    where: str,
    name: str,
    p: float,
    rng: np.random.Generator | None,
    *,
    variational: bool = False,
) -> Mask:
    """Returns a mask with a seed from rng, which a mask that drops nothing leaves alone.

    Raises:
        ValueError: rng is None and p is not 0; the text names the layer and the argument.
    """
    if p == 0.0:
        return Mask(p, 0, variational)
    if rng is None:
        raise ValueError(f"[{where}] {name}={p:g} needs rng in vjp")
    return Mask(p, int(rng.integers(2**63)), variational)
