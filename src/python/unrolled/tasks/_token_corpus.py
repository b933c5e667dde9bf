"""A corpus as tokens, to train on and held out: in memory, or in a file that may be larger."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from unrolled.training import Array, TokenStore, TokenStoreError, write_tokens

from ._corpus import (
    TOKENS_SUFFIX,
    Document,
    builtin_documents,
    read_documents,
    split_documents,
)
from ._run import as_paths
from ._saved import PathLike
from ._text import Level, Vocabulary

#: Told what is being done and how much of it is, 0..1.
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class TokenCorpus:
    """Texts as two token streams, each document closed by END.

    Attributes:
        vocabulary: what the tokens stand for.
        training: (N,) tokens to train on.
        held_out: (M,) tokens to score.
        description: one line about them.
        fingerprint: identifies the tokens, None where nobody has counted it yet.
    """

    vocabulary: Vocabulary
    training: Array
    held_out: Array
    description: str
    fingerprint: int | None = None


class _Plan:
    """Which documents are trained on, which are held out, and with which vocabulary."""

    def __init__(
        self, sources: Sequence[Path], level: Level, limit: int, min_count: int, progress: Progress
    ) -> None:
        documents = read_documents(sources) if sources else builtin_documents()
        for index, document in enumerate(documents):
            progress("reading", index / len(documents))
            _ = document.digest  # kept
        progress("reading", 1.0)
        self.training, self.held_out = split_documents(documents)
        self.vocabulary = Vocabulary.build(
            chain.from_iterable(_watched(self.training, "counting", progress)),
            level,
            min_count=min_count,
            limit=limit,
        )

    @property
    def description(self) -> str:
        return (
            f"{_characters(self.training):,} characters in {len(self.training):,} documents to "
            f"train on, {_characters(self.held_out):,} held out; "
            f"{len(self.vocabulary):,} different tokens"
        )

    def encode(self, documents: Iterable[Iterable[str]]) -> Iterator[Iterator[Array]]:
        """Yields the tokens of each document, in pieces."""
        end = self.vocabulary.join([""])
        for pieces in documents:
            yield chain(map(self.vocabulary.encode, pieces), (end,))


def encode_corpus(
    sources: Sequence[Path], level: Level, *, limit: int, min_count: int
) -> TokenCorpus:
    """Reads texts into memory, as tokens.

    Args:
        sources: text files and folders; none = English text that comes with Python.
        level: what a token is.
        limit: the most different characters or words.
        min_count: rarer ones become the unknown token.

    Raises:
        ValueError: there is no text, or it cannot be read.
    """
    plan = _Plan(sources, level, limit, min_count, lambda what, part: None)
    training, held_out = (
        np.concatenate(list(chain.from_iterable(plan.encode(d.pieces() for d in documents))))
        for documents in (plan.training, plan.held_out)
    )
    return TokenCorpus(plan.vocabulary, training, held_out, plan.description)


def tokenize(
    sources: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    level: Level = "char",
    vocabulary: int = 20_000,
    min_count: int = 3,
    progress: Progress | None = None,
) -> Path:
    """Writes texts as a file of tokens, which `train` reads instead of the texts.

    Texts of any size are read a piece at a time, three times over, in memory for the vocabulary
    and one piece.

    Args:
        sources: text files and folders; none = English text that comes with Python.
        output: the file to write, `.tokens`; one of that name is replaced when all is done.
        level: what a token is, "char" or "word".
        vocabulary: the most different characters or words.
        min_count: rarer ones become <unk>.
        progress: told what is being done and how much of it is, 0..1.

    Returns:
        The file.

    Raises:
        ValueError: there is no text, or it cannot be read.
    """
    path = Path(output)
    if path.suffix != TOKENS_SUFFIX:
        path = Path(f"{path}{TOKENS_SUFFIX}")
    tell: Progress = (lambda what, part: None) if progress is None else progress
    plan = _Plan(as_paths(sources), level, vocabulary, min_count, tell)
    metadata = {
        "task": "lm",
        "vocabulary": plan.vocabulary.to_json(),
        "training_documents": len(plan.training),
        "description": plan.description,
    }
    documents = [*plan.training, *plan.held_out]
    with write_tokens(path, size=len(plan.vocabulary), metadata=metadata) as writer:
        for pieces in plan.encode(_watched(documents, "writing", tell)):
            for tokens in pieces:
                writer.append(tokens)
            writer.end_document()
    return path


def open_corpus(path: Path) -> TokenCorpus:
    """Opens what `tokenize` wrote, without reading it.

    Raises:
        FileNotFoundError: there is no such file.
        TokenStoreError: it cannot be read, or holds something else.
    """
    store = TokenStore(path)
    try:
        vocabulary = Vocabulary.from_json(store.metadata["vocabulary"])
        cut = int(store.starts[store.metadata["training_documents"]])
        description = str(store.metadata["description"])
    except (KeyError, TypeError, IndexError) as error:
        raise TokenStoreError(f"{path} holds no text for language models") from error
    return TokenCorpus(vocabulary, store.tokens[:cut], store.tokens[cut:], description, store.crc32)


def _characters(documents: Sequence[Document]) -> int:
    return sum(document.characters for document in documents)


def _watched(
    documents: Sequence[Document], what: str, progress: Progress
) -> Iterator[Iterator[str]]:
    """Yields the pieces of each document, and tells how many of all characters were taken."""
    total = max(_characters(documents), 1)
    done = 0

    def pieces(document: Document) -> Iterator[str]:
        nonlocal done
        for piece in document.pieces():
            yield piece
            done += len(piece)
            progress(what, done / total)

    progress(what, 0.0)
    for document in documents:
        yield pieces(document)
    progress(what, 1.0)
