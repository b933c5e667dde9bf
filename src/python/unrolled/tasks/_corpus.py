"""Texts to train on: a user's files, or English that every CPython carries."""

import ast
import codecs
import hashlib
import importlib.util
import io
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

#: What is read from a folder; other files are read where they are named themselves.
TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst")

#: What `tokenize` writes and `train` reads.
TOKENS_SUFFIX = ".tokens"

#: How much is held out, and the most that may be, as fractions of all characters ...
_HELD_OUT, _HELD_OUT_MOST = 0.05, 0.10

#: ... and, of large corpora, in characters: scoring more takes long and tells no more.
_HELD_OUT_CHARACTERS = 2_500_000

#: Bytes of a file that are in memory at a time.
_PIECE = 1 << 20

#: Folders of the standard library that not every installation has, or that are not part of it.
_NOT_READ = {"test", "tests", "idle_test", "site-packages", "dist-packages", "pydoc_data"}


@dataclass(frozen=True)
class Document:
    """A text that belongs together; one in a file is read when it is used, a piece at a time.

    Attributes:
        name: where it comes from.
        content: the text itself, or the UTF-8 file that holds it.
        start: where in `content` it begins, in characters.
        stop: where it ends; None = with `content`.
    """

    name: str
    content: str | Path
    start: int = 0
    stop: int | None = None

    def pieces(self) -> Iterator[str]:
        """Yields the text in pieces that end between words; lines end in "\\n".

        Raises:
            ValueError: the file is not UTF-8.
        """
        content = self.content
        position = 0
        for piece in (content,) if isinstance(content, str) else _read_pieces(content):
            stop = None if self.stop is None else max(self.stop - position, 0)
            part = piece[max(self.start - position, 0) : stop]
            if part:
                yield part
            position += len(piece)
            if self.stop is not None and position >= self.stop:
                return

    @property
    def text(self) -> str:
        """All of the text."""
        return "".join(self.pieces())

    @property
    def characters(self) -> int:
        """How long it is."""
        return self._survey[0] if self.stop is None else self.stop - self.start

    @property
    def digest(self) -> bytes:
        """A hash of the text."""
        return self._survey[1]

    @cached_property
    def _survey(self) -> tuple[int, bytes]:
        characters, digest = 0, hashlib.sha256()
        for piece in self.pieces():
            characters += len(piece)
            digest.update(piece.encode("utf-8", "surrogatepass"))
        return characters, digest.digest()


def read_documents(sources: Sequence[Path]) -> list[Document]:
    """Finds text files, each one document, and the text files below folders, by name.

    Raises:
        FileNotFoundError: a source does not exist.
        ValueError: a file does not begin as UTF-8, or there is no text at all.
    """
    documents = [Document(str(path), path) for path in _files(sources)]
    documents = [document for document in documents if any(map(str.strip, document.pieces()))]
    if not documents:
        raise ValueError(f"there is no text in {', '.join(map(str, sources))}")
    return documents


def _files(sources: Sequence[Path]) -> Iterator[Path]:
    for source in sources:
        if source.is_dir():
            found = [
                path
                for path in sorted(source.rglob("*"))
                if path.suffix.lower() in TEXT_SUFFIXES and path.is_file()
            ]
            if not found:
                raise ValueError(f"there is no {' or '.join(TEXT_SUFFIXES)} file in {source}")
            yield from found
        elif source.suffix == TOKENS_SUFFIX and source.exists():
            raise ValueError(
                f"{source} holds tokens, not text: it can be trained on, alone, and nothing else"
            )
        elif source.exists():
            yield source
        else:
            raise FileNotFoundError(f"there is no file or folder {source}")


def _read_pieces(path: Path) -> Iterator[str]:
    """Yields the text of a file in pieces of about a megabyte that end in white space."""
    # utf-8-sig drops the byte-order mark that some editors put first.
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    lines = io.IncrementalNewlineDecoder(decoder, translate=True)
    rest: list[str] = []
    with path.open("rb") as file:
        while data := file.read(_PIECE):
            text = _decode(lines, data, path, file.tell())
            end = _after_last_space(text)
            if end:
                yield "".join([*rest, text[:end]])
                rest = []
            rest.append(text[end:])
        rest.append(_decode(lines, b"", path, file.tell()))
    yield "".join(rest)


def _decode(decoder: io.IncrementalNewlineDecoder, data: bytes, path: Path, position: int) -> str:
    """Decodes bytes of a file that end at `position`; no bytes = the end of the file."""
    try:
        return decoder.decode(data, final=not data)
    except UnicodeDecodeError as error:
        # What is decoded may begin before `data`, with the beginning of a character.
        first = position - len(error.object) + error.start
        raise ValueError(
            f"{path} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at position "
            f"{first}; convert it first, for instance with iconv"
        ) from error


def _after_last_space(text: str) -> int:
    """Where the last white space of a text ends, 0 if there is none."""
    if not text or text[-1].isspace():
        return len(text)
    return len(text) - len(text.rsplit(None, 1)[-1])


def builtin_documents() -> list[Document]:
    """Returns about 2.2 million characters of English that come with CPython.

    Each topic of the language reference (`pydoc_data.topics`) is a document, and so are the
    docstrings of each module of the standard library together. Modules are parsed, not imported.
    A docstring that occurs in several places is taken once. The text differs a little between
    Python versions.

    Raises:
        ValueError: this Python was installed without the sources of its standard library.
    """
    documents = []
    if importlib.util.find_spec("pydoc_data.topics") is not None:
        from pydoc_data.topics import topics

        documents += [
            Document(f"topic {name}", text.strip() + "\n") for name, text in sorted(topics.items())
        ]
    root = Path(sysconfig.get_paths()["stdlib"])
    seen: set[str] = set()
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if _NOT_READ.isdisjoint(place.parts):
            new = [text for text in _docstrings(path) if text not in seen]
            seen.update(new)
            if new:
                documents.append(Document(place.as_posix(), "\n\n".join(new) + "\n"))
    if len(seen) < 1000:
        raise ValueError(
            f"the standard library in {root} comes without its source files, so there is no "
            "built-in text to train on: name text files or folders instead"
        )
    return documents


def _docstrings(path: Path) -> list[str]:
    """Returns the docstrings of a module in the order of the file; none if it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in old modules
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a few files are there to test broken syntax
        return []
    found: list[str] = []
    _collect(tree, found)
    return found


def _collect(node: ast.AST, found: list[str]) -> None:
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        text = ast.get_docstring(node)
        if text:
            found.append(text)
    # Definitions stand in statement lists only; going through expressions takes far longer.
    for name in ("body", "orelse", "handlers", "finalbody"):
        for child in getattr(node, name, None) or ():
            if isinstance(child, (ast.stmt, ast.excepthandler)):
                _collect(child, found)


def split_documents(documents: Sequence[Document]) -> tuple[list[Document], list[Document]]:
    """Splits documents into training and held-out ones, the same way every time.

    Copies of a document are dropped. Whole documents are held out, in the order of a hash of
    their text (so one more document moves no other), until they make 5 % of all characters; ones
    that would make it more than 10 % are passed over. Where no document is small enough, as with
    a single file, the last 10 % of each is held out instead. Of more than 50 million characters,
    as much is held out as of 50 million.

    Returns:
        training, held_out: in the order of `documents`.
    """
    distinct = list({document.digest: document for document in reversed(documents)}.values())[::-1]
    total = sum(document.characters for document in distinct)
    share = min(1.0, _HELD_OUT_CHARACTERS / max(_HELD_OUT * total, 1.0))
    wanted, most = _HELD_OUT * share * total, _HELD_OUT_MOST * share * total
    chosen: set[bytes] = set()
    size = 0
    for document in sorted(distinct, key=lambda document: document.digest):
        if size >= wanted:
            break
        if size + document.characters <= most:
            chosen.add(document.digest)
            size += document.characters
    if size >= 0.5 * wanted:
        return (
            [document for document in distinct if document.digest not in chosen],
            [document for document in distinct if document.digest in chosen],
        )
    training, held_out = [], []
    for document in distinct:
        end = document.start + document.characters
        cut = end - int(_HELD_OUT_MOST * share * document.characters)
        training.append(replace(document, stop=cut))
        held_out.append(replace(document, name=f"end of {document.name}", start=cut, stop=end))
    return training, held_out
