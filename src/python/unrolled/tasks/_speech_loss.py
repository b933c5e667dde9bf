"""What a recogniser of speech learns from: CTC and, where times are known, each step by itself."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unrolled.layers._place import functions_of, move
from unrolled.training import Array, cross_entropy_vjp


@dataclass
class SpeechLoss:
    """Sums over utterances.

        loss = CTC in the mean over symbols + cross-entropy in the mean over steps

    CTC says which symbols follow each other, wherever it finds them easiest to tell; the second
    term, over outputs of its own, says which one each step lies in.

    Attributes:
        ctc: nats of utterances that are long enough for their symbols.
        symbols: of these utterances.
        placing: nats of steps whose symbol is known.
        steps: how many these are.
    """

    ctc: float = 0.0
    symbols: int = 0
    placing: float = 0.0
    steps: int = 0

    @property
    def mean(self) -> float:
        """The loss."""
        return self.ctc / max(self.symbols, 1) + self.placing / max(self.steps, 1)

    def __add__(self, other: "SpeechLoss") -> "SpeechLoss":
        return SpeechLoss(
            self.ctc + other.ctc,
            self.symbols + other.symbols,
            self.placing + other.placing,
            self.steps + other.steps,
        )


def speech_loss_vjp(
    logits: Array,
    steps: NDArray[np.int64],
    labels: NDArray[np.int64],
    counts: NDArray[np.int64],
    places: NDArray[np.int64],
    outputs: int,
) -> tuple[SpeechLoss, Callable[[float], Array]]:
    """Returns the loss of utterances side by side, and its pullback dloss -> dlogits.

    Shapes: N steps, B utterances, V outputs of CTC, S symbols.

    Args:
        logits: (N, B, V) or, with outputs for each step by itself, (N, B, 2 V).
        steps: (B,) of each utterance.
        labels: (B, S) what is said; 0 is the blank.
        counts: (B,) symbols of each.
        places: (N, B) what each step lies in, 0 = a pause, -1 = not known.
        outputs: V.
    """
    given, dctc = functions_of(logits).ctc_loss_vjp(
        logits[..., :outputs], labels, input_lengths=steps, label_lengths=counts
    )
    losses = move(given, "cpu")
    possible = np.isfinite(losses) | np.isnan(losses)  # NaN is to be seen
    symbols = int(np.maximum(counts, 1)[possible].sum())
    loss = SpeechLoss(float(losses[possible].sum(dtype=np.float64)), symbols)
    if logits.shape[2] == outputs:
        return loss, lambda dloss: dctc * dctc.dtype.type(dloss / max(symbols, 1))

    flat = logits[..., outputs:].reshape(-1, outputs)
    (mean, known), placing_pullback = cross_entropy_vjp(flat, places.reshape(-1))
    loss += SpeechLoss(placing=mean * known, steps=known)

    def pullback(dloss: float) -> Array:
        dplacing = placing_pullback(dloss).reshape(dctc.shape)
        return np.concatenate([dctc * dctc.dtype.type(dloss / max(symbols, 1)), dplacing], axis=2)

    return loss, pullback
