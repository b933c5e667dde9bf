"""Tiny Shakespeare by character, split as in nanoGPT (A. Karpathy).

The first int(0.9 N) of the N = 1,115,394 characters to train on, the rest for validation; nanoGPT
has no test part and builds its vocabulary, 65 characters, from all of the text.
"""

from collections.abc import Sequence
from pathlib import Path

from .._corpus import Document, read_documents
from .._text import Vocabulary
from ._types import Corpus, one_path

CHARACTERS = 1_115_394

_EXPECTED = (
    "Tiny Shakespeare's input.txt (https://github.com/karpathy/char-rnn, "
    "data/tinyshakespeare/input.txt)"
)


def read(sources: Sequence[Path]) -> Corpus:
    """Reads the text file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else.
    """
    path = one_path(sources, _EXPECTED)
    text = "".join(document.text for document in read_documents([path]))
    if len(text) != CHARACTERS:
        raise ValueError(
            f"{path} has {len(text):,} characters instead of {CHARACTERS:,}: expected {_EXPECTED}"
        )
    cut = int(0.9 * len(text))
    return Corpus(
        training=[Document("training", text[:cut])],
        validation=[Document("validation", text[cut:])],
        test=[],
        vocabulary=Vocabulary.build([text], "char"),
    )
