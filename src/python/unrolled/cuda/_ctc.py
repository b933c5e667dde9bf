"""Connectionist temporal classification on a CUDA device; labels and lengths lie on the host."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from ..functional._ctc import problem_of
from ._arrays import array_module, to_host
from ._library import require
from ._views import Views, integers


def ctc_loss(
    logits: Any,
    labels: ArrayLike,
    *,
    input_lengths: ArrayLike | None = None,
    label_lengths: ArrayLike | None = None,
    blank: int = 0,
) -> Any:
    """`functional.ctc_loss`: losses (B,) on the device."""
    return _ctc(logits, labels, input_lengths, label_lengths, blank, gradients=False)[0]


def ctc_loss_vjp(
    logits: Any,
    labels: ArrayLike,
    *,
    input_lengths: ArrayLike | None = None,
    label_lengths: ArrayLike | None = None,
    blank: int = 0,
) -> tuple[Any, Any]:
    """`functional.ctc_loss_vjp`: losses (B,) and dlogits (T, B, V)."""
    return _ctc(logits, labels, input_lengths, label_lengths, blank, gradients=True)


def _ctc(
    logits: Any,
    labels: ArrayLike,
    input_lengths: ArrayLike | None,
    label_lengths: ArrayLike | None,
    blank: int,
    *,
    gradients: bool,
) -> tuple[Any, Any | None]:
    require()
    from .. import _cuda

    where = "ctc_loss"
    arrays = array_module(where, logits)
    views = Views(where, arrays.stream)
    _, spelled, frames_of, labels_of, blank = problem_of(
        where, logits, to_host(labels), to_host(input_lengths), to_host(label_lengths), blank
    )
    frames, batch = logits.shape[:2]
    count = spelled.shape[1]
    losses = arrays.empty((batch,))
    dlogits = arrays.empty(tuple(logits.shape)) if gradients else None
    scratch = _cuda.ctc_scratch(frames, batch, count, gradients)
    _cuda.ctc(
        views.of("logits", logits),
        spelled,
        frames_of,
        labels_of,
        blank,
        views.of("losses", losses),
        views.of_some("dlogits", dlogits),
        integers(arrays, views, batch * (2 + 3 * count)),
        views.of("scratch", arrays.empty((scratch,))),
        views.stream,
    )
    return losses, dlogits
