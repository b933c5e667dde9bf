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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from unrolled import functional
from unrolled.layers import frequency_cutoffs
from unrolled.models import LanguageModel
from unrolled.training import (
    Array,
    Carry,
    LossAndPullback,
    Metric,
    StreamBatch,
    StreamBatches,
    bits,
    perplexity,
    shard,
)

from ._corpus import TOKENS_SUFFIX, Document, read_documents
from ._evaluate import Evaluation
from ._ngram import KneserNey
from ._options import CELLS, TrainOptions, option
from ._run import load as _load
from ._run import train as _train
from ._saved import PathLike, write_model
from ._score import TextScore, score_texts, score_tokens
from ._score import token_probabilities as _token_probabilities
from ._suggest import Suggestion, suggest_words
from ._task import Task, register
from ._text import END, Vocabulary
from ._text import Level as Level
from ._text_model import TextModel as TextModel
from ._token_corpus import TokenCorpus, encode_corpus, open_corpus, split_corpus
from ._token_corpus import tokenize as tokenize
from ._write import write_text
from .corpora import read_corpus

#: Held-out tokens that are scored while training; the final score takes all.
_VALIDATION_TOKENS = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """What can be set for a language model."""

    lr: float = option(6e-3, "highest learning rate")
    corpus: Literal["brown", "chitchat", "tinyshakespeare"] | None = option(
        None, "a reference corpus, with its official split and its own tokens"
    )
    level: Literal["char", "word"] = option("char", "what the model reads and writes")
    cell: Literal["lstm", "gru", "rnn"] = option("lstm", "kind of recurrent layer")
    hidden: int = option(256, "units per recurrent layer")
    layers: int = option(1, "recurrent layers")
    embedding: int = option(64, "numbers per character or word")
    tied: bool = option(False, "share the embedding with the output (embedding = hidden)")
    adaptive: bool = option(False, "rare words in clusters, so that they cost little")
    dropout: float = option(0.0, "part of the recurrent outputs dropped in training, 0..1")
    dropout_hidden: float | None = option(None, "the same between layers; not given: as dropout")
    dropout_input: float = option(0.0, "the same of the embedded characters or words")
    dropout_embedding: float = option(0.0, "part of the vocabulary dropped in each update")
    weight_dropout: float = option(0.0, "part of the recurrent weights dropped in each update")
    variational: bool = option(False, "drop the same outputs in every step of an update")
    alpha: float = option(0.0, "weight of the penalty on large outputs (AR)")
    beta: float = option(0.0, "weight of the penalty on outputs that change quickly (TAR)")
    steps_per_update: int = option(64, "characters or words per sequence and update")
    vocabulary: int = option(20_000, "largest number of different characters or words, of texts")
    min_count: int = option(3, "rarer characters or words become <unk>, of texts")


@register
class LanguageModelling(Task[Options, LanguageModel, StreamBatch, TextModel]):
    """Text in, a model of its next character or word out."""

    name = "lm"
    summary = "A language model: learns from text, writes text, suggests the next word."
    examples = (
        "unrolled train lm --minutes 3",
        "unrolled train lm my_texts/ --minutes 30 --hidden 512 --output my.safetensors",
        "unrolled train lm novel.txt --level word --epochs 5 --dropout 0.3",
        "unrolled train lm my_texts/ --preset awd --minutes 60",
        "unrolled train lm brown.zip --corpus brown --preset awd --minutes 60",
        "unrolled train lm --resume my.safetensors --minutes 60",
        "unrolled train lm huge.tokens --minutes 600",
    )
    options_type = Options
    evaluate_flags: ClassVar[Mapping[str, str]] = {
        "keyboard": "Recall of the next word and keystrokes saved; of models of words.",
        "baseline": "The same of a Kneser-Ney 5-gram model of the same training text.",
    }

    def load(self) -> str:
        """Reads texts, splits them into token streams; or opens a token file."""
        options = self.options
        self.corpus = self._read()
        self.vocabulary = self.corpus.vocabulary
        tokens, held_out = self.corpus.training.size, np.count_nonzero(self.corpus.held_out != END)
        needed = options.batch * options.steps_per_update
        if tokens < needed or not held_out:
            raise ValueError(
                f"the text has {tokens:,} tokens to train on and {held_out:,} held out, "
                f"too little: one update takes {needed:,} tokens (--batch x --steps-per-update)"
            )
        return self.corpus.description

    def _read(self) -> TokenCorpus:
        """A reference corpus as it is split officially; other texts split by document."""
        options = self.options
        if options.corpus is not None:
            corpus = read_corpus(options.corpus, self.sources)
            own = options.level not in (Options.level, corpus.vocabulary.level)
            counts = (options.vocabulary, options.min_count)
            if own or counts != (Options.vocabulary, Options.min_count):
                raise ValueError(
                    f"the corpus {options.corpus} has its own tokens: leave out --level, "
                    "--vocabulary and --min-count"
                )
            return encode_corpus(corpus)
        if len(self.sources) == 1 and self.sources[0].suffix == TOKENS_SUFFIX:
            tokens = open_corpus(self.sources[0])
            level = tokens.vocabulary.level
            if level != options.level:
                raise ValueError(
                    f"{self.sources[0]} was written with --level {level}: "
                    f"train with --level {level} too"
                )
            return tokens
        return encode_corpus(
            split_corpus(
                self.sources, options.level, limit=options.vocabulary, min_count=options.min_count
            )
        )

    def batches(self, rng: np.random.Generator) -> StreamBatches:
        """Contiguous streams, so that the state carries on from update to update."""
        options, group = self.options, self.group
        rows = shard(options.batch, group.rank, group.size)
        return StreamBatches(
            self.corpus.training,
            batch_size=rows.stop - rows.start,
            steps=options.steps_per_update,
            seed=options.seed,
            rank=group.rank,
            size=group.size,
            fingerprint=self.corpus.fingerprint,
        )

    def build(self, rng: np.random.Generator) -> LanguageModel:
        """An embedding, recurrent layers, a softmax."""
        options = self.options
        return LanguageModel(
            len(self.vocabulary),
            embedding_size=options.hidden if options.tied else options.embedding,
            hidden_size=options.hidden,
            num_layers=options.layers,
            cell=CELLS[options.cell],
            dropout=options.dropout,
            dropout_hidden=options.dropout_hidden,
            dropout_input=options.dropout_input,
            dropout_embedding=options.dropout_embedding,
            weight_dropout=options.weight_dropout,
            variational=options.variational,
            tied=options.tied,
            adaptive=frequency_cutoffs(len(self.vocabulary)) if options.adaptive else (),
            rng=rng,
        )

    def loss(
        self, model: LanguageModel, batch: StreamBatch, carry: Carry, rng: np.random.Generator
    ) -> LossAndPullback:
        """Cross-entropy of the next token, the state carried on (truncated BPTT)."""
        state = batch.begin(carry)
        (loss, state), pullback = model.loss_vjp(
            batch.tokens,
            batch.targets,
            state,
            rng=rng,
            alpha=self.options.alpha,
            beta=self.options.beta,
        )
        return (loss, batch.targets.size, state), pullback

    def check_carry(self, model: LanguageModel, carry: Carry) -> None:
        """The state of the recurrent layers, for this rank's rows."""
        model.rnn.check_state(carry, self.options.batch // self.group.size)

    @property
    def metric(self) -> Metric:
        """Bits per character, or perplexity per word."""
        if self.vocabulary.level == "char":
            return Metric("bits per character", "bits/char", "chars", bits)
        return Metric("perplexity per word", "perplexity", "words", perplexity)

    def validate(self, model: LanguageModel) -> float:
        """Scores the first part of the held-out text."""
        return self._score(model, self.corpus.held_out[:_VALIDATION_TOKENS]).loss

    def score(self, model: LanguageModel) -> float:
        """Scores all of the held-out text."""
        return self._score(model, self.corpus.held_out).loss

    def _score(self, model: LanguageModel, tokens: Array) -> TextScore:
        return score_tokens(model, self.vocabulary, tokens, ends=self._counts_ends)

    @property
    def _counts_ends(self) -> bool:
        # Published figures of reference corpora are over their own tokens.
        return self.options.corpus is None

    def assets(self, model: LanguageModel) -> dict[str, Any]:
        """The architecture and the vocabulary."""
        return {"model": model.config, "vocabulary": self.vocabulary.to_json()}

    @classmethod
    def restore(
        cls, options: Options, assets: Mapping[str, Any], weights: Mapping[str, Array]
    ) -> TextModel:
        """The model with its vocabulary."""
        model = LanguageModel.from_parameters(assets["model"], weights)
        return TextModel(model, Vocabulary.from_json(assets["vocabulary"]), options)

    def report(self, trained: TextModel, path: Path | None) -> Iterator[str]:
        """The score of the test part, if there is one; a sample, and what to type next."""
        if self.corpus.test.size:
            loss = self._score(trained.model, self.corpus.test).loss
            yield f"test       {self.metric.text(loss)} {self.metric.name}"
        prompt = "The "
        length = 400 if self.vocabulary.level == "char" else 80
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
        *,
        keyboard: bool = False,
        baseline: bool = False,
    ) -> Iterator[str]:
        """The score of each file and of all; with details the probability of each token."""
        self.vocabulary = trained.vocabulary
        evaluation = Evaluation(
            trained.model, trained.vocabulary, self.metric, precision, self._counts_ends
        )
        if baseline or not sources:
            summary = self.load()
            if self.vocabulary != trained.vocabulary:
                raise ValueError("the training text is not the one that the model was trained on")
        if sources:
            documents = read_documents(sources)
            name = documents[0].name if len(documents) == 1 else "together"
            texts: Mapping[str, Sequence[Document]] = {name: documents}
            parts: Mapping[str, Array] = {name: self.vocabulary.join(d.text for d in documents)}
            yield from evaluation.documents(documents, details)
        else:
            yield summary
            texts, parts = self.corpus.texts, self.corpus.parts
            for name, tokens in parts.items():
                yield evaluation.part(name, tokens)
        if keyboard and not texts:
            raise ValueError("a file of tokens keeps no texts to type: name text files to score")
        ngrams = KneserNey(self.corpus.training, len(self.vocabulary)) if baseline else None
        for name, tokens in parts.items():
            if ngrams is not None:
                yield evaluation.baseline(ngrams, name, tokens)
            if keyboard:
                yield from evaluation.keyboard(ngrams, name, texts[name])


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
        sources: text files and folders, or one file that `tokenize` wrote; none = English text
            that comes with Python.
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
    return _token_probabilities(model.model, model.vocabulary, text)
