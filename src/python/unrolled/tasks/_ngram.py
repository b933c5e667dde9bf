"""N-gram models with interpolated modified Kneser-Ney smoothing: what a network has to beat.

Source: S. F. Chen and J. Goodman 1999, "An empirical study of smoothing techniques for language
modeling", equations 25 to 28. With h the k-1 tokens before w, h' all of them but the first,

    p_k(w | h) = max(a(h w) - D(a(h w)), 0) / S(h) + g(h) p_{k-1}(w | h'),    p_0(w) = 1 / V,
    S(h) = sum_w a(h w),    g(h) = (D_1 N_1(h) + D_2 N_2(h) + D_3 N_3(h)) / S(h),

where a counts how often h w occurs if k is the highest order, else how many different tokens stand
before it; N_i(h) counts the w with a(h w) = i (N_3: 3 or more). After an h that was never seen,
p_k = p_{k-1}. The discounts D of an order follow from how many of its n-grams have a count of 1 to
4. The text is one stream, as for recurrent models: ends of documents are tokens like others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._text import END

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Discounts where the counts do not allow an estimate, as in KenLM (Heafield et al. 2013).
_FALLBACK = (0.5, 1.0, 1.5)

#: Numbers in a block of probabilities over the vocabulary: 4 MB.
_BLOCK = 1 << 19


@dataclass(frozen=True)
class _Order:
    """The k-grams of one order k; a k-gram is known by its place among the sorted keys.

    Attributes:
        keys: (M,) ascending: the place of its first k-1 tokens in the order below, times V, plus
            its last token.
        alpha: (M,) its discounted share of the probability after its first k-1 tokens.
        gamma: (M of the order below,) what those leave to the order below; 1 where nothing is
            known to follow.
    """

    keys: Ints
    alpha: Floats
    gamma: Floats


class KneserNey:
    """An n-gram model of a token stream.

    Shapes: V vocabulary, N tokens.

    Args:
        tokens: (N,) integers in 0 .. V-1, the training text.
        vocab_size: V.
        order: n, 1 or more.

    Raises:
        ValueError: the order is less than 1, there are no tokens, or one is outside the vocabulary.
    """

    def __init__(self, tokens: NDArray[Any], vocab_size: int, order: int = 5) -> None:
        if order < 1 or not tokens.size:
            raise ValueError(
                f"[KneserNey] expected order >= 1 and tokens (N,), got {order} and {tokens.shape}"
            )
        if tokens.min() < 0 or tokens.max() >= vocab_size:
            raise ValueError(
                f"[KneserNey] expected tokens in 0..V-1 = 0..{vocab_size - 1}, "
                f"got {tokens.min()}..{tokens.max()}"
            )
        self._vocab_size = vocab_size
        stream = tokens.astype(np.int64)
        order = min(order, stream.size)
        # Of each order: the keys, how often each occurs, where first, and at each place of the
        # text which k-gram begins there.
        places = np.zeros(stream.size + 1, np.int64)  # empty 0-grams
        counted = []
        for k in range(order):
            keys, first, places, counts = np.unique(
                places[:-1] * vocab_size + stream[k:],
                return_index=True,
                return_inverse=True,
                return_counts=True,
            )
            counted.append((keys, first, places, counts))
        self._orders: list[_Order] = []
        below = 1
        for k, (keys, _, places, counts) in enumerate(counted):
            if k + 1 < order:
                # Each different (k+1)-gram counts once, for the k-gram that it ends with.
                _, first, _, _ = counted[k + 1]
                counts = np.bincount(places[first + 1], minlength=keys.size)
            self._orders.append(_smooth(keys, counts, keys // vocab_size, below))
            below = keys.size

    @property
    def name(self) -> str:
        """The model as reports name it."""
        return f"Kneser-Ney {len(self._orders)}-grams"

    def losses(self, tokens: NDArray[Any]) -> Floats:
        """Returns -log p of each token after the ones before it, of the first after END.

        Shapes: tokens (N,) -> (N,) nats.
        """
        stream = np.concatenate([[END], tokens]).astype(np.int64)
        p = np.full(tokens.size, 1.0 / self._vocab_size)
        contexts = np.zeros(tokens.size, np.int64)  # the 0-grams before the tokens
        for order, after in zip(self._orders, self._places(stream), strict=True):
            p = p * _at(order.gamma, contexts, 1.0) + _at(order.alpha, after[1:], 0.0)
            contexts = after[:-1]
        nats: Floats = -np.log(p)
        return nats

    def rankings(self, tokens: NDArray[Any]) -> Iterator[tuple[Ints, Floats]]:
        """Yields the probabilities of all next tokens, a block of places at a time.

        Shapes: tokens (N,) -> places (M,) in the text, probabilities (M, V): of the token there,
        after the ones before it.
        """
        stream = np.concatenate([[END], tokens]).astype(np.int64)
        contexts = [np.zeros(stream.size, np.int64), *self._places(stream)][: len(self._orders)]
        rows = max(_BLOCK // self._vocab_size, 1)
        for start in range(0, tokens.size, rows):
            places = np.arange(start, min(start + rows, tokens.size))
            yield places, self._distribution([context[places] for context in contexts])

    def _distribution(self, contexts: list[Ints]) -> Floats:
        """Probabilities (M, V) after contexts of 0, 1, ... tokens, -1 for an unknown one."""
        size, rows = self._vocab_size, np.arange(len(contexts[0]))
        # From the highest order down: what the orders above leave to this one, and who gets it.
        share = np.ones(rows.size)
        entries = []
        for order, context in zip(self._orders[:0:-1], contexts[:0:-1], strict=True):
            begin, end = np.searchsorted(order.keys, [context * size, (context + 1) * size])
            lengths = np.where(context >= 0, end - begin, 0)
            # The k-grams begin .. end of each row, one after the other.
            grams = np.repeat(begin - np.cumsum(lengths) + lengths, lengths)
            grams += np.arange(grams.size)
            row = np.repeat(rows, lengths)
            entries.append((row, order.keys[grams] % size, order.alpha[grams] * share[row]))
            share *= _at(order.gamma, context, 1.0)
        p: Floats = share[:, None] * self._unigram
        for row, token, probability in entries:  # within one order each place comes once
            p[row, token] += probability
        return p

    @cached_property
    def _unigram(self) -> Floats:
        """p_1, (V,)."""
        first = self._orders[0]
        p = np.full(self._vocab_size, first.gamma[0] / self._vocab_size)
        p[first.keys] += first.alpha
        return p

    def _places(self, stream: Ints) -> Iterator[Ints]:
        """For k = 1, 2, ...: which known k-gram ends at each token (N,), -1 for an unknown one."""
        before = np.zeros(stream.size, np.int64)
        for order in self._orders:
            wanted = before * self._vocab_size + stream
            found = np.searchsorted(order.keys, wanted)
            found[found == order.keys.size] = 0
            found[(before < 0) | (order.keys[found] != wanted)] = -1
            yield found
            before = np.concatenate([[-1], found[:-1]])


def _at(values: Floats, places: Ints, missing: float) -> Floats:
    """values[places], and `missing` for places of -1."""
    return np.where(places >= 0, values[places], missing)


def _smooth(keys: Ints, counts: Ints, contexts: Ints, below: int) -> _Order:
    """The probabilities of one order.

    Shapes: keys, counts, contexts (M,); below: how many contexts there are.
    """
    kinds = np.minimum(counts, 3)
    discounts = np.array([0.0, *_discounts(counts)])[kinds]
    total = np.bincount(contexts, counts, below)
    followed = total > 0
    total[~followed] = 1.0
    gamma = np.bincount(contexts, discounts, below) / total
    gamma[~followed] = 1.0
    return _Order(keys, (counts - discounts) / total[contexts], gamma)


def _discounts(counts: Ints) -> tuple[float, float, float]:
    """D_1, D_2, D_3 from how many n-grams have counts of 1 to 4 (equation 26)."""
    n = np.bincount(np.minimum(counts, 5), minlength=6).astype(float)
    if not n[1:4].all():
        return _FALLBACK
    y = n[1] / (n[1] + 2.0 * n[2])
    one, two, three = (i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3))
    if 0.0 <= one <= 1.0 and 0.0 <= two <= 2.0 and 0.0 <= three <= 3.0:
        return one, two, three
    return _FALLBACK
