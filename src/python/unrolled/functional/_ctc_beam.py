"""From the frames of a CTC model to the most probable texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ._types import Array


@dataclass(frozen=True)
class CtcPrefix:
    """A text that a beam holds to be possible so far.

    Attributes:
        id: of the prefix; a prefix that was dropped may come back under another one.
        parent: id of the prefix that is one symbol shorter; -1 of the empty one.
        symbol: the last symbol; -1 of the empty one.
        acoustic: log of the probability of all paths that collapse to it, in nats.
        score: the same plus what extensions added.
    """

    id: int
    parent: int
    symbol: int
    acoustic: float
    score: float


class CtcBeam:
    """Prefix beam search over the frames of a CTC model, as they come.

    ::

        beam = CtcBeam(symbols=V, width=16)
        for logits in frames:                        # (T, V) each, T may differ
            beam.step(logits)
        text = beam.spell(beam.prefixes()[0])        # symbols of the best text so far

    The `width` most probable prefixes are kept, each with the sum over all of its paths: with a
    width that is large enough, the probability whose -log is `ctc_loss`. Memory grows with the
    text, not with the number of frames.

    A language model or a list of words takes part by `extension`: after each frame `prefixes` says
    which texts may grow, and the next `step` takes what each symbol after each of them adds to its
    score. A beam serves one caller at a time.

    Shapes: T frames, V symbols, K prefixes.

    Args:
        symbols: V.
        blank: the symbol that means "nothing new".
        width: the largest K.
        candidates: of each frame, only so many of the most probable symbols extend prefixes; None =
            all.

    Raises:
        ValueError: a size below 1, or a blank outside 0 .. V-1.

    Source: Hannun et al., "First-pass large vocabulary continuous speech recognition using
    bi-directional recurrent DNNs", 2014.
    """

    def __init__(
        self, symbols: int, *, blank: int = 0, width: int = 16, candidates: int | None = None
    ) -> None:
        self._beam = _core.CtcBeam(
            symbols, blank, width, max(symbols, 1) if candidates is None else candidates
        )

    def step(self, logits: Array, extension: NDArray[np.float64] | None = None) -> None:
        """Reads the next frames.

        Args:
            logits: (T, V) before the softmax, or log-probabilities.
            extension: (K, V), with T = 1: what is added to the score of prefix k, in the order of
                `prefixes`, when symbol v is appended; -inf forbids it.

        Raises:
            ValueError: a shape does not fit, or a logit is NaN.
            TypeError: a dtype other than float32 and float64 (of `extension`: float64).
        """
        self._beam.step(logits, extension)

    def prefixes(self) -> list[CtcPrefix]:
        """Returns the K texts in the beam, the best first."""
        return [CtcPrefix(*values) for values in self._beam.prefixes()]

    def spell(self, prefix: CtcPrefix) -> list[int]:
        """Returns the symbols of one of `prefixes`.

        Raises:
            ValueError: the prefix is no longer in the beam.
        """
        return self._beam.spell(prefix.id)
