"""A corpus as tokens, to train on and held out: in memory, or in a file that may be larger."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from .corpora import Corpus

#: Told what is being done and how much of it is, 0..1.
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class TokenCorpus:
    """Texts as token streams, each document closed by END.

    Attributes:
        vocabulary: what the tokens stand for.
        training: (N,) tokens to train on.
        held_out: (M,) tokens that choose among models.
        test: (K,) tokens to score once, at the end; none where a user's own texts are split.
        description: one line about them.
        texts: the documents of the parts that are scored, by name; none where only tokens are kept.
        fingerprint: identifies the tokens, None where nobody has counted it yet.
    """

    vocabulary: Vocabulary
    training: Array
    held_out: Array
    test: Array
    description: str
    texts: Mapping[str, Sequence[Document]]
    fingerprint: int | None = None

    @property
    def parts(self) -> Mapping[str, Array]:
        """The parts that are scored, by name."""
        return {"held out": self.held_out, **({"test": self.test} if self.test.size else {})}


def split_corpus(
    sources: Sequence[Path],
    level: Level,
    *,
    limit: int,
    min_count: int,
    progress: Progress = lambda what, part: None,
) -> Corpus:
    """Splits texts by document, and finds their vocabulary.

    Args:
        sources: text files and folders; none = English text that comes with Python.
        level: what a token is.
        limit: the most different characters or words.
        min_count: rarer ones become the unknown token.
        progress: told what is being done and how much of it is, 0..1.

    Raises:
        ValueError: there is no text, or it cannot be read.
    """
    documents = read_documents(sources) if sources else builtin_documents()
    for index, document in enumerate(documents):
        progress("reading", index / len(documents))
        _ = document.digest  # kept
    progress("reading", 1.0)
    training, held_out = split_documents(documents)
    pieces = chain.from_iterable(_watched(training, "counting", progress))
    vocabulary = Vocabulary.build(pieces, level, min_count=min_count, limit=limit)
    return Corpus(training, held_out, (), vocabulary)


def encode_corpus(corpus: Corpus) -> TokenCorpus:
    """Reads the texts of a corpus into memory, as tokens."""
    training, held_out, test = (
        np.concatenate(
            [
                corpus.vocabulary.join([])[:0],
                *chain.from_iterable(_encode(corpus.vocabulary, (d.pieces() for d in documents))),
            ]
        )
        for documents in (corpus.training, corpus.validation, corpus.test)
    )
    texts = {"held out": corpus.validation, "test": corpus.test}
    return TokenCorpus(corpus.vocabulary, training, held_out, test, corpus.description, texts)


def _encode(
    vocabulary: Vocabulary, documents: Iterable[Iterable[str]]
) -> Iterator[Iterator[Array]]:
    """Yields the tokens of each document, in pieces."""
    end = vocabulary.join([""])
    for pieces in documents:
        yield chain(map(vocabulary.encode, pieces), (end,))


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
    corpus = split_corpus(
        as_paths(sources), level, limit=vocabulary, min_count=min_count, progress=tell
    )
    metadata = {
        "task": "lm",
        "vocabulary": corpus.vocabulary.to_json(),
        "training_documents": len(corpus.training),
        "description": corpus.description,
    }
    documents = [*corpus.training, *corpus.validation]
    with write_tokens(path, size=len(corpus.vocabulary), metadata=metadata) as writer:
        for pieces in _encode(corpus.vocabulary, _watched(documents, "writing", tell)):
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
    training, held_out, none = store.tokens[:cut], store.tokens[cut:], store.tokens[:0]
    return TokenCorpus(vocabulary, training, held_out, none, description, {}, store.crc32)


def _watched(
    documents: Sequence[Document], what: str, progress: Progress
) -> Iterator[Iterator[str]]:
    """Yields the pieces of each document, and tells how many of all characters were taken."""
    total = max(sum(document.characters for document in documents), 1)
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
