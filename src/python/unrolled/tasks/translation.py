"""The task "translation": text in one language in, text in another out.

    from unrolled.tasks import translation

    translate = translation.train(source="a.en", target="a.de", minutes=60)
    print(translate("Good morning."))
    for each in translate.translate(["Good morning."], width=5)[0]:
        print(each.score, each.text)

The same on the command line: `unrolled train translation`, `unrolled translate`, `unrolled
evaluate translation`. `--demo` learns numbers and dates in words, with no data at hand; `--preset
g2p` learns from a pronouncing dictionary how words are said.

The encoder reads the whole source; only then does the decoder write, one token at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from unrolled import functional
from unrolled.layers import Score
from unrolled.models import Seq2Seq
from unrolled.training import (
    Array,
    BucketBatches,
    Budget,
    Carry,
    LossAndPullback,
    Metric,
    bucket_by_length,
    perplexity,
)

from ._attention_picture import draw_attention
from ._options import CELLS, TrainOptions, option
from ._parallel import Pair
from ._run import load as _load
from ._run import train as _train
from ._saved import PathLike, write_model
from ._segmenters import segmenter_from_json
from ._task import Task, register
from ._translation_data import (
    Batch,
    Encoded,
    files_of,
    make_segmenters,
    read_some,
    read_training,
)
from ._translation_scores import corpus_scores, error_scores
from ._translator import Translation as Translation
from ._translator import Translator as Translator

#: Tokens that are scored at a time, padding included.
_SCORED = 4096

#: Held-out pairs that are translated for the report.
_REPORTED = 500


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """What can be set for translation."""

    batch: int = option(64, "most pairs per batch, of all ranks together")
    lr: float = option(2e-3, "highest learning rate")
    source: str | None = option(None, "text to read, a sentence a line; also .gz")
    target: str | None = option(None, "its translation, line by line; also .gz")
    pairs: str | None = option(None, "both in one file, with a tab between them; also .gz")
    validation_source: str | None = option(None, "as --source, held out; not given: one of twenty")
    validation_target: str | None = option(None, "as --target, held out")
    validation_pairs: str | None = option(None, "as --pairs, held out")
    data: Literal["parallel", "dictionary"] = option(
        "parallel", "what the files are: parallel texts, or a dictionary in CMU's format"
    )
    demo: bool = option(False, "make the pairs: numbers and dates in English and German words")
    tokens: Literal["bpe", "unigram", "word", "char", "symbol"] = option(
        "bpe", "what is read and written: sub-words, words, characters, or what spaces part"
    )
    target_tokens: Literal["bpe", "unigram", "word", "char", "symbol"] | None = option(
        None, "the same of the target; not given: as --tokens"
    )
    joint: bool = option(False, "learn the tokens of both sides together")
    vocabulary: int = option(8000, "most different tokens of each side, or of both if joint")
    min_count: int = option(2, "rarer words become <unk>, with --tokens word")
    lower: bool = option(False, "read sources in lower case")
    max_length: int = option(150, "longest pairs to learn from, in tokens")
    batch_tokens: int = option(2400, "most tokens of a side of a batch, padding included")
    cell: Literal["lstm", "gru", "rnn"] = option("lstm", "kind of recurrent layer")
    hidden: int = option(256, "units of a layer; of the encoder's for both directions together")
    embedding: int = option(256, "numbers per token")
    layers: int = option(1, "recurrent layers of encoder and decoder")
    bidirectional: bool = option(True, "read sources backwards too")
    attention: Literal["dot", "general", "concat", "additive"] = option(
        "general", "how states and places of the source are compared (additive: Bahdanau's)"
    )
    input_feeding: bool = option(False, "let the decoder see what it read before; slower")
    dropout: float = option(0.2, "part of inputs and outputs dropped in training, 0..1")
    label_smoothing: float = option(0.1, "part of the probability that all tokens share, 0..1")
    tied: bool = option(True, "share the target's embedding with the output")
    beam: int = option(5, "hypotheses that are kept in translating, unless told otherwise")
    length_penalty: float = option(1.0, "how much longer translations are preferred, 0..1")

    default_minutes: ClassVar[float] = 30.0

    def budget(self) -> Budget:
        """Returns the budget that was asked for; the demo needs little."""
        if self.demo and self.minutes is None and self.epochs is None and self.steps is None:
            return Budget(minutes=1.5)
        return super().budget()


@register
class TranslationTask(Task[Options, Seq2Seq, Batch, Translator]):
    """A text in, its translation out."""

    name = "translation"
    summary = "Translation: text in one language in, text in another out (extra [translation])."
    examples = (
        "unrolled train translation --demo",
        "unrolled train translation --source a.en --target a.de --minutes 60",
        "unrolled train translation --pairs pairs.tsv --preset multi30k --minutes 60",
        "unrolled train translation --preset g2p cmudict.dict --minutes 20",
    )
    options_type = Options
    evaluate_flags: ClassVar[Mapping[str, str]] = {
        "greedy": "Search greedily instead of with the beam of the training's options."
    }

    def load(self) -> str:
        """Reads the pairs, or makes them, and cuts them into tokens."""
        options = self.options
        training, held_out = read_training(options, self.sources)
        if not training or not held_out:
            raise ValueError(
                f"there are {len(training):,} pairs to train on and {len(held_out):,} held out, "
                "too few"
            )
        self.source, self.target = make_segmenters(options, training)
        encoded = self._encoded(training)
        short = np.flatnonzero(encoded.lengths <= options.max_length)
        if not short.size:
            raise ValueError(f"all pairs are longer than --max-length {options.max_length}")
        self.training = encoded.rows(short.tolist())
        self.held_out = self._encoded(held_out)
        sizes = [sum(map(len, side)) for side in (self.training.sources, self.training.targets)]
        self.longest = max(map(len, self.training.sources))
        self.ratio = 2.0 * sizes[1] / max(sizes[0], 1)
        left_out = len(training) - short.size
        return (
            f"{short.size:,} pairs to train on ({sizes[0]:,} and {sizes[1]:,} tokens, of "
            f"{len(self.source):,} and {len(self.target):,} kinds), {len(held_out):,} held out"
            + (f", {left_out:,} too long" if left_out else "")
        )

    def _encoded(self, pairs: Sequence[Pair]) -> Encoded:
        return Encoded.of(pairs, self.source, self.target, lower=self.options.lower)

    def batches(self, rng: np.random.Generator) -> BucketBatches[Batch]:
        """All pairs once in each epoch, those of about the same length together."""
        options, group = self.options, self.group
        return BucketBatches(
            self.training.lengths,
            self.training.batch,
            max_tokens=max(options.batch_tokens // group.size, options.max_length),
            max_sequences=max(options.batch // group.size, 1),
            bucket_width=0.2,
            seed=options.seed,
            rank=group.rank,
            size=group.size,
        )

    def build(self, rng: np.random.Generator) -> Seq2Seq:
        """An encoder, a decoder with attention."""
        options = self.options
        score: Score = options.attention
        return Seq2Seq(
            len(self.source),
            len(self.target),
            embedding_size=options.embedding,
            hidden_size=options.hidden,
            num_layers=options.layers,
            cell=CELLS[options.cell],
            bidirectional=options.bidirectional,
            score=score,
            input_feeding=options.input_feeding,
            dropout=options.dropout,
            tied=options.tied,
            rng=rng,
        )

    def loss(
        self, model: Seq2Seq, batch: Batch, carry: Carry, rng: np.random.Generator
    ) -> LossAndPullback:
        """Cross-entropy of each target token after those before it, with smoothed labels."""
        loss, pullback = model.loss_vjp(
            batch.sources,
            batch.source_lengths,
            batch.targets,
            batch.target_lengths,
            smoothing=self.options.label_smoothing,
            rng=rng,
        )
        return (loss, int(batch.target_lengths.sum()), None), pullback

    @property
    def metric(self) -> Metric:
        """Perplexity per token of the target."""
        return Metric("perplexity per token", "perplexity", "tokens", perplexity)

    def validate(self, model: Seq2Seq) -> float:
        """Scores all held-out pairs, without smoothing."""
        return self._loss(model, self.held_out)

    def _loss(self, model: Seq2Seq, encoded: Encoded) -> float:
        lengths = encoded.lengths
        limit = max(_SCORED, int(lengths.max(initial=1)))
        total, count = 0.0, 0
        for rows in bucket_by_length(lengths, max_tokens=limit):
            batch = encoded.batch(rows)
            losses, _ = model.losses(
                batch.sources, batch.source_lengths, batch.targets, batch.target_lengths
            )
            total += float(losses.sum(dtype=np.float64))
            count += int(batch.target_lengths.sum())
        return total / max(count, 1)

    def assets(self, model: Seq2Seq) -> dict[str, Any]:
        """The architecture, and how text becomes tokens."""
        return {
            "model": model.config,
            "source": self.source.to_json(),
            "target": self.target.to_json(),
            "longest": self.longest,
            "ratio": self.ratio,
        }

    @classmethod
    def restore(
        cls, options: Options, assets: Mapping[str, Any], weights: Mapping[str, Array]
    ) -> Translator:
        """The model, ready for text."""
        model = Seq2Seq.from_parameters(assets["model"], weights)
        source, target = (segmenter_from_json(assets[side]) for side in ("source", "target"))
        return Translator(
            model, source, target, int(assets["longest"]), float(assets["ratio"]), options
        )

    def report(self, trained: Translator, path: Path | None) -> Iterator[str]:
        """How many of the held-out texts come out exactly, some of them, and what to type next."""
        pairs = self.held_out.pairs[:_REPORTED]
        written = self._written(trained, pairs)
        exact = sum(text in p.targets for text, p in zip(written, pairs, strict=True))
        yield f"exact      {exact / len(pairs):.2%} of {len(pairs):,} held out"
        if self.options.data == "dictionary":
            yield from error_scores(written, pairs)
        for text, pair in list(zip(written, pairs, strict=True))[:3]:
            yield f"    source   {pair.source}"
            yield f"    target   {pair.target}"
            yield f"    written  {text}"
        if path is not None:
            yield "next"
            yield f'    unrolled translate {path} "{pairs[0].source}"'
            yield f"    unrolled evaluate translation {path}"

    def pictures(self, trained: Translator, path: Path) -> Iterator[tuple[str, Path]]:
        """What the first held-out translation read, step by step."""
        texts = (pair.source for pair in self.held_out.pairs)
        text = next((t for t in texts if len(list(trained.parts(trained.encode(t)))) == 1), None)
        if text is not None:
            picture = path.with_name(f"{path.stem}-attention.png")
            draw_attention(picture, *trained.attention(text, trained(text)))
            yield "attention", picture

    def _written(self, trained: Translator, pairs: Sequence[Pair], **search: Any) -> list[str]:
        return [found[0].text for found in trained.translate([p.source for p in pairs], **search)]

    def evaluate(
        self,
        trained: Translator,
        sources: Sequence[Path],
        details: bool,
        precision: functional.Precision,
        *,
        greedy: bool = False,
    ) -> Iterator[str]:
        """BLEU, chrF and perplexity, or errors of words and phonemes; with details every text."""
        if sources:
            pairs = read_some(self.options, files_of(sources, None, None, None))
        else:
            _, pairs = read_training(self.options, self.sources)
        self.source, self.target = trained.source, trained.target
        if not pairs:
            raise ValueError("there are no pairs to score")
        search = {"width": 1} if greedy else {}
        encoded = self._encoded([pair for pair in pairs if pair.source and pair.target])
        with trained.model.in_precision(precision):
            # A copy, so that what it packs in this precision is not kept.
            written = self._written(replace(trained), pairs, **search)
            loss = self._loss(trained.model, encoded)
        cost = ""
        if precision != "full":
            exact = self._loss(trained.model, encoded)
            cost = f", in {precision} {loss / max(exact, 1e-9) - 1:+.2%} of the loss"
        if details:
            for text, pair in zip(written, pairs, strict=True):
                yield from (
                    f"source   {pair.source}",
                    f"target   {pair.target}",
                    f"written  {text}",
                )
        if self.options.data == "dictionary":
            yield from error_scores(written, pairs)
        else:
            yield from corpus_scores(written, [pair.target for pair in pairs])
        yield f"held out   {self.metric.text(loss)} {self.metric.name}, {len(pairs):,} pairs{cost}"


def train(
    sources: PathLike | Sequence[PathLike] = (),
    *,
    output: PathLike | None = None,
    resume: PathLike | None = None,
    quiet: bool = False,
    **options: Any,
) -> Translator:
    """Trains a model of translation; see `Options` for the keywords, `--help` for their meaning.

    Args:
        sources: two files of parallel lines, or one with tabs; the same as `source=` and `target=`,
            or `pairs=`. A dictionary with `preset="g2p"`. None with `demo=True`.
        output: checkpoint to write, `.safetensors`; none = keep the model in memory only.
        resume: checkpoint of a run to go on with.
        quiet: print nothing.
        options: `minutes=60` or `epochs=` or `steps=`, `source=`, `target=`, `hidden=`, ...

    Raises:
        FileNotFoundError, ValueError: an option or the texts will not do.
    """
    return _train(TranslationTask, sources, output=output, resume=resume, quiet=quiet, **options)


def load(path: PathLike) -> Translator:
    """Returns the translator in a checkpoint."""
    return _load(path, TranslationTask)[1]


def save(translator: Translator, path: PathLike) -> None:
    """Writes a translator into a checkpoint."""
    task = TranslationTask(translator.options)
    task.source, task.target = translator.source, translator.target
    task.longest, task.ratio = translator.longest, translator.ratio
    write_model(path, task, translator.model)
