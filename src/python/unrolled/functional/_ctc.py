"""Connectionist temporal classification: loss, gradient and alignment."""

from __future__ import annotations

from collections.abc import Sequence

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
        *problem_of("ctc_loss", logits, labels, input_lengths, label_lengths, blank), losses, None
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
    problem = problem_of("ctc_loss", logits, labels, input_lengths, label_lengths, blank)
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
    problem = problem_of("ctc_align", logits, labels, input_lengths, label_lengths, blank)
    _core.ctc_align(*problem, path, scores)
    return path, scores


def ctc_align_words(
    logits: Array, words: Sequence[Sequence[Sequence[int]]], *, blank: int = 0
) -> tuple[Integers, Integers, float]:
    """The most probable path that spells words, of which each may be said in several ways.

        max over the choices of a pronunciation for each word, and over the paths that spell it

    The search goes through a graph of all pronunciations once (Viterbi): it takes as long as
    `ctc_align` of all their labels, where trying all choices would take the product of their
    numbers.

    Shapes: T frames, V symbols, W words.

    Args:
        logits: (T, V) before the softmax, or log-probabilities; unit stride along V.
        words: of each word its pronunciations, one to 254, of each of these its labels, one or
            more, other than the blank.
        blank: the symbol that means "nothing new".

    Returns:
        chosen (W,): which pronunciation of each word the path spells, 0 where there is no path.
        path (T,): as of `ctc_align`, of the labels of the chosen pronunciations in a row. The
        score: the log-probability of the path in nats, -inf where there is none.

    Raises:
        ValueError: a shape does not fit, a word has no pronunciation or too many, a pronunciation
            has no label, or a label or the blank is out of range.
        TypeError: a dtype other than float32, float64 and integers.
    """
    if logits.ndim != 2:
        raise ValueError(f"[ctc_align_words] expected logits of shape (T, V), got {logits.shape}")
    spoken = [labels for word in words for labels in word]
    alternatives = np.array([len(word) for word in words], np.int64)
    lengths = np.array([len(labels) for labels in spoken], np.int64)
    flat = np.array([label for labels in spoken for label in labels], dtype=None if spoken else int)
    place: Integers = np.empty(logits.shape[:1], np.int64)
    problem = problem_of("ctc_align_words", logits[:, None], flat[None], None, None, blank)
    score = _core.ctc_align_words(*problem, lengths, alternatives, place)

    word_of = np.repeat(np.arange(len(words)), alternatives)
    said = place >= 0
    own = np.repeat(np.arange(len(spoken)), lengths)[place[said]]  # the pronunciation in each frame
    first = np.cumsum(alternatives) - alternatives
    chosen: Integers = np.zeros(len(words), np.int64)
    chosen[word_of[own]] = own - first[word_of[own]]
    # From places among all labels to places among those of the chosen pronunciations.
    kept = lengths[first + chosen]
    place[said] += (np.cumsum(kept) - kept)[word_of[own]] - (np.cumsum(lengths) - lengths)[own]
    return chosen, place, score


def problem_of(
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
