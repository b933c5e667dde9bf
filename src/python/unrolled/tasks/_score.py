"""How well a language model predicts a text."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.layers import map_state
from unrolled.layers._place import move
from unrolled.models import LanguageModel
from unrolled.training import Array

from ._text import END, UNKNOWN, Vocabulary

#: A long text is scored as up to so many streams side by side ...
_STREAMS = 32

#: ... of at least so many tokens, each after reading so many of those before it ...
_LEAST_TOKENS, _CONTEXT = 4096, 256

#: ... in chunks of so many steps.
_CHUNK = 256

#: So many tokens of a long text are scored at once, so that memory does not grow with it.
_SLAB = 1 << 19


@dataclass(frozen=True)
class TextScore:
    """What predicting a text cost, its end included.

    Attributes:
        nats: sum of -log p over all tokens.
        tokens: how many there are, an end for each document included.
        characters: characters of the text; for a model of words, of the words alone.
        unknown: how many tokens are not in the vocabulary.
        level: "char" or "word".
    """

    nats: float
    tokens: int
    characters: int
    unknown: int
    level: str

    @property
    def bits_per_character(self) -> float:
        """Bits per character over all characters, unknown ones included; of character models.

        The ends of documents cost bits, but do not count as characters. A character outside the
        vocabulary costs -log2 p(<unk>) plus log2 of the number of rare kinds of characters in the
        training text, as if one of these were then drawn evenly.
        """
        if self.level != "char":
            raise ValueError("a model of words has no bits per character; see perplexity")
        return self.nats / math.log(2.0) / max(self.characters, 1)

    @property
    def perplexity(self) -> float:
        """exp(nats per token), <unk> and ends counting as tokens like any other."""
        return math.exp(self.nats / max(self.tokens, 1))

    @property
    def loss(self) -> float:
        """Nats per character for models of characters, nats per token for models of words."""
        return self.nats / max(self.characters if self.level == "char" else self.tokens, 1)

    def __add__(self, other: "TextScore") -> "TextScore":
        return TextScore(
            self.nats + other.nats,
            self.tokens + other.tokens,
            self.characters + other.characters,
            self.unknown + other.unknown,
            self.level,
        )


def score_texts(
    model: LanguageModel, vocabulary: Vocabulary, texts: Iterable[str], *, ends: bool = True
) -> TextScore:
    """Scores documents as one text, read one after the other.

    Args:
        model: the network.
        vocabulary: its tokens.
        texts: the documents.
        ends: count the ends of the documents too.
    """
    return score_tokens(model, vocabulary, vocabulary.join(texts), ends=ends)


def score_tokens(
    model: LanguageModel, vocabulary: Vocabulary, tokens: NDArray[Any], *, ends: bool = True
) -> TextScore:
    """Scores tokens (N,) as one text, a slab of them at a time; `ends` as of `score_texts`."""
    score = TextScore(0.0, 0, 0, 0, vocabulary.level)
    for start in range(0, tokens.size, _SLAB):
        context = min(start, _CONTEXT)
        slab = tokens[start - context : start + _SLAB]
        nats = token_losses(model, vocabulary, slab)
        score += sum_losses(nats[context:], vocabulary, slab[context:], ends=ends)
    return score


def sum_losses(
    nats: NDArray[np.float64], vocabulary: Vocabulary, tokens: NDArray[Any], *, ends: bool = True
) -> TextScore:
    """Sums up what each token cost, (N,) nats for tokens (N,); `ends` as of `score_texts`."""
    if not ends:
        nats, tokens = nats[tokens != END], tokens[tokens != END]
    unknown = int(np.count_nonzero(tokens == UNKNOWN))
    characters = int(np.count_nonzero(tokens != END))
    if vocabulary.level == "word":
        lengths = np.array([len(symbol) for symbol in vocabulary.symbols])
        characters = int(lengths[tokens[tokens > UNKNOWN]].sum())
    return TextScore(float(nats.sum()), tokens.size, characters, unknown, vocabulary.level)


def token_losses(
    model: LanguageModel, vocabulary: Vocabulary, tokens: NDArray[Any]
) -> NDArray[np.float64]:
    """Returns -log p of each token after the ones before it, of the first after END.

    Shapes: tokens (N,) -> (N,) nats.
    """
    result = unknown_losses(vocabulary, tokens)
    for hidden, places in read_side_by_side(model, tokens, _CHUNK):
        counted = places >= 0
        targets = np.where(counted, tokens[places].astype(np.int64), -1)
        losses = move(model.head.losses(hidden, targets), "cpu")
        result[places[counted]] += losses[counted]
    return result


def token_probabilities(
    model: LanguageModel, vocabulary: Vocabulary, text: str
) -> Iterator[tuple[str, float]]:
    """Yields each character or word of a text with its probability after those before it."""
    losses = token_losses(model, vocabulary, vocabulary.encode(text))
    yield from zip(vocabulary.split(text), np.exp(-losses).tolist(), strict=True)


def unknown_losses(vocabulary: Vocabulary, tokens: NDArray[Any]) -> NDArray[np.float64]:
    """Returns what unknown characters cost beyond -log p(<unk>), (N,) nats for tokens (N,)."""
    cost = math.log(max(vocabulary.rare, 1)) if vocabulary.level == "char" else 0.0
    return np.where(tokens == UNKNOWN, cost, 0.0)


def read_side_by_side(
    model: LanguageModel, tokens: NDArray[Any], steps: int
) -> Iterator[tuple[Array, NDArray[np.int64]]]:
    """Yields the outputs of the recurrent layers before each token, the first before END.

    A long text is cut into parts that are read side by side, each after the 256 tokens before it;
    what lies further back is forgotten at these few places.

    Shapes: tokens (N,) -> outputs (T, B, H) of T <= steps, and places (T, B): which token comes
    next, -1 for none. Each place comes once.
    """
    if not tokens.size:
        return
    stream = np.concatenate([[END], tokens]).astype(np.int64)
    streams = int(np.clip(tokens.size // _LEAST_TOKENS, 1, _STREAMS))
    length = -(-tokens.size // streams)
    places = np.arange(streams) * length + np.arange(-_CONTEXT, length)[:, None]
    inputs = stream[np.clip(places, 0, tokens.size - 1)]
    places[places >= tokens.size] = -1

    # The first part has nothing before it: its state stays zero until there is.
    _, state = model.rnn(model.embedding.lookup(inputs[:_CONTEXT]))
    state = map_state(_forget_first, state)
    for start in range(_CONTEXT, len(inputs), steps):
        chunk = slice(start, start + steps)
        outputs, state = model.rnn(model.embedding.lookup(inputs[chunk]), state)
        yield outputs, places[chunk]


def _forget_first(state: NDArray[Any]) -> NDArray[Any]:
    state = state.copy()
    state[:, 0] = 0  # (layers, streams, H)
    return state
