"""Text that a language model writes, one token after the other."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import functional
from unrolled.models import LanguageModel
from unrolled.models.language_model import LanguageModelStream

from ._text import END, UNKNOWN, Vocabulary

#: A prompt is read in pieces of so many tokens, so that a long one takes no more memory.
_CHUNK = 1024


def read_text(
    model: LanguageModel, tokens: NDArray[Any]
) -> tuple[LanguageModelStream, NDArray[Any]]:
    """Lets a model read a text from its beginning.

    Shapes: tokens (N,) without the END that it begins after; logits (1, V).

    Returns:
        stream: a stream that stands after the text.
        logits: of the next token.
    """
    text = np.concatenate([[END], tokens]).astype(np.int64)
    state: Any = None
    for start in range(0, text.size - 1, _CHUNK):
        piece = text[start : min(start + _CHUNK, text.size - 1), None]
        _, state = model.rnn(model.embedding(piece), state)
    stream = model.stream()
    stream.state = state
    return stream, stream.step(text[-1:])


def write_text(
    model: LanguageModel,
    vocabulary: Vocabulary,
    prompt: str,
    *,
    length: int,
    temperature: float,
    top_k: int,
    top_p: float,
    stop: bool,
    rng: np.random.Generator,
) -> Iterator[str]:
    """Yields a continuation of `prompt`, piece by piece; see `language_model.generate`."""
    stream, logits = read_text(model, vocabulary.encode(prompt))
    previous = prompt[-1:]
    for _ in range(length):
        logits[:, UNKNOWN] = -np.inf
        if not stop:
            logits[:, END] = -np.inf
        token = functional.sample(
            logits, rng.random(1), temperature=temperature, top_k=top_k, top_p=top_p
        )
        if token[0] == END:
            return
        piece = vocabulary.piece(int(token[0]), previous)
        previous = piece[-1:]
        yield piece
        logits = stream.step(token)
