"""What a corpus is, and what its readers share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .._corpus import Document
from .._text import Vocabulary


@dataclass(frozen=True)
class Corpus:
    """Texts to learn from and texts to score, with the vocabulary they are read by.

    Attributes:
        training: what a model may learn from.
        validation: what chooses among models.
        test: what is scored once, at the end; none where a user's own texts are split.
        vocabulary: the tokens.
    """

    training: Sequence[Document]
    validation: Sequence[Document]
    test: Sequence[Document]
    vocabulary: Vocabulary

    @property
    def description(self) -> str:
        """One line about the texts."""
        test = f", {_characters(self.test):,} to test" if self.test else ""
        return (
            f"{_characters(self.training):,} characters in {len(self.training):,} documents to "
            f"train on, {_characters(self.validation):,} held out{test}; "
            f"{len(self.vocabulary):,} different tokens"
        )


def _characters(documents: Sequence[Document]) -> int:
    return sum(document.characters for document in documents)


def one_path(sources: Sequence[Path], expected: str) -> Path:
    """Returns the only source.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: there is none, or more than one.
    """
    if len(sources) != 1:
        raise ValueError(f"expected one path, {expected}; got {len(sources)} paths")
    if not sources[0].exists():
        raise FileNotFoundError(f"there is no file or folder {sources[0]}: expected {expected}")
    return sources[0]
