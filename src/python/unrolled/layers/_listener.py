"""Who wants to know when gradients are complete."""

from collections.abc import Sequence
from typing import Protocol


class GradientListener(Protocol):
    """Hears from a model which gradients will still grow, so that complete ones can be used early.

    Every `vjp` says whose gradients its pullback will add to, and the pullback says when it has. A
    gradient is complete when as many pullbacks have added as were expected: that holds for tied
    weights and for layers that are used several times, too, since all vjps of an update come before
    its first pullback. `Layer.listen` begins it.
    """

    def expected(self, names: Sequence[str]) -> None:
        """A pullback will add to the gradients of these parameters, by their dotted names."""

    def added(self, names: Sequence[str]) -> None:
        """One of the expected pullbacks has done so."""
