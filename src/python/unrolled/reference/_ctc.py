"""Connectionist temporal classification."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ._head import log_softmax
from ._types import Array


def ctc_loss_vjp(
    logits: npt.ArrayLike, labels: Sequence[int], blank: int = 0
) -> tuple[float, Array]:
    """The loss of one sequence and its gradient, by the sums of the paper over 2 S + 1 states.

    Shapes: logits (T, V), labels (S,). Returns the loss in nats, inf where no path spells the
    labels, and dlogits (T, V), zero in that case.
    """
    log_p = log_softmax(logits) if len(np.asarray(logits)) else np.asarray(logits, np.float64)
    frames = len(log_p)
    symbols = [blank]
    for label in labels:
        symbols += [int(label), blank]
    count = len(symbols)

    def may_skip(s: int) -> bool:  # from s - 2 to s
        return s >= 2 and symbols[s] != blank and symbols[s] != symbols[s - 2]

    alpha = np.full((frames, count), -np.inf)  # log p of all beginnings that end in s at t
    beta = np.full((frames, count), -np.inf)  # log p of all that may follow
    if frames:
        alpha[0, :2] = log_p[0, symbols[:2]]
        beta[-1, -2:] = 0.0
    for t in range(1, frames):
        for s in range(count):
            terms = alpha[t - 1, max(s - (2 if may_skip(s) else 1), 0) : s + 1]
            alpha[t, s] = np.logaddexp.reduce(terms) + log_p[t, symbols[s]]
    for t in range(frames - 2, -1, -1):
        for s in range(count):
            last = s + 2 if s + 2 < count and may_skip(s + 2) else s + 1
            after = range(s, min(last, count - 1) + 1)
            beta[t, s] = np.logaddexp.reduce(
                [beta[t + 1, n] + log_p[t + 1, symbols[n]] for n in after]
            )

    dlogits = np.zeros_like(log_p)
    if not frames:
        return (np.inf if labels else 0.0), dlogits
    total = float(np.logaddexp.reduce(alpha[-1, -2:]))
    if total == -np.inf:
        return np.inf, dlogits
    dlogits += np.exp(log_p)
    for s, symbol in enumerate(symbols):
        dlogits[:, symbol] -= np.exp(alpha[:, s] + beta[:, s] - total)
    return -total, dlogits
