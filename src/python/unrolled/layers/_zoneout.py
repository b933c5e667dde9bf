"""Zoneout: units that keep their state over a step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._checks import checked_probability
from ._mask import draw_mask
from ._types import Array, DType


@dataclass(frozen=True)
class Zoneout:
    """The probabilities p, one for each state, that a unit keeps it over a step.

    Source: Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations",
    2017.
    """

    where: str
    p: tuple[float, ...]

    @classmethod
    def of(cls, where: str, p: float | Sequence[float], states: Sequence[str]) -> "Zoneout":
        """One p for all states, or one for each; ValueError if it is neither."""
        given = tuple(p) if isinstance(p, Sequence) else (p,) * len(states)
        if len(given) != len(states):
            raise ValueError(
                f"[{where}] expected zoneout to be one number, or one for each state "
                f"({', '.join(states)}), got {len(given)}"
            )
        return cls(where, tuple(checked_probability(where, "zoneout", each) for each in given))

    def __bool__(self) -> bool:
        return max(self.p) > 0.0

    def __str__(self) -> str:
        return f"({', '.join(f'{each:g}' for each in self.p)})"

    @property
    def shares(self) -> tuple[float, ...]:
        """How far each state moves in a step on average, 1 - p; empty where there is no zoneout."""
        return tuple(1.0 - p for p in self.p) if self else ()

    def updates(
        self,
        shapes: Sequence[tuple[int, int, int]],
        dtype: DType,
        rng: np.random.Generator | None,
        *,
        training: bool,
    ) -> list[Array]:
        """The shares of its new value that each state takes: `updates` of `functional.scan`.

        Shapes: (T, B, H) of each state. In training 0 with probability p, else 1; otherwise 1 - p.
        """
        if not self:
            return []
        if not training:
            return [
                np.broadcast_to(np.full(shape[2], share, dtype), shape)
                for share, shape in zip(self.shares, shapes, strict=True)
            ]
        masks = [draw_mask(self.where, "zoneout", p, rng) for p in self.p]
        moved = (mask(np.ones(shape, dtype)) for mask, shape in zip(masks, shapes, strict=True))
        return [(array > 0.0).astype(dtype) for array in moved]
