"""Reference corpora, one a file: with the split and the vocabulary that published figures are of.

Nothing is downloaded: each reader takes a user's own copy and says where one is to be had.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import brown, chitchat, tinyshakespeare
from ._types import Corpus as Corpus

READERS: Mapping[str, Callable[[Sequence[Path]], Corpus]] = {
    "brown": brown.read,
    "chitchat": chitchat.read,
    "tinyshakespeare": tinyshakespeare.read,
}


def read_corpus(name: str, sources: Sequence[Path]) -> Corpus:
    """Returns a reference corpus.

    Args:
        name: which one, of `READERS`.
        sources: the user's copy; none for one that is a package.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: that is not the corpus; the text says what is expected and where it is.
        ImportError: its package is not installed.
    """
    return READERS[name](sources)
