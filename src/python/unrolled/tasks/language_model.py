"""The task "lm": language modelling and text generation, by characters or by words.

    from unrolled.tasks import language_model as lm

    model = lm.train(minutes=3)                        # or lm.train("my_texts/", level="word")
    print(lm.generate(model, "The "))
    print(lm.suggest(model, "I wa"))                   # [Suggestion("want", 0.31), ...]
    print(lm.evaluate(model, "How likely is this?").bits_per_character)
    lm.save(model, "lm.safetensors")                   # model = lm.load("lm.safetensors")

The same on the command line: `unrolled train lm`, `unrolled generate`, `unrolled suggest`,
`unrolled evaluate lm`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unrolled import functional
from unrolled.models import LanguageModel
from unrolled.training import (
    Array,
    Carry,
    Metric,
    StreamBatch,
    StreamBatches,
    bits,
    perplexity,
)

from ._corpus import Document, builtin_documents, read_documents, split_documents
from ._run import load as _load
from ._run import train as _train
from ._saved import PathLike, write_model
from ._score import TextScore, score_texts, token_losses
from ._suggest import Suggestion, suggest_words
from ._task import Task, TrainOptions, option, register
from ._text import Vocabulary
from ._write import write_text

_CELLS = {"lstm": "lstm", "gru": "gru", "rnn": "rnn_tanh"}

#: Held-out tokens that are scored while training; the final score takes all.
_VALIDATION_TOKENS = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """What can be set for a language model."""

    lr: float = option(6e-3, "highest learning rate")
    level: Literal["char", "word"] = option("char", "what the model reads and writes")
    cell: Literal["lstm", "gru", "rnn"] = option("lstm", "kind of recurrent layer")
    hidden: int = option(256, "units per recurrent layer")
    layers: int = option(1, "recurrent layers")
    embedding: int = option(64, "numbers per character or word")
    tied: bool = option(False, "share the embedding with the output (embedding = hidden)")
    dropout: float = option(0.0, "part of the recurrent outputs dropped in training, 0..1")
    steps_per_update: int = option(64, "characters or words per sequence and update")
    vocabulary: int = option(20_000, "largest number of different characters or words")
    min_count: int = option(3, "rarer characters or words become <unk>")


@dataclass(frozen=True)
class TextModel:
    """A trained language model and the text that its numbers stand for.

    Attributes:
        model: the network.
        vocabulary: its tokens.
        options: how it was trained.
    """

    model: LanguageModel
    vocabulary: Vocabulary
    options: Options


@register
class LanguageModelling(Task[Options, LanguageModel, StreamBatch, TextModel]):
    """Text in, a model of its next character or word out."""

    name = "lm"
    summary = "A language model: learns from text, writes text, suggests the next word."
    examples = (
        "unrolled train lm --minutes 3",
        "unrolled train lm my_texts/ --minutes 30 --hidden 512 --output my.safetensors",
        "unrolled train lm novel.txt --level word --epochs 5 --dropout 0.3",
        "unrolled train lm --resume my.safetensors --minutes 60",
    )
    options_type = Options

    def load(self) -> str:
        """Reads the texts, splits them by document, and turns them into two token streams."""
        documents = read_documents(self.sources) if self.sources else builtin_documents()
        training, self.held_out = split_documents(documents)
        self.vocabulary = Vocabulary.build(
            (document.text for document in training),
            self.options.level,
            min_count=self.options.min_count,
            limit=self.options.vocabulary,
        )
        self.tokens = self.vocabulary.join(document.text for document in training)
        needed = self.options.batch * self.options.steps_per_update
        held_out = _characters(self.held_out)
        if self.tokens.size < needed or held_out == 0:
            raise ValueError(
                f"the text has {self.tokens.size:,} tokens to train on and {held_out:,} characters "
                f"held out, too little: one update takes {needed:,} tokens (--batch x "
                "--steps-per-update)"
            )
        return (
            f"{_characters(training):,} characters in {len(training):,} documents to train on, "
            f"{held_out:,} held out; {len(self.vocabulary):,} different tokens"
        )

    def batches(self, rng: np.random.Generator) -> StreamBatches:
        """Contiguous streams, so that the state carries on from update to update."""
        options = self.options
        return StreamBatches(
            self.tokens, batch_size=options.batch, steps=options.steps_per_update, rng=rng
        )

    def build(self, rng: np.random.Generator) -> LanguageModel:
        """An embedding, recurrent layers, a softmax."""
        options = self.options
        return LanguageModel(
            len(self.vocabulary),
            embedding_size=options.hidden if options.tied else options.embedding,
            hidden_size=options.hidden,
            num_layers=options.layers,
            cell=_CELLS[options.cell],
            dropout=options.dropout,
            tied=options.tied,
            rng=rng,
        )

    def loss(
        self, model: LanguageModel, batch: StreamBatch, carry: Carry, rng: np.random.Generator
    ) -> tuple[tuple[float, int, Carry], Callable[[], None]]:
        """Cross-entropy of the next token, the state carried on (truncated BPTT)."""
        state = None if batch.fresh else carry
        (loss, state), pullback = model.loss_vjp(batch.tokens, batch.targets, state, rng=rng)
        return (loss, batch.targets.size, state), pullback

    @property
    def metric(self) -> Metric:
        """Bits per character, or perplexity per word."""
        if self.options.level == "char":
            return Metric("bits per character", "bits/char", "chars", bits)
        return Metric("perplexity per word", "perplexity", "words", perplexity)

    def validate(self, model: LanguageModel) -> float:
        """Scores the first part of the held-out text."""
        return self._score(model, _VALIDATION_TOKENS).loss

    def score(self, model: LanguageModel) -> float:
        """Scores all of the held-out text."""
        return self._score(model).loss

    def _score(self, model: LanguageModel, limit: int | None = None) -> TextScore:
        texts = [document.text for document in self.held_out]
        return score_texts(model, self.vocabulary, texts, limit=limit)

    def assets(self, model: LanguageModel) -> dict[str, Any]:
        """The architecture and the vocabulary."""
        return {"model": model.config, "vocabulary": self.vocabulary.to_json()}

    @classmethod
    def restore(
        cls, options: Options, assets: Mapping[str, Any], weights: Mapping[str, Array]
    ) -> TextModel:
        """The model with its vocabulary."""
        _check_sizes(assets["model"], weights)
        model = LanguageModel.from_config(assets["model"], init="zeros")
        model.load_parameters(weights)
        return TextModel(model, Vocabulary.from_json(assets["vocabulary"]), options)

    def report(self, trained: TextModel, path: Path | None) -> Iterator[str]:
        """A sample, and what to type next."""
        prompt = "The "
        length = 400 if self.options.level == "char" else 80
        yield "sample"
        text = prompt + generate(trained, prompt, length=length, seed=self.options.seed)
        yield "\n".join(f"    {line}" for line in text.splitlines())
        if path is not None:
            yield "next"
            yield f'    unrolled generate {path} --prompt "The "'
            yield f'    unrolled suggest {path} "The function retu"'
            yield f"    unrolled evaluate lm {path} FILE"

    def evaluate(
        self,
        trained: TextModel,
        sources: Sequence[Path],
        details: bool,
        precision: functional.Precision,
    ) -> Iterator[str]:
        """The score of each file and of all; with details the probability of each token."""
        if not sources:
            yield self.load()
            loss = exact_loss = self.score(trained.model)
            if precision != "full":
                with trained.model.in_precision(precision):
                    loss = self.score(trained.model)
            line = f"{self.metric.text(loss)} {self.metric.name}, held out"
            yield line + _cost(loss, exact_loss, precision)
            return
        total = exact_total = None
        documents = read_documents(sources)
        for document in documents:
            exact = evaluate(trained, document.text)
            with trained.model.in_precision(precision):
                if details:
                    for token, probability in token_probabilities(trained, document.text):
                        yield f"{probability:.6f}  {token!r}"
                score = evaluate(trained, document.text) if precision != "full" else exact
            total = score if total is None else total + score
            exact_total = exact if exact_total is None else exact_total + exact
            line = f"{document.name}: {self._describe(score)}"
            yield line + _cost(score.loss, exact.loss, precision)
        if total is not None and exact_total is not None and len(documents) > 1:
            line = f"together: {self._describe(total)}"
            yield line + _cost(total.loss, exact_total.loss, precision)

    def _describe(self, score: TextScore) -> str:
        counted = f"{score.tokens:,} words"
        if self.options.level == "char":
            counted = f"{score.characters:,} characters"
        return (
            f"{self.metric.text(score.loss)} {self.metric.name} "
            f"({counted}, {score.unknown:,} unknown)"
        )


def _cost(loss: float, exact: float, precision: functional.Precision) -> str:
    """What a precision costs, as the end of a line; empty for full precision."""
    return "" if precision == "full" else f", in {precision} {loss / exact - 1:+.2%} of the loss"


def _check_sizes(config: Mapping[str, Any], weights: Mapping[str, Array]) -> None:
    """Raises unless the architecture is that of the weights.

    A file may claim any sizes; this way no more is allocated than it holds.
    """
    names = ("vocab_size", "embedding_size", "hidden_size")
    vocabulary, embedding, hidden = (config[name] for name in names)
    rows = len(functional.cell_info(config["cell"]).gates) * hidden

    def check(name: str, *shape: int) -> None:
        weight = weights[name]
        if weight.shape != shape or not weight.size or str(weight.dtype) != config["dtype"]:
            raise ValueError(
                f"expected {name} of shape {shape} and dtype {config['dtype']}, "
                f"got {weight.shape} and {weight.dtype}"
            )

    check("head.weight", vocabulary, hidden)
    if not config["tied"]:
        check("embedding.weight", vocabulary, embedding)
    check("rnn.weight_ih_l0", rows, embedding)
    for layer in range(config["num_layers"]):
        check(f"rnn.weight_hh_l{layer}", rows, hidden)


def _characters(documents: Sequence[Document]) -> int:
    return sum(len(document.text) for document in documents)


def train(
    sources: PathLike | Sequence[PathLike] = (),
    *,
    output: PathLike | None = None,
    resume: PathLike | None = None,
    quiet: bool = False,
    **options: Any,
) -> TextModel:
    """Trains a language model; see `Options` for the keywords, `--help` for their meaning.

    Args:
        sources: text files and folders; none = English text that comes with Python.
        output: checkpoint to write, `.safetensors`; none = keep the model in memory only.
        resume: checkpoint of a run to go on with.
        quiet: print nothing.
        options: `minutes=3` or `epochs=` or `steps=`, `level=`, `cell=`, `hidden=`, ...

    Raises:
        ValueError: an option or the text will not do.
    """
    return _train(LanguageModelling, sources, output=output, resume=resume, quiet=quiet, **options)


def load(path: PathLike) -> TextModel:
    """Returns the language model in a checkpoint."""
    return _load(path, LanguageModelling)[1]


def save(model: TextModel, path: PathLike) -> None:
    """Writes a checkpoint of the model alone, without the state of its training."""
    task = LanguageModelling(model.options)
    task.vocabulary = model.vocabulary
    write_model(path, task, model.model)


def generate(model: TextModel, prompt: str = "", **options: Any) -> str:
    """Returns a continuation of `prompt`; see `write` for the options."""
    return "".join(write(model, prompt, **options))


def write(
    model: TextModel,
    prompt: str = "",
    *,
    length: int = 500,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    stop: bool = False,
    seed: int | None = None,
) -> Iterator[str]:
    """Writes on after `prompt` (of any length), and yields each piece when it is made.

    Args:
        model: from `train` or `load`.
        prompt: the beginning, which is not repeated; empty = a new document.
        length: how many characters or words.
        temperature: 0 = always the most probable one, 1 = as the model predicts.
        top_k: draw from the so many most probable only; 0 = from all.
        top_p: draw from the most probable that have this probability together, 0..1.
        stop: end where the model ends the document, if that is earlier.
        seed: the same seed gives the same text; None gives another each time.
    """
    return write_text(
        model.model,
        model.vocabulary,
        prompt,
        length=length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=stop,
        rng=np.random.default_rng(seed),
    )


def suggest(model: TextModel, text: str, count: int = 3) -> list[Suggestion]:
    """Returns the most probable next words after `text`, or completions of its last word.

    A text that ends in a letter ends inside a word (or just behind one: the word as it stands is
    among the completions); one that ends in a space asks for a new word. The probability is that
    of the whole word, given the text.
    """
    return suggest_words(model.model, model.vocabulary, text, count)


def evaluate(model: TextModel, text: str) -> TextScore:
    """Returns how well the model predicts `text` as a document of its own."""
    return score_texts(model.model, model.vocabulary, [text])


def token_probabilities(model: TextModel, text: str) -> Iterator[tuple[str, float]]:
    """Yields each character or word of `text` with its probability after those before it."""
    tokens = model.vocabulary.encode(text)
    losses = token_losses(model.model, model.vocabulary, tokens)
    pieces = model.vocabulary.split(text)
    yield from zip(pieces, np.exp(-losses).tolist(), strict=True)
