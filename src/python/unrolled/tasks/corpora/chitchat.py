"""The chit-chat dataset of Brigham Young University by word: what people type to each other.

7,168 conversations of 258,145 messages (Myers, Etchart and Fulda 2020), from the package
`chitchat-dataset` or a user's own `dataset.json`. A conversation is a document and a message a
line of it, so the context of a word is all that was said before, as the screen shows it. Texts
are folded as a phone's keyboard would compare words: it sets capitals itself. The vocabulary is
that of Hard et al. 2018, "Federated learning for mobile keyboard prediction": the 10,000 most
frequent words of the training part, here with punctuation.

There is no official split: here 80 % of conversations train, 10 % validate, 10 % test, by a hash of
their identifier. One conversation of the test part is left out: most of its 1,296 messages repeat
one word, as "a a a a a", which anything predicts.
"""

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from unrolled.training import import_extra

from .._corpus import Document
from .._text import Vocabulary
from ._types import Corpus, one_path

VOCABULARY = 10_000

#: Messages typed for their number.
_LEFT_OUT = "1bb2dd40-502e-4b4a-a207-a717870cdc4a"

_EXPECTED = (
    "the dataset.json of the package chitchat-dataset "
    "(or no path, after pip install 'unrolled[corpora]')"
)


def read(sources: Sequence[Path]) -> Corpus:
    """Reads the package's file or a user's own.

    Raises:
        ImportError: the package is not installed, and no path was given.
        FileNotFoundError: there is no such file.
        ValueError: it is something else.
    """
    if sources:
        data = one_path(sources, _EXPECTED).read_bytes()
    else:
        # Read without its classes: they open the file in the locale's encoding, and never close it.
        package = import_extra("chitchat_dataset", "corpora")
        data = files(package).joinpath("dataset.json").read_bytes()
    parts: tuple[list[Document], ...] = ([], [], [])
    for document in _conversations(data):
        parts[_part(document.name)].append(document)
    training, validation, test = parts
    vocabulary = Vocabulary.build(
        (document.text for document in training), "word", limit=VOCABULARY, form="folded"
    )
    return Corpus(training, validation, test, vocabulary)


def _conversations(data: bytes) -> list[Document]:
    """A document for each conversation; each turn is a list of messages by the same person."""
    try:
        return [
            Document(name, "\n".join(m["text"] for turn in talk["messages"] for m in turn))
            for name, talk in json.loads(data).items()
            if name != _LEFT_OUT
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"these are no conversations: expected {_EXPECTED}") from error


def _part(name: str) -> int:
    """0 training, 1 validation, 2 test: 80, 10 and 10 of 100."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 100
    return (share >= 80) + (share >= 90)
