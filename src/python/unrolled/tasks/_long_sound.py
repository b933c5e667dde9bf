"""Sounds of any length in constant memory: what a model says of them, and pieces to search in."""

from collections.abc import Iterable, Iterator

import numpy as np

from unrolled.audio import Features
from unrolled.models import AcousticModel
from unrolled.training import Array


def stream_logits(
    model: AcousticModel, pieces: Iterable[Features], *, window: int, context: int
) -> Iterator[Array]:
    """Yields the logits of a sound, piece by piece.

    A model that reads forwards gives, bit for bit, those of the whole sound. One that reads
    backwards too reads windows that overlap; what lies further off than `context` it does not hear.
    A sound that is no longer than a window and one context is read as a whole.

    Shapes: pieces (T, F) each, any T; logits (N, V).

    Args:
        model: not pooled.
        pieces: normalised frames.
        window: steps of which a window gives the logits.
        context: steps that it reads before and behind them.
    """
    forwards = model.rnn.num_directions == 1
    stride, stack = model.stride, model.stack
    held = np.empty((0, model.features), model.dtype)
    first, done = 0, 0  # the steps that `held` begins with and that come next
    pieces = iter(pieces)
    for frames in pieces:
        held = np.concatenate([held, frames])
        while len(held) >= (needed := (done - first + window + context - 1) * stride + stack):
            if forwards:  # long enough for its first step: from here on as a stream
                yield from _forwards(model, held, pieces)
                return
            logits = model(held[:needed, None])[:, 0]
            yield logits[done - first : done - first + window]
            done += window
            let_go = max(done - context, 0) - first
            first += let_go
            held = held[let_go * stride :]
    rest: Array = model(held[:, None])[done - first :, 0]
    if len(rest):
        yield rest


def _forwards(model: AcousticModel, held: Features, pieces: Iterator[Features]) -> Iterator[Array]:
    stream, head = model.stream(), model.head.packed()
    frames: Features | None = held
    while frames is not None:
        hidden = stream(frames)
        if len(hidden):
            yield head(hidden)
        frames = next(pieces, None)


def cut_at_pauses(
    pieces: Iterable[Array], first: int, last: int, *, shortest: int, longest: int
) -> Iterator[tuple[int, Array]]:
    """Yields logits in pieces that can be searched one by one, each with its first step.

    A cut lies in the middle of the longest pause: of the most steps in a row whose best output is
    the first of those given. Where the blank of CTC has all the probability, the best symbols of
    the parts are those of the whole.

    Shapes: pieces (N, V) each, any N.

    Args:
        pieces: logits.
        first, last: the outputs, `first` to `last` - 1, of which the first says that nothing is
            said.
        shortest, longest: steps of a piece; the last one may be shorter.
    """
    held: Array | None = None
    done = 0
    for logits in pieces:
        held = logits if held is None else np.concatenate([held, logits])
        while len(held) > longest:
            cut = shortest + _pause(held[shortest:longest, first:last])
            yield done, held[:cut]
            done, held = done + cut, held[cut:]
    if held is not None and len(held):
        yield done, held


def _pause(logits: Array) -> int:
    """Returns the middle of the longest pause, or the step that is the most like one."""
    quiet = logits.argmax(axis=1) == 0
    edges = np.flatnonzero(np.diff(quiet, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    if len(starts):
        longest = int((ends - starts).argmax())
        return int(starts[longest] + ends[longest]) // 2
    return int((logits[:, 0] - logits.max(axis=1)).argmax())
