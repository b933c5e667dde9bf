"""Texts to train on: a user's files, or English that every CPython carries."""

import ast
import hashlib
import importlib.util
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: What is read from a folder; other files are read where they are named themselves.
TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst")

#: How much is held out, and the most that may be, as fractions of all characters.
_HELD_OUT, _HELD_OUT_MOST = 0.05, 0.10

#: Folders of the standard library that not every installation has, or that are not part of it.
_NOT_READ = {"test", "tests", "idle_test", "site-packages", "dist-packages", "pydoc_data"}


@dataclass(frozen=True)
class Document:
    """A text that belongs together.

    Attributes:
        name: where it comes from.
        text: its characters; lines end in "\\n".
    """

    name: str
    text: str


def read_documents(sources: Sequence[Path]) -> list[Document]:
    """Reads text files, each one document, and the text files below folders, by name.

    Raises:
        FileNotFoundError: a source does not exist.
        ValueError: a file is not UTF-8, or there is no text at all.
    """
    documents = [Document(str(path), _read_text(path)) for path in _files(sources)]
    documents = [document for document in documents if document.text.strip()]
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
        elif source.exists():
            yield source
        else:
            raise FileNotFoundError(f"there is no file or folder {source}")


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    try:
        # utf-8-sig drops the byte-order mark that some editors put first.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text: byte 0x{data[error.start]:02x} at position {error.start}; "
            "convert it first, for instance with iconv"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


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
    a single file, the last 10 % of each is held out instead.

    Returns:
        training, held_out: in the order of `documents`.
    """
    distinct = list({document.text: document for document in reversed(documents)}.values())[::-1]
    total = sum(len(document.text) for document in distinct)
    chosen: set[str] = set()
    size = 0
    for document in sorted(distinct, key=_hash):
        if size >= _HELD_OUT * total:
            break
        if size + len(document.text) <= _HELD_OUT_MOST * total:
            chosen.add(document.text)
            size += len(document.text)
    if size >= 0.5 * _HELD_OUT * total:
        return (
            [document for document in distinct if document.text not in chosen],
            [document for document in distinct if document.text in chosen],
        )
    training, held_out = [], []
    for document in distinct:
        cut = len(document.text) - int(_HELD_OUT_MOST * len(document.text))
        training.append(Document(document.name, document.text[:cut]))
        held_out.append(Document(f"end of {document.name}", document.text[cut:]))
    return training, held_out


def _hash(document: Document) -> bytes:
    return hashlib.sha256(document.text.encode("utf-8", "surrogatepass")).digest()
