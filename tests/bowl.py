"""The smallest thing that can be trained, for tests of the training loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled import Layer
from unrolled.training import SGD, Budget, LossAndPullback, Trainer


class Numbers:
    """Batches 0, 1, 2, ...; an epoch has ten."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def epoch(self) -> float:
        return self.count / 10

    def next(self) -> int:
        self.count += 1
        return self.count - 1

    def state(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


class Bowl(Layer):
    """loss = |w - 3|^2 / 2: one parameter and one minimum."""

    def __init__(self) -> None:
        super().__init__({"w": np.zeros(4, np.float32)})

    def loss(self, batch: int, carry: Any, rng: np.random.Generator) -> LossAndPullback:
        error = self.parameters["w"] - np.float32(3.0)

        def pullback(dloss: float) -> None:
            self.grads["w"][:] += np.float32(dloss) * error

        count = 0 if carry is None else int(carry[0])
        return (0.5 * float(error @ error), 2, np.array([count + 1])), pullback


def make_trainer(model: Layer | None = None, **options: Any) -> Trainer[int]:
    model = Bowl() if model is None else model
    options = {
        "loss": getattr(model, "loss", None),
        "optimizer": SGD(model, lr=0.1),
        "budget": Budget(steps=50),
        "rng": np.random.default_rng(0),
        "clip_norm": None,
        **options,
    }
    batches, loss = options.pop("batches", Numbers()), options.pop("loss")
    return Trainer(model, batches, loss, **options)
