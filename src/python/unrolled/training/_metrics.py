"""What a score is called and how it follows from a mean loss."""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A score that people know, as a function of the mean loss. Lower is better.

    Attributes:
        name: as printed in reports, for instance "bits per character".
        short: as printed beside a progress bar, for instance "bits/char".
        unit: what is counted per second while training, for instance "chars".
        from_loss: mean loss -> score.
    """

    name: str
    short: str
    unit: str
    from_loss: Callable[[float], float]

    def text(self, loss: float) -> str:
        """Returns the score of a mean loss with three to four digits that matter."""
        score = self.from_loss(loss)
        if abs(score) < 0.1:
            return f"{score:.3g}"
        return f"{score:.3f}" if abs(score) < 10.0 else f"{score:,.1f}"


def bits(nats: float) -> float:
    """Returns nats as bits."""
    return nats / math.log(2.0)


def perplexity(nats: float) -> float:
    """Returns exp(nats), infinite where that overflows."""
    return math.exp(nats) if nats < 700.0 else math.inf
