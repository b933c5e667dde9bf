"""Connectionist temporal classification: loss, gradient and alignment."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ._types import Array, empty, indices_of

Integers = NDArray[np.int64]


def ctc_loss(
    logits: Array,
    labels: ArrayLike,
    *,
    input_lengths: ArrayLike | None = None,
    label_lengths: ArrayLike | None = None,
    blank: int = 0,
) -> Array:
    """-log of the probability that the frames of each sequence spell its labels.

        p(path)    = prod_t softmax(logits_t)[path_t]
        loss       = -log sum of p(path) over the paths that collapse to the labels

    A path collapses by merging equal symbols that follow each other, then dropping blanks.

    Shapes: T frames, B sequences, V symbols, S labels. logits (T, B, V), unit stride along V;
    labels (B, S) integers other than the blank, padded with anything behind label_lengths;
    losses (B,).

    Args:
        logits: before the softmax, which is taken here; log-probabilities will do too.
        labels: what each sequence should spell.
        input_lengths: (B,) frames of each sequence; None = T.
        label_lengths: (B,) labels of each sequence, 0 allowed; None = S.
        blank: the symbol that means "nothing new".

    Returns:
        losses in nats; inf where no path is long enough, which takes a frame for each label and one
        for each repetition.

    Raises:
        ValueError: a shape does not fit, or a length, label or blank is out of range.
        TypeError: a dtype other than float32, float64 and integers.

    Source: Graves et al., "Connectionist temporal classification", 2006.
    """
    losses: Array = np.empty(logits.shape[1:2], logits.dtype)
    _core.ctc(
        *_problem("ctc_loss", logits, labels, input_lengths, label_lengths, blank), losses, None
    )
    return losses


def ctc_loss_vjp(
    logits: Array,
    labels: ArrayLike,
    *,
    input_lengths: ArrayLike | None = None,
    label_lengths: ArrayLike | None = None,
    blank: int = 0,
) -> tuple[Array, Array]:
    """`ctc_loss` with the gradient of the sum of the finite losses.

    Returns:
        losses (B,); dlogits (T, B, V), zero behind the end of a sequence and in sequences whose
        loss is inf.
    """
    losses: Array = np.empty(logits.shape[1:2], logits.dtype)
    dlogits = empty(logits.shape, logits.dtype)
    problem = _problem("ctc_loss", logits, labels, input_lengths, label_lengths, blank)
    _core.ctc(*problem, losses, dlogits)
    return losses, dlogits


def ctc_align(
    logits: Array,
    labels: ArrayLike,
    *,
    input_lengths: ArrayLike | None = None,
    label_lengths: ArrayLike | None = None,
    blank: int = 0,
) -> tuple[Integers, NDArray[np.float64]]:
    """The most probable path that spells the labels (Viterbi): forced alignment.

    Args: as of `ctc_loss`.

    Returns:
        path (T, B): the index of the label, in its sequence, that each frame belongs to; -1 for a
        blank and behind the end. scores (B,): the log-probability of the path in nats; -inf, and no
        label in the path, where there is none.
    """
    path: Integers = np.empty(logits.shape[:2], np.int64)
    scores: NDArray[np.float64] = np.empty(logits.shape[1:2], np.float64)
    problem = _problem("ctc_align", logits, labels, input_lengths, label_lengths, blank)
    _core.ctc_align(*problem, path, scores)
    return path, scores


def _problem(
    where: str,
    logits: Array,
    labels: ArrayLike,
    input_lengths: ArrayLike | None,
    label_lengths: ArrayLike | None,
    blank: int,
) -> tuple[Array, Integers, Integers, Integers, int]:
    """The first arguments of the compiled functions."""
    padded = indices_of(where, "labels", labels)
    if logits.ndim != 3 or padded.ndim != 2 or len(padded) != logits.shape[1]:
        raise ValueError(
            f"[{where}] expected logits of shape (T, B, V) and labels of shape (B, S), "
            f"got {logits.shape} and {padded.shape}"
        )
    frames, batch = logits.shape[:2]

    def lengths(name: str, given: ArrayLike | None, limit: int) -> Integers:
        if given is None:
            return np.full(batch, limit, np.int64)
        return indices_of(where, name, given)

    return (
        logits,
        padded,
        lengths("input_lengths", input_lengths, frames),
        lengths("label_lengths", label_lengths, padded.shape[1]),
        blank,
    )
