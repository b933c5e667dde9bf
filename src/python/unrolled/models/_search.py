"""Searches for targets: beam search, of which greedy is the width 1, and sampling."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .. import functional
from ..layers._types import Array
from ._decoder_stream import DecoderStream

Integers = NDArray[np.int64]

#: The token that ends a target, and is read before its first one.
END = 0


@dataclass(frozen=True)
class BeamOptions:
    """How targets are searched for.

    Attributes:
        width: hypotheses kept of each source; 1 is greedy.
        length_penalty: alpha; scores are log p / ((5 + length) / 6)^alpha, so that 0 prefers short
            targets and 1 about the mean of log p.
        coverage_penalty: beta; adds beta * sum_s log(min(sum_t a_ts, 1)) over the places s of the
            source, which punishes what no step has read.
        no_repeat: a target may not contain the same so many tokens in a row twice; 0: it may.
        banned: tokens that are never written, as the unknown one.

    Raises:
        ValueError: a value is out of range.

    Source: Wu et al., "Google's neural machine translation system", 2016, for both penalties;
    Paulus, Xiong and Socher 2018 for blocked repetitions.
    """

    width: int = 5
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    no_repeat: int = 0
    banned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"[beam search] expected width >= 1, got {self.width}")
        if self.no_repeat < 0:
            raise ValueError(f"[beam search] expected no_repeat >= 0, got {self.no_repeat}")
        if not (self.length_penalty >= 0.0 and self.coverage_penalty >= 0.0):
            raise ValueError(
                "[beam search] expected penalties >= 0, got "
                f"{self.length_penalty} and {self.coverage_penalty}"
            )


@dataclass(frozen=True)
class Hypothesis:
    """A target that was found.

    Attributes:
        tokens: without the one that ends it.
        log_p: of the tokens and the end, in nats.
        score: what it was ranked by: log_p and the penalties.
    """

    tokens: tuple[int, ...]
    log_p: float
    score: float


@dataclass
class _Live:
    """The hypotheses under way, in the order of their sources."""

    tokens: list[tuple[int, ...]]
    log_p: Array  # (N,)
    coverage: Array  # (N, S)
    sources: Integers
    ngrams: list[frozenset[tuple[int, ...]]] = field(default_factory=list)


def beam_search(
    stream: DecoderStream,
    source_lengths: Integers,
    most: Integers,
    options: BeamOptions,
) -> list[list[Hypothesis]]:
    """Returns the hypotheses of each source, the best first, at most `options.width`.

    Every step is one call over all hypotheses of all sources. A source is done when so many of its
    hypotheses have ended and none under way scores better than the best of them: a sure model ends
    several at once that are hardly possible. Those that reach the longest length are ended there.

    Args:
        stream: at its beginning.
        source_lengths: (B,) places of each source.
        most: (B,) tokens that a target may have; 0 leaves nothing but its end.
        options: how to search.
    """
    batch = source_lengths.size
    found: list[list[Hypothesis]] = [[] for _ in range(batch)]
    live = _Live(
        [()] * batch,
        np.zeros(batch),
        np.zeros((batch, 1)),  # of all S places from the first step on
        np.arange(batch),
        [frozenset()] * batch,
    )
    last = np.zeros(batch, np.int64)
    step = 0
    while live.tokens:
        logits, weights = stream.step(last)
        live.coverage = live.coverage + weights
        tokens, scores = functional.best_tokens(
            logits, options.width + 1, banned=_banned(live, options)
        )
        full = np.flatnonzero(most[live.sources] <= step)  # nothing but the end may come
        tokens[full], scores[full] = -1, -np.inf
        tokens[full, 0] = END
        scores[full, 0] = functional.log_softmax(logits[full].astype(np.float64))[:, END]
        parents, last = _select(live, tokens, scores, found, source_lengths, options)
        stream.keep(parents)
        step += 1
    for each in found:
        each.sort(key=lambda hypothesis: -hypothesis.score)
    return [each[: options.width] for each in found]


def _banned(live: _Live, options: BeamOptions) -> list[tuple[int, int]]:
    """Pairs (row, token) that may not come next."""
    pairs = [(row, token) for row in range(len(live.tokens)) for token in options.banned]
    n = options.no_repeat
    if n:
        for row, (tokens, seen) in enumerate(zip(live.tokens, live.ngrams, strict=True)):
            tail = tokens[len(tokens) - n + 1 :]
            pairs += [(row, ngram[-1]) for ngram in seen if ngram[:-1] == tail]
    return pairs


def _select(
    live: _Live,
    tokens: Integers,
    scores: Array,
    found: list[list[Hypothesis]],
    source_lengths: Integers,
    options: BeamOptions,
) -> tuple[Integers, Integers]:
    """Moves what has ended to `found`, the best of the rest on; returns parents and their tokens.

    Of each source the `width` best candidates may end. So many others go on, each row having one
    more candidate than that.
    """
    width = tokens.shape[1]
    totals, flat = (live.log_p[:, None] + scores).ravel(), tokens.ravel().tolist()
    # Of each source the best first; equals in the order of rows and tokens.
    order = np.lexsort((-totals, np.repeat(live.sources, width)))
    starts = np.searchsorted(live.sources[order // width], np.arange(len(found) + 1))
    places, log_p = order.tolist(), totals.tolist()
    kept: list[tuple[int, int, float]] = []
    for source in np.unique(live.sources).tolist():
        going: list[tuple[int, int, float]] = []
        for rank, place in enumerate(places[starts[source] : starts[source + 1]]):
            row, token, total = place // width, flat[place], log_p[place]
            if token < 0 or len(going) == options.width:
                break
            if token != END:
                going.append((row, token, total))
            elif rank < options.width:
                found[source].append(_ended(live, row, total, int(source_lengths[source]), options))
        if not _done(live, found[source], going, options):
            kept += going
    parents = np.array([row for row, _, _ in kept], np.int64)
    last = np.array([token for _, token, _ in kept], np.int64)
    grown = [(*live.tokens[row], token) for row, token, _ in kept]
    if options.no_repeat:
        n = options.no_repeat
        live.ngrams = [
            live.ngrams[row] | {text[-n:]} if len(text) >= n else live.ngrams[row]
            for row, text in zip(parents, grown, strict=True)
        ]
    live.tokens = grown
    live.log_p = np.array([total for _, _, total in kept])
    live.coverage, live.sources = live.coverage[parents], live.sources[parents]
    return parents, last


def _done(
    live: _Live,
    found: list[Hypothesis],
    going: list[tuple[int, int, float]],
    options: BeamOptions,
) -> bool:
    if len(found) < options.width or not going:
        return not going
    row, _, log_p = going[0]
    best = log_p / _norm(len(live.tokens[row]) + 1, options)
    return best <= max(hypothesis.score for hypothesis in found)


def _norm(count: int, options: BeamOptions) -> float:
    """What log p of so many tokens is divided by; the end is one more."""
    return float(((6 + count) / 6) ** options.length_penalty)


def _ended(live: _Live, row: int, log_p: float, places: int, options: BeamOptions) -> Hypothesis:
    tokens = live.tokens[row]
    score = log_p / _norm(len(tokens), options)
    if options.coverage_penalty:
        read = np.clip(live.coverage[row, :places], 1e-12, 1.0)
        score += options.coverage_penalty * float(np.log(read).sum())
    return Hypothesis(tokens, log_p, score)


def sample_targets(
    stream: DecoderStream,
    most: Integers,
    draw: Callable[[Array], Integers],
    banned: tuple[int, ...] = (),
) -> list[Hypothesis]:
    """Returns one target of each source, drawn token by token.

    Args:
        stream: at its beginning.
        most: (B,) tokens that a target may have.
        draw: logits (N, V) -> tokens (N,), as `functional.sample`.
        banned: tokens that are never written.
    """
    batch = most.size
    tokens: list[list[int]] = [[] for _ in range(batch)]
    log_p = np.zeros(batch)
    rows, last = np.arange(batch), np.zeros(batch, np.int64)
    while rows.size:
        logits, _ = stream.step(last)
        normal = functional.log_softmax(logits.astype(np.float64))
        logits[:, banned] = -np.inf
        last = draw(logits)
        full = np.array([len(tokens[b]) for b in rows]) >= most[rows]
        last[full] = END
        log_p[rows] += normal[np.arange(rows.size), last]
        going = np.flatnonzero(last != END)
        for place in going:
            tokens[rows[place]].append(int(last[place]))
        stream.keep(going)
        rows, last = rows[going], last[going]
    return [
        Hypothesis(tuple(found), float(total), float(total) / (len(found) + 1))
        for found, total in zip(tokens, log_p, strict=True)
    ]
