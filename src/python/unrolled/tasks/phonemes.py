"""The task "phonemes": from a sound to the sequence of what is said, phonemes or words.

    from unrolled.tasks import phonemes

    hear = phonemes.train("recordings/", minutes=10)     # sounds, and files that say what is said
    for segment in hear("new.wav"):
        print(segment.symbol, segment.start, segment.end, segment.probability)

The same on the command line: `unrolled train phonemes`, `unrolled evaluate phonemes`, `unrolled
transcribe`. `--demo` trains on speech that is made on the spot.

Recurrent layers read log-mel features; connectionist temporal classification (CTC) learns from the
sequence of symbols alone where each of them is. What the symbols are is the data's affair:
phonemes, letters, or the words of a small vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from unrolled import functional
from unrolled.audio import (
    Augmentation,
    Features,
    FeatureSettings,
    Normalisation,
    extract_features,
    read_audio,
)
from unrolled.models import AcousticModel
from unrolled.training import (
    Array,
    Carry,
    IndexedBatches,
    LossAndPullback,
    Metric,
    counter_rng,
    pad_sequences,
)

from ._edit_distance import error_rate
from ._options import CELLS, TrainOptions, option
from ._recogniser import Recogniser as Recogniser
from ._recogniser import best_symbols
from ._run import load as _load
from ._run import train as _train
from ._saved import PathLike, write_model
from ._speech_demo import make_speech
from ._task import Task, register
from ._utterances import Segment as Segment
from ._utterances import find_utterances
from ._watch import watched

#: Streams of random numbers: of the order of utterances, of their changes, and of the split.
_ORDER, _CHANGES, _SPLIT = 0, 1, 2

#: One utterance of so many is held out where the user splits nothing.
_HELD_OUT_ONE_OF = 10

#: Utterances that are scored at a time.
_PART = 16


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """What can be set for the recognition of phonemes or words."""

    lr: float = option(4e-3, "highest learning rate")
    validation: str | None = option(
        None, "folder or table of utterances to hold out; not given: one of ten"
    )
    demo: bool = option(False, "make the speech: eSpeak says sentences (extra [speech-demo])")
    sentences: int = option(800, "how many sentences --demo makes")
    cell: Literal["gru", "lstm", "rnn"] = option("gru", "kind of recurrent layer")
    hidden: int = option(128, "units per recurrent layer and direction")
    layers: int = option(2, "recurrent layers")
    bidirectional: bool = option(True, "read backwards too")
    dropout: float = option(0.1, "part of the recurrent outputs dropped in training, 0..1")
    bands: int = option(40, "mel bands")
    rate: int = option(16_000, "samples a second that the model works with")
    augment: bool = option(True, "change utterances at random: loudness, noise, masks")

    default_minutes: ClassVar[float] = 2.0

    def settings(self) -> FeatureSettings:
        """The features that were asked for."""
        return FeatureSettings(bands=self.bands, rate=self.rate)


@dataclass(frozen=True)
class Spoken:
    """Utterances as features, and what is said in each.

    Attributes:
        frames: (T, F) of each.
        symbols: the symbols of each.
    """

    frames: Sequence[Features]
    symbols: Sequence[Sequence[str]]

    def rows(self, chosen: Sequence[int]) -> "Spoken":
        """Some of them."""
        return Spoken([self.frames[i] for i in chosen], [self.symbols[i] for i in chosen])


@dataclass(frozen=True)
class Batch:
    """Utterances side by side.

    Shapes: T frames, B utterances, F features, S symbols.

    Attributes:
        frames: (T, B, F) normalised features, zero behind the end of each.
        lengths: (B,) frames of each.
        labels: (B, S) outputs of the model, 1 + symbol.
        counts: (B,) symbols of each.
    """

    frames: Array
    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]
    counts: NDArray[np.int64]


@register
class Phonemes(Task[Options, AcousticModel, Batch, Recogniser]):
    """A sound in, what is said out."""

    name = "phonemes"
    summary = "Speech: which phonemes, or words, are said and when (needs the extra [speech])."
    examples = (
        "unrolled train phonemes --demo",
        "unrolled train phonemes recordings/ --minutes 20",
        "unrolled train phonemes train.csv --validation val.csv --hidden 256 --minutes 60",
    )
    options_type = Options

    def load(self) -> str:
        """Reads the utterances, or makes them, and computes their features."""
        options = self.options
        spoken = self._read(self.sources)
        rows = counter_rng(0, _SPLIT, 0).permutation(len(spoken.frames))
        if options.validation is None:
            held_out, training = np.split(rows, [-(-len(rows) // _HELD_OUT_ONE_OF)])
            self.held_out = spoken.rows(held_out.tolist())
            self.training = spoken.rows(np.sort(training).tolist())
        else:
            self.training, self.held_out = spoken, self._read([Path(options.validation)])
        self.symbols = tuple(sorted({s for row in self.training.symbols for s in row}))
        count = len(self.training.frames)
        if not (count and self.held_out.frames and self.symbols):
            raise ValueError(
                f"there are {count:,} utterances of {len(self.symbols)} symbols to train on and "
                f"{len(self.held_out.frames):,} held out, too few"
            )
        self.normalisation = Normalisation.of(self.training.frames)
        seconds = sum(map(len, self.training.frames)) * options.settings().hop
        return (
            f"{count:,} utterances ({seconds / 60:.1f} min) to train on, "
            f"{len(self.held_out.frames):,} held out, {len(self.symbols)} symbols"
        )

    def _read(self, sources: Sequence[Path]) -> Spoken:
        options = self.options
        settings = options.settings()
        if options.demo:
            made = make_speech(options.sentences, options.rate)
            frames = [
                extract_features(each.samples, settings) for each in watched(made, "features")
            ]
            return Spoken(frames, [each.symbols for each in made])
        if not sources:
            raise ValueError(
                "give a folder of sound files with files that say what is said, or --demo"
            )
        found = find_utterances(sources)
        frames = [
            extract_features(read_audio(each.path, options.rate), settings)
            for each in watched(found, "features")
        ]
        return Spoken(frames, [each.symbols for each in found])

    def batches(self, rng: np.random.Generator) -> IndexedBatches[Batch]:
        """All utterances once in each epoch, those of about the same length together."""
        options, group = self.options, self.group
        lengths = np.array([len(each) for each in self.training.frames])
        per_epoch = -(-len(lengths) // options.batch)
        change = Augmentation(shift=0.0, time_width=0.05) if options.augment else None
        hop = options.settings().hop

        def make(number: int) -> Batch:
            epoch, part = divmod(number, per_epoch)
            rng = counter_rng(options.seed, _ORDER, epoch)
            order = np.argsort(lengths * rng.uniform(0.9, 1.1, len(lengths)))
            start = options.batch * int(rng.permutation(per_epoch)[part])
            rows = order[start : start + options.batch]
            rng = counter_rng(options.seed, _CHANGES, number)
            frames = [self.training.frames[row] for row in rows]
            if change is not None:
                frames = [change(each, hop, rng) for each in frames]
            mine = group.rows(len(rows))
            said = [self.training.symbols[row] for row in rows]
            return self._together(Spoken(frames[mine], said[mine]))

        return IndexedBatches(make, per_epoch=per_epoch)

    def _together(self, spoken: Spoken) -> Batch:
        number = {symbol: place for place, symbol in enumerate(self.symbols, 1)}
        frames, lengths = pad_sequences([self.normalisation(each) for each in spoken.frames])
        labels = [
            np.array([number[symbol] for symbol in row if symbol in number], np.int64)
            for row in spoken.symbols
        ]
        padded, counts = pad_sequences(labels)
        return Batch(frames, lengths, np.ascontiguousarray(padded.T), counts)

    def build(self, rng: np.random.Generator) -> AcousticModel:
        """Recurrent layers with an output for each symbol and the blank."""
        options = self.options
        return AcousticModel(
            options.settings().size,
            1 + len(self.symbols),
            hidden_size=options.hidden,
            num_layers=options.layers,
            cell=CELLS[options.cell],
            bidirectional=options.bidirectional,
            dropout=options.dropout,
            rng=rng,
        )

    def loss(
        self, model: AcousticModel, batch: Batch, carry: Carry, rng: np.random.Generator
    ) -> LossAndPullback:
        """CTC, in the mean over the symbols of utterances that are long enough for theirs."""
        logits, pullback = model.vjp(batch.frames, batch.lengths, rng=rng)
        losses, dlogits = functional.ctc_loss_vjp(
            logits,
            batch.labels,
            input_lengths=model.steps(batch.lengths),
            label_lengths=batch.counts,
        )
        possible = np.isfinite(losses) | np.isnan(losses)  # NaN is to be seen
        count = int(np.maximum(batch.counts, 1)[possible].sum())
        loss = float(losses[possible].sum(dtype=np.float64)) / max(count, 1)

        def pull(dloss: float) -> None:
            pullback(dlogits * dlogits.dtype.type(dloss / max(count, 1)))

        return (loss, count, None), pull

    @property
    def metric(self) -> Metric:
        """Nats a symbol."""
        return Metric("nats per symbol", "nats/symbol", "symbols", lambda loss: loss)

    def validate(self, model: AcousticModel) -> float:
        """Scores all held-out utterances."""
        total, count = 0.0, 0
        for batch, logits in self._read_aloud(model, self.held_out):
            losses = functional.ctc_loss(
                logits,
                batch.labels,
                input_lengths=model.steps(batch.lengths),
                label_lengths=batch.counts,
            )
            possible = np.isfinite(losses)
            total += float(losses[possible].sum(dtype=np.float64))
            count += int(np.maximum(batch.counts, 1)[possible].sum())
        return total / max(count, 1)

    def _read_aloud(self, model: AcousticModel, spoken: Spoken) -> Iterator[tuple[Batch, Array]]:
        """Yields utterances with their logits (N, B, 1 + symbols), in their order."""
        for start in range(0, len(spoken.frames), _PART):
            rows = range(start, min(start + _PART, len(spoken.frames)))
            batch = self._together(spoken.rows(rows))
            yield batch, model(batch.frames, batch.lengths)

    def heard(self, model: AcousticModel, spoken: Spoken) -> list[tuple[str, ...]]:
        """Returns what a model hears in each utterance."""
        result = []
        for batch, logits in self._read_aloud(model, spoken):
            for row, steps in enumerate(model.steps(batch.lengths)):
                best = best_symbols(np.ascontiguousarray(logits[:steps, row]))
                result.append(tuple(self.symbols[symbol - 1] for symbol in best))
        return result

    def assets(self, model: AcousticModel) -> dict[str, Any]:
        """The architecture, the symbols and how features are computed."""
        return {
            "model": model.config,
            "symbols": list(self.symbols),
            "features": self.options.settings().to_json(),
            "normalisation": self.normalisation.to_json(),
        }

    @classmethod
    def restore(
        cls, options: Options, assets: Mapping[str, Any], weights: Mapping[str, Array]
    ) -> Recogniser:
        """The model, ready for sound."""
        model = AcousticModel.from_parameters(assets["model"], weights)
        return Recogniser(
            model,
            tuple(assets["symbols"]),
            FeatureSettings.from_json(assets["features"]),
            Normalisation.from_json(assets["normalisation"]),
            options,
        )

    def report(self, trained: Recogniser, path: Path | None) -> Iterator[str]:
        """The error rate, some of what was said and heard, and what to type next."""
        heard = self.heard(trained.model, self.held_out)
        rate = error_rate(self.held_out.symbols, heard)
        yield f"errors     {rate:.2%} of the symbols of {len(heard):,} utterances, held out"
        for said, understood in list(zip(self.held_out.symbols, heard, strict=True))[:3]:
            yield f"    said   {' '.join(said)}"
            yield f"    heard  {' '.join(understood)}"
        if path is not None:
            yield "next"
            yield f"    unrolled transcribe {path} FILE"
            yield f"    unrolled evaluate phonemes {path} FOLDER"

    def evaluate(
        self,
        trained: Recogniser,
        sources: Sequence[Path],
        details: bool,
        precision: functional.Precision,
    ) -> Iterator[str]:
        """The error rate; with details what was said and heard in each utterance."""
        if sources:
            self.symbols, self.normalisation = trained.symbols, trained.normalisation
            spoken = self._read(sources)
        else:
            yield self.load()
            spoken = self.held_out
        with trained.model.in_precision(precision):
            heard = self.heard(trained.model, spoken)
        if details:
            for said, understood in zip(spoken.symbols, heard, strict=True):
                yield f"said   {' '.join(said)}"
                yield f"heard  {' '.join(understood)}"
        rate = error_rate(spoken.symbols, heard)
        yield f"errors     {rate:.2%} of the symbols of {len(heard):,} utterances"


def train(
    sources: PathLike | Sequence[PathLike] = (),
    *,
    output: PathLike | None = None,
    resume: PathLike | None = None,
    quiet: bool = False,
    **options: Any,
) -> Recogniser:
    """Trains a recogniser; see `Options` for the keywords, `--help` for their meaning.

    Args:
        sources: folders of sounds with files that say what is said, or CSV files with the columns
            file,symbols; none with `demo=True`.
        output: checkpoint to write, `.safetensors`; none = keep the model in memory only.
        resume: checkpoint of a run to go on with.
        quiet: print nothing.
        options: `minutes=5` or `epochs=` or `steps=`, `hidden=`, `demo=`, ...

    Raises:
        FileNotFoundError, ValueError: an option or the recordings will not do.
    """
    return _train(Phonemes, sources, output=output, resume=resume, quiet=quiet, **options)


def load(path: PathLike) -> Recogniser:
    """Returns the recogniser in a checkpoint."""
    return _load(path, Phonemes)[1]


def save(recogniser: Recogniser, path: PathLike) -> None:
    """Writes a recogniser into a checkpoint."""
    task = Phonemes(recogniser.options)
    task.symbols, task.normalisation = recogniser.symbols, recogniser.normalisation
    write_model(path, task, recogniser.model)
