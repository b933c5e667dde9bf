"""What `unrolled evaluate lm` tells of a model, beside an n-gram model where that is asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unrolled.functional import Precision
from unrolled.models import LanguageModel
from unrolled.training import Array, Metric

from ._corpus import Document
from ._keyboard import Network, score_keyboard
from ._ngram import KneserNey
from ._score import (
    TextScore,
    score_tokens,
    sum_losses,
    token_probabilities,
    unknown_losses,
)
from ._text import Vocabulary


@dataclass(frozen=True)
class Evaluation:
    """A model, and how it is to be scored.

    Attributes:
        model: the network.
        vocabulary: its tokens.
        metric: what its score is called.
        precision: of the recurrent layers; unless "full", what it costs is told.
        ends: count the ends of documents.
    """

    model: LanguageModel
    vocabulary: Vocabulary
    metric: Metric
    precision: Precision
    ends: bool

    def documents(self, documents: Sequence[Document], details: bool) -> Iterator[str]:
        """Yields the score of each document and of all; with details, of each token."""
        total: tuple[TextScore, TextScore] | None = None
        for document in documents:
            if details:
                with self.model.in_precision(self.precision):
                    pairs = list(token_probabilities(self.model, self.vocabulary, document.text))
                for token, probability in pairs:
                    yield f"{probability:.6f}  {token!r}"
            score, exact = self._scores(self.vocabulary.join([document.text]))
            total = (score, exact) if total is None else (total[0] + score, total[1] + exact)
            yield f"{document.name}: {self._describe(score)}{self._cost(score, exact)}"
        if total is not None and len(documents) > 1:
            yield f"together: {self._describe(total[0])}{self._cost(*total)}"

    def part(self, name: str, tokens: Array) -> str:
        """Returns the score of a part of the data, (N,) tokens."""
        score, exact = self._scores(tokens)
        text = f"{self.metric.text(score.loss)} {self.metric.name}, {name}"
        return text + self._cost(score, exact)

    def baseline(self, ngrams: KneserNey, name: str, tokens: Array) -> str:
        """Returns the score of an n-gram model over the same tokens."""
        nats = ngrams.losses(tokens) + unknown_losses(self.vocabulary, tokens)
        score = sum_losses(nats, self.vocabulary, tokens, ends=self.ends)
        return f"{name}, {ngrams.name}: {self._describe(score)}"

    def keyboard(
        self, ngrams: KneserNey | None, name: str, documents: Sequence[Document]
    ) -> Iterator[str]:
        """Yields what the model and an n-gram model do at a keyboard."""
        texts = [document.text for document in documents]
        with self.model.in_precision(self.precision):
            score = score_keyboard(Network(self.model), self.vocabulary, texts)
        yield f"{name}, network: {score}"
        if ngrams is not None:
            yield f"{name}, {ngrams.name}: {score_keyboard(ngrams, self.vocabulary, texts)}"

    def _scores(self, tokens: Array) -> tuple[TextScore, TextScore]:
        """The score in the precision that is asked for, and in full precision."""
        exact = score = score_tokens(self.model, self.vocabulary, tokens, ends=self.ends)
        if self.precision != "full":
            with self.model.in_precision(self.precision):
                score = score_tokens(self.model, self.vocabulary, tokens, ends=self.ends)
        return score, exact

    def _describe(self, score: TextScore) -> str:
        counted = f"{score.tokens:,} words"
        if self.vocabulary.level == "char":
            counted = f"{score.characters:,} characters"
        return (
            f"{self.metric.text(score.loss)} {self.metric.name} "
            f"({counted}, {score.unknown:,} unknown)"
        )

    def _cost(self, score: TextScore, exact: TextScore) -> str:
        """What the precision costs, as the end of a line; empty for full precision."""
        if self.precision == "full":
            return ""
        return f", in {self.precision} {score.loss / exact.loss - 1:+.2%} of the loss"
