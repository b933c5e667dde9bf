"""What a forecasting model says of steps to come."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..layers._types import Array
from ._distributions import Distribution


@dataclass(frozen=True)
class Outlook:
    """N forecasts: distributions of each step by itself, or paths through all of them.

    Shapes: H steps, N forecasts, D targets, P parameters, S paths, Q levels.

    Attributes:
        distribution: of the steps.
        params: (H, N, D, P), of a model that says all steps at once; else None.
        paths: (S, H, N, D), of a model that goes on from what it has drawn; else None.
    """

    distribution: Distribution
    params: Array | None = None
    paths: Array | None = None

    def mean(self) -> Array:
        """Returns the forecast as one number, (H, N, D)."""
        if self.paths is not None:
            mean: Array = self.paths.mean(axis=0)
            return mean
        assert self.params is not None
        return self.distribution.mean(self.params)

    def quantiles(self, levels: Sequence[float]) -> Array:
        """Returns (H, N, D, Q) for levels in 0..1.

        Raises:
            ValueError: the head has no intervals, or does not know a level.
        """
        if self.paths is not None:
            ranked = np.sort(self.paths, axis=0)
            places = np.asarray(levels) * (len(ranked) - 1)
            left = np.floor(places).astype(np.int64)
            found = ranked[left]
            if not self.distribution.counts:  # which have nothing between them
                part = (places - left).reshape(-1, 1, 1, 1).astype(ranked.dtype)
                found += part * (ranked[np.minimum(left + 1, len(ranked) - 1)] - found)
            return np.moveaxis(found, 0, -1)
        assert self.params is not None
        return self.distribution.quantiles(self.params, levels)

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """Returns draws (count, H, N, D): paths, if the model has drawn any.

        Of distributions each step is drawn by itself. Such draws have the right spread at every
        step, but are no paths: neighbouring steps of a series that came true hang together, these
        do not, and sums over steps vary too little.

        Raises:
            ValueError: more are asked for than there are paths.
        """
        if self.paths is not None:
            if count > len(self.paths):
                raise ValueError(f"expected at most {len(self.paths)} paths, got {count}")
            return self.paths[:count]
        assert self.params is not None
        return np.stack([self.distribution.sample(self.params, rng) for _ in range(count)])
