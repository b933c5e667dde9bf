"""Text as tokens for translation: sub-words of sentencepiece, words, characters or symbols."""

import base64
import io
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Literal, Protocol, TypeAlias, get_args

from unrolled.training import import_extra

from ._text import END, UNKNOWN, Vocabulary

#: What a token is: a sub-word found by merging frequent pairs (BPE) or by a unigram model, a word,
#: a character, or whatever stands between spaces.
Tokens: TypeAlias = Literal["bpe", "unigram", "word", "char", "symbol"]

#: How sentencepiece writes the beginning of a word.
_SPACE = "\u2581"


class Segmenter(Protocol):
    """Cuts text into tokens and puts it together again; token 0 ends a text, 1 is unknown."""

    def __len__(self) -> int:
        """How many different tokens there are."""

    def encode(self, text: str) -> list[int]:
        """Returns the tokens of a text, without an end."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of tokens."""

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Returns each token as people may read it."""

    def to_json(self) -> dict[str, Any]:
        """Returns JSON-able values for `segmenter_from_json`."""


class SubwordSegmenter:
    """Sub-words of a sentencepiece model (extra [translation]).

    Args:
        model: the bytes of the model, as sentencepiece writes them.

    Source: Sennrich, Haddow and Birch 2016 (BPE); Kudo 2018 (unigram); Kudo and Richardson 2018.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model

    @classmethod
    def train(cls, texts: Iterable[str], kind: str, size: int) -> "SubwordSegmenter":
        """Learns at most `size` sub-words from texts; fewer where they do not give as many."""
        trainer = import_extra("sentencepiece", "translation").SentencePieceTrainer
        # sentencepiece wants to know the number beforehand, and refuses one that is too large.
        lines = [text for text in texts if text]
        characters = len({character for text in lines for character in text})
        written = io.BytesIO()
        try:
            trainer.train(
                sentence_iterator=iter(lines),
                model_writer=written,
                model_type=kind,
                vocab_size=max(size, characters + 3),
                hard_vocab_limit=False,
                character_coverage=1.0,
                normalization_rule_name="identity",  # `clean` has done it
                max_sentence_length=1 << 16,
                num_threads=1,  # the same pieces in every run
                eos_id=END,
                unk_id=UNKNOWN,
                bos_id=-1,
                pad_id=-1,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise ValueError(f"sentencepiece cannot learn from these texts: {error}") from error
        return cls(written.getvalue())

    @cached_property
    def _processor(self) -> Any:
        module = import_extra("sentencepiece", "translation")
        try:
            return module.SentencePieceProcessor(model_proto=self.model)
        except RuntimeError as error:
            raise ValueError(f"this is no model of sentencepiece: {error}") from error

    def __len__(self) -> int:
        return int(self._processor.get_piece_size())

    def encode(self, text: str) -> list[int]:
        """Returns the sub-words of a text."""
        return [int(token) for token in self._processor.encode(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of sub-words."""
        return str(self._processor.decode([int(token) for token in tokens]))

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Returns the sub-words; a low line begins a word."""
        return [str(self._processor.id_to_piece(int(t))).replace(_SPACE, "_") for t in tokens]

    def to_json(self) -> dict[str, Any]:
        """Returns the model as text."""
        return {"model": base64.b64encode(self.model).decode("ascii")}


class PlainSegmenter:
    """Words, characters or symbols of a `Vocabulary`."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    @classmethod
    def train(cls, texts: Iterable[str], kind: str, size: int, min_count: int) -> "PlainSegmenter":
        """Counts the tokens of texts; only words may be too rare."""
        vocabulary = Vocabulary.build(
            texts,
            "char" if kind == "char" else "word",
            limit=size,
            min_count=min_count if kind == "word" else 1,
            form="tokenised" if kind == "symbol" else "written",
        )
        return cls(vocabulary)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """Returns the tokens of a text."""
        return [int(token) for token in self.vocabulary.encode(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of tokens, with spaces where people put them."""
        if self.vocabulary.form == "tokenised":
            return " ".join(self.pieces(tokens))
        text = ""
        for token in tokens:
            text += self.vocabulary.piece(token, text)
        return text

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Returns the text of each token."""
        return [self.vocabulary.symbols[token] for token in tokens]

    def to_json(self) -> dict[str, Any]:
        """Returns the vocabulary."""
        return self.vocabulary.to_json()


def train_segmenter(
    texts: Iterable[str], kind: Tokens, *, size: int, min_count: int = 1
) -> Segmenter:
    """Returns a segmenter of the kind, learnt from texts.

    Args:
        texts: of one language, or of both.
        kind: what a token is.
        size: the most different tokens.
        min_count: rarer words become the unknown token.

    Raises:
        ImportError: sub-words are wanted, and sentencepiece is not installed.
        ValueError: the kind is unknown, or nothing can be learnt.
    """
    if kind not in get_args(Tokens):
        raise ValueError(f"expected tokens of {', '.join(get_args(Tokens))}, got {kind!r}")
    if kind in ("bpe", "unigram"):
        return SubwordSegmenter.train(texts, kind, size)
    return PlainSegmenter.train(texts, kind, size, min_count)


def segmenter_from_json(values: Any) -> Segmenter:
    """Returns the segmenter that `to_json` returned; ValueError for anything else."""
    if isinstance(values, dict) and set(values) == {"model"}:
        segmenter = SubwordSegmenter(base64.b64decode(values["model"], validate=True))
        len(segmenter)  # a damaged model is found here
        return segmenter
    return PlainSegmenter(Vocabulary.from_json(values))
