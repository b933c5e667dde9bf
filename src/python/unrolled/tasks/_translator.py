"""A trained model of translation, ready for text."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled import functional
from unrolled.models import (
    BeamOptions,
    DecoderStream,
    Hypothesis,
    PackedDecoder,
    Seq2Seq,
    beam_search,
    sample_targets,
)
from unrolled.models.seq2seq import Lengths
from unrolled.training import Array, bucket_by_length, pad_sequences

from ._fits import check_fit
from ._parallel import clean
from ._segmenters import Segmenter
from ._text import UNKNOWN

if TYPE_CHECKING:
    from .translation import Options

#: Places of padded sources that are translated at a time.
_PART = 1024

#: Tokens of a text that is never cut.
_SHORT = 20

#: Ends of pieces after which a text that is too long is cut best.
_SENTENCE_ENDS = (".", "!", "?", ";", ":", ",")


@dataclass(frozen=True)
class Translation:
    """One translation of a text.

    Attributes:
        text: what was written.
        log_p: of its tokens and its end, in nats.
        score: what it was ranked by, see `BeamOptions`.
    """

    text: str
    log_p: float
    score: float


@dataclass(frozen=True)
class Translator:
    """A trained model, and all that it takes to use it.

    Attributes:
        model: the network.
        source: cuts what is read into tokens.
        target: puts together what is written.
        longest: tokens of the longest source that was learnt from. Longer texts are cut into parts
            of about that, at the ends of sentences where there are some.
        ratio: a translation may have so many tokens for each one of its source, and a few more.
        options: how it was trained.
    """

    model: Seq2Seq
    source: Segmenter
    target: Segmenter
    longest: int
    ratio: float
    options: "Options"

    def __post_init__(self) -> None:
        config = self.model.config
        for side, segmenter in (("source", self.source), ("target", self.target)):
            check_fit(f"{side} tokens", config[f"{side}_vocab"], f"{side} text", len(segmenter))

    def __call__(self, text: str, **search: Any) -> str:
        """Returns the best translation of a text; `search` as of `BeamOptions`."""
        return self.translate([text], **search)[0][0].text

    def translate(self, texts: Sequence[str], **search: Any) -> list[list[Translation]]:
        """Returns translations of each text, the best first: as many as the beam is wide.

        An empty text has the one translation that is empty, and so has a text that was cut into
        parts only one: the best of each part.

        Args:
            texts: one sentence each, as people write them.
            search: `width=`, `length_penalty=` (not given: those of the options), and
                `coverage_penalty=`, `no_repeat=`, see `BeamOptions`.
        """
        own = self.options
        default = BeamOptions(own.beam, own.length_penalty, banned=(UNKNOWN,))
        options = replace(default, **search)

        def search_all(
            stream: DecoderStream, lengths: Lengths, most: Lengths
        ) -> list[list[Hypothesis]]:
            return beam_search(stream, lengths, most, options)

        return self._translate(texts, search_all)

    def sample(
        self,
        texts: Sequence[str],
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> list[Translation]:
        """Returns one translation of each text, drawn at random; see `functional.sample`."""
        rng = np.random.default_rng(seed)

        def draw(logits: Array) -> Array:
            u = rng.random(len(logits))
            return functional.sample(logits, u, temperature=temperature, top_k=top_k, top_p=top_p)

        def draw_all(
            stream: DecoderStream, lengths: Lengths, most: Lengths
        ) -> list[list[Hypothesis]]:
            return [[each] for each in sample_targets(stream, most, draw, (UNKNOWN,))]

        return [found[0] for found in self._translate(texts, draw_all)]

    def attention(self, text: str, translation: str) -> tuple[list[str], list[str], Array]:
        """Returns the tokens of both, the end included, and what each step read, (T, S)."""
        tokens, written = self.encode(text), [*self.target.encode(translation), 0]
        if not tokens:
            raise ValueError("there is no text to read")
        if len(list(self.parts(tokens))) > 1:
            raise ValueError(
                f"the text has {len(tokens):,} tokens and is translated in parts: "
                "show a shorter one"
            )
        _, weights = self.model.losses(
            np.array(tokens)[:, None],
            np.array([len(tokens)]),
            np.array(written)[:, None],
            np.array([len(written)]),
        )
        targets = [*self.target.pieces(written[:-1]), "<end>"]
        return self.source.pieces(tokens), targets, weights[:, 0]

    def encode(self, text: str) -> list[int]:
        """Returns the tokens of a source as the model reads it."""
        text = clean(text)
        return self.source.encode(text.lower() if self.options.lower else text)

    @cached_property
    def _decoder(self) -> PackedDecoder:
        return self.model.packed()

    def _translate(
        self,
        texts: Sequence[str],
        find: Callable[[DecoderStream, Lengths, Lengths], list[list[Hypothesis]]],
    ) -> list[list[Translation]]:
        """What `find` writes of each text, given a stream, places of sources, and most tokens."""
        parts = [list(self.parts(self.encode(text))) for text in texts]
        flat = [np.array(part, np.int64) for of_text in parts for part in of_text]
        found: list[list[Translation]] = [[] for _ in flat]
        lengths = np.array([part.size for part in flat], np.int64)
        limit = max(_PART, int(lengths.max(initial=0)))
        for rows in bucket_by_length(lengths, max_tokens=limit) if flat else []:
            sources, ends = pad_sequences([flat[row] for row in rows])
            most = np.ceil(self.ratio * ends).astype(np.int64) + 10
            memory, state = self.model.encode(sources, ends)
            stream = self._decoder.start(memory, ends, state)
            for row, hypotheses in zip(rows, find(stream, ends, most), strict=True):
                found[row] = [
                    Translation(self.target.decode(each.tokens), each.log_p, each.score)
                    for each in hypotheses
                ]
        result, place = [], 0
        for of_text in parts:
            result.append(_joined(found[place : place + len(of_text)]))
            place += len(of_text)
        return result

    def parts(self, tokens: Sequence[int]) -> Iterator[Sequence[int]]:
        """Yields the parts in which a source is translated: one, unless it is too long."""
        limit = max(self.longest + self.longest // 4, _SHORT)
        while len(tokens) > limit:
            cut = self._cut(tokens[:limit])
            yield tokens[:cut]
            tokens = tokens[cut:]
        if tokens:
            yield tokens

    def _cut(self, tokens: Sequence[int]) -> int:
        """Behind a sentence in the second half, else before a word there, else at the end."""
        pieces = self.source.pieces(tokens)
        half = len(tokens) // 2
        for place in range(len(tokens), half, -1):
            if pieces[place - 1].endswith(_SENTENCE_ENDS):
                return place
        for place in range(len(tokens) - 1, half, -1):
            if pieces[place].startswith(("_", " ")):
                return place
        return len(tokens)


def _joined(parts: list[list[Translation]]) -> list[Translation]:
    """One part as it is; of several the best of each, one after the other."""
    if len(parts) == 1:
        return parts[0]
    best = [part[0] for part in parts]
    text = " ".join(each.text for each in best if each.text)
    log_p = sum(each.log_p for each in best)
    return [Translation(text, log_p, sum(each.score for each in best))]
