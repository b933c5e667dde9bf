"""The Brown corpus by word, split as by Bengio, Ducharme, Vincent and Jauvin 2003 (JMLR 3).

The first 800,000 tokens to train on, the next 200,000 for validation, the rest for the test. Case
and punctuation are kept; words seen 3 times or less in the whole corpus are merged into <unk>.

The corpus is one stream of its own tokens. NLTK's copy has 1,161,192 of 56,057 kinds, 17,904 of
them seen more than 3 times. That of the paper had 1,181,041 of 47,578 kinds, 16,383 with <unk>,
and counted marks between paragraphs and texts as tokens. Such marks are easy to predict, so
leaving them out, and more kinds of words, make a perplexity higher, not lower, than the paper's.
"""

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from .._corpus import Document
from .._text import Vocabulary
from ._types import Corpus, one_path

TOKENS, TRAINING, VALIDATION = 1_161_192, 800_000, 200_000

#: The rarest words that stay themselves.
MIN_COUNT = 4

_EXPECTED = (
    "the Brown corpus as NLTK has it: brown.zip, or the folder in it with the files ca01 to cr09 "
    "(https://www.nltk.org/nltk_data/, or nltk.download('brown'))"
)

#: The texts; beside them lie CONTENTS, README and the like.
_TEXT = re.compile(r"c[a-r]\d\d")


def read(sources: Sequence[Path]) -> Corpus:
    """Reads the zip file or the folder.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else, or not complete.
    """
    path = one_path(sources, _EXPECTED)
    texts = _folder(path) if path.is_dir() else _archive(path)
    words = [word for name in sorted(texts) for word in _words(texts[name], f"{path}: {name}")]
    if len(words) != TOKENS:
        raise ValueError(
            f"{path} has {len(words):,} tokens in {len(texts)} texts instead of {TOKENS:,} in 500: "
            f"expected {_EXPECTED}"
        )
    end = TRAINING + VALIDATION
    return Corpus(
        training=[Document("training", " ".join(words[:TRAINING]))],
        validation=[Document("validation", " ".join(words[TRAINING:end]))],
        test=[Document("test", " ".join(words[end:]))],
        vocabulary=Vocabulary.build(
            [" ".join(words)], "word", min_count=MIN_COUNT, form="tokenised"
        ),
    )


def _folder(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.rglob("c*") if _TEXT.fullmatch(file.name)}


def _archive(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name: PurePosixPath(name).name for name in archive.namelist()}
            return {
                text: archive.read(name) for name, text in names.items() if _TEXT.fullmatch(text)
            }
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is no zip file ({error}): expected {_EXPECTED}") from error


def _words(text: bytes, where: str) -> list[str]:
    """The words of a text of `word/tag` between spaces; a word may have a slash itself."""
    words = []
    for token in text.decode("utf-8", "replace").split():
        word, slash, tag = token.rpartition("/")
        if not (word and slash and tag):
            raise ValueError(f"{where}: {token!r} is not word/tag: expected {_EXPECTED}")
        words.append(word)
    return words
