"""The task "phonemes": from a sound to the sequence of what is said, phonemes or words.

    from unrolled.tasks import phonemes

    hear = phonemes.train("recordings/", minutes=10)     # sounds, and files that say what is said
    for segment in hear("new.wav"):
        print(segment.symbol, segment.start, segment.end, segment.probability)
    hear.align("new.wav", ["what", "is", "said"], dictionary=hear.dictionary)   # where it is said

The same on the command line: `unrolled train phonemes`, `unrolled evaluate phonemes`, `unrolled
transcribe`, `unrolled align`. `--demo` trains on speech that is made on the spot.

Recurrent layers read log-mel features; connectionist temporal classification (CTC) learns from the
sequence of symbols alone what is said. Where the data say when each symbol begins and ends, further
outputs learn that, and the places of recognised symbols come from them. What the symbols are is the
data's affair: phonemes, letters, or the words of a small vocabulary. With a dictionary they are the
phonemes of words; of words with several pronunciations those that fit the sound best, by the most
probable alignment that the model sees at that time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from unrolled import functional
from unrolled.audio import Augmentation, FeatureSettings, normalisation_from_json
from unrolled.models import AcousticModel
from unrolled.training import (
    Array,
    Carry,
    IndexedBatches,
    LossAndPullback,
    Metric,
    counter_rng,
    from_json,
)

from ._dictionary import Dictionary as Dictionary
from ._options import CELLS, TrainOptions, option
from ._recogniser import Recogniser as Recogniser
from ._run import load as _load
from ._run import train as _train
from ._saved import PathLike, write_model
from ._speakers import fit_normalisation, perhaps_new
from ._speech_demo import say_sentences, write_sentence
from ._speech_loss import SpeechLoss, speech_loss_vjp
from ._speech_score import Hearing
from ._spoken import Batch, Spoken
from ._task import Task, register
from ._utterances import Segment as Segment
from ._utterances import find_utterances
from ._words import LM_WEIGHT, readers_of
from ._words import WordReader as WordReader
from .language_model import load as load_text

#: Streams of random numbers: of the order of utterances, of their changes, and of the split.
_ORDER, _CHANGES, _SPLIT = 0, 1, 2

#: One utterance of so many is held out where the user splits nothing.
_HELD_OUT_ONE_OF = 10

#: Epochs in which words have their usual pronunciations; from then on those that fit best.
_USUAL_EPOCHS = 2

#: Utterances that a report shows.
_SHOWN = 3

#: Utterances that are scored at a time.
_PART = 16


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """What can be set for the recognition of phonemes or words."""

    lr: float = option(4e-3, "highest learning rate")
    validation: str | None = option(
        None, "folder or table of utterances to hold out; not given: one of ten"
    )
    dictionary: str | None = option(
        None, "file of words and their phonemes, as CMUdict: what is said is given in words"
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
    normalise: Literal["global", "speaker"] = option(
        "global", "take from features what is common to all sounds, or also what a speaker adds"
    )
    chain: int = option(
        1, "most utterances in a row in training; more than 1 where long sounds lose words"
    )
    augment: bool = option(True, "change utterances at random: loudness, noise, masks")

    default_minutes: ClassVar[float] = 2.0

    def settings(self) -> FeatureSettings:
        """The features that were asked for."""
        return FeatureSettings(bands=self.bands, rate=self.rate)


@register
class Phonemes(Task[Options, AcousticModel, Batch, Recogniser]):
    """A sound in, what is said out."""

    name = "phonemes"
    summary = "Speech: which phonemes, or words, are said and when (needs the extra [speech])."
    examples = (
        "unrolled train phonemes --demo",
        "unrolled train phonemes recordings/ --minutes 20",
        "unrolled train phonemes train.csv --validation val.csv --hidden 256 --minutes 60",
        "unrolled train phonemes transcripts.csv --dictionary cmudict.dict --minutes 60",
    )
    options_type = Options
    evaluate_options: ClassVar[Mapping[str, tuple[type, str]]] = {
        "dictionary": (Path, "Words and phonemes instead of those that it was trained with."),
        "lm": (Path, "Language model of words that takes part: errors with and without it."),
        "lm_weight": (float, "What the language model counts beside the sound (default 0.5)."),
    }

    dictionary: Dictionary | None = None
    left_out = ""  # what could not be used, for people

    def load(self) -> str:
        """Reads the utterances, or makes them, and computes their features."""
        options = self.options
        if options.chain < 1:
            raise ValueError(f"expected --chain of 1 or more, got {options.chain}")
        if options.demo and options.dictionary is not None:
            raise ValueError("--demo brings its own dictionary: leave out --dictionary")
        if options.dictionary is not None and self.dictionary is None:
            self.dictionary = Dictionary.read(Path(options.dictionary))
        spoken = self._read(self.sources)
        rows = counter_rng(0, _SPLIT, 0).permutation(len(spoken.frames))
        if options.validation is None:
            held_out, training = np.split(rows, [-(-len(rows) // _HELD_OUT_ONE_OF)])
            self.held_out = spoken.rows(held_out.tolist())
            self.training = spoken.rows(np.sort(training).tolist())
        else:
            self.training, self.held_out = spoken, self._read([Path(options.validation)])
        self.symbols = self.training.known
        count = len(self.training.frames)
        if not (count and self.held_out.frames and self.symbols):
            raise ValueError(
                f"there are {count:,} utterances of {len(self.symbols)} symbols to train on and "
                f"{len(self.held_out.frames):,} held out, too few"
            )
        self.timed = any(self.training.segments)
        settings = options.settings()
        self.normalisation = fit_normalisation(options.normalise, self.training.frames, settings)
        self.training = self.training.meet(self.normalisation)
        self.held_out = self.held_out.meet(self.normalisation)
        seconds = sum(map(len, self.training.frames)) * settings.hop
        return (
            f"{count:,} utterances ({seconds / 60:.1f} min) to train on, "
            f"{len(self.held_out.frames):,} held out, {len(self.symbols)} symbols"
            + (" with times" if self.timed else "")
            + self.left_out
        )

    def _read(self, sources: Sequence[Path]) -> Spoken:
        settings = self.options.settings()
        if not sources and self.options.demo:
            spoken, made = say_sentences(self.options.sentences, settings)
            self.dictionary = made if self.dictionary is None else self.dictionary
            return spoken
        if not sources:
            raise ValueError(
                "give a folder of sound files with files that say what is said, or --demo"
            )
        utterances = find_utterances(sources)
        if self.dictionary is not None:
            utterances, note = self.dictionary.pronounced(utterances)
            self.left_out += f"; {note}" if note else ""
        return Spoken.of(utterances, settings)

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
            spoken = self.training.rows(rows.tolist())
            before = [perhaps_new(each, rng) for each in spoken.before]
            spoken = replace(spoken, before=before)
            if epoch < _USUAL_EPOCHS:
                spoken = replace(spoken, alternatives=[()] * len(rows))
            if change is not None:
                changed = [change(each, hop, rng) for each in spoken.frames]
                spoken = replace(spoken, frames=changed)
            length = int(rng.integers(1, options.chain + 1))
            # Every rank gets something.
            spoken = spoken.chained(min(length, max(len(rows) // group.size, 1)), hop)
            count = len(spoken.frames)
            return self._together(spoken.rows(range(count)[group.rows(count)]))

        return IndexedBatches(make, per_epoch=per_epoch)

    def _together(self, spoken: Spoken) -> Batch:
        return Batch.of(spoken, self.symbols, self.options.settings(), self.normalisation)

    def build(self, rng: np.random.Generator) -> AcousticModel:
        """Recurrent layers with an output for each symbol and the blank; twice, with times."""
        options = self.options
        return AcousticModel(
            options.settings().size,
            (2 if self.timed else 1) * (1 + len(self.symbols)),
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
        """CTC and, where times are known, a cross-entropy of each step; see `SpeechLoss`."""
        logits, pullback = model.vjp(batch.frames, batch.lengths, rng=rng)
        loss, loss_pullback = self._loss_vjp(model, batch, logits)

        def pull(dloss: float) -> None:
            pullback(loss_pullback(dloss))

        return (loss.mean, loss.symbols, None), pull

    def _loss_vjp(
        self, model: AcousticModel, batch: Batch, logits: Array
    ) -> tuple[SpeechLoss, Callable[[float], Array]]:
        steps = model.steps(batch.lengths)
        places = batch.step_places(steps, model.stack, model.stride)
        outputs = 1 + len(self.symbols)
        labels, counts = batch.fitting(logits[..., :outputs], steps, self.symbols)
        return speech_loss_vjp(logits, steps, labels, counts, places, outputs)

    @property
    def metric(self) -> Metric:
        """Nats a symbol."""
        return Metric("nats per symbol", "nats/symbol", "symbols", lambda loss: loss)

    def validate(self, model: AcousticModel) -> float:
        """Scores all held-out utterances."""
        total = SpeechLoss()
        for batch, logits in self._read_aloud(model, self.held_out):
            total += self._loss_vjp(model, batch, logits)[0]
        return total.mean

    def _read_aloud(self, model: AcousticModel, spoken: Spoken) -> Iterator[tuple[Batch, Array]]:
        """Yields utterances with their logits (N, B, 1 + symbols), in their order."""
        for start in range(0, len(spoken.frames), _PART):
            rows = range(start, min(start + _PART, len(spoken.frames)))
            batch = self._together(spoken.rows(rows))
            yield batch, model(batch.frames, batch.lengths)

    def _hearing(
        self, trained: Recogniser, spoken: Spoken, readers: Mapping[str, WordReader]
    ) -> Hearing:
        """Returns what a model, and readers of words, hear in each utterance."""
        hearing = Hearing(trained, spoken, readers)
        for batch, logits in self._read_aloud(trained.model, spoken):
            for row, steps in enumerate(trained.model.steps(batch.lengths)):
                hearing.add(np.ascontiguousarray(logits[:steps, row]))
        return hearing

    def assets(self, model: AcousticModel) -> dict[str, Any]:
        """The architecture, the symbols, how features are computed, and the dictionary."""
        assets = {
            "model": model.config,
            "symbols": list(self.symbols),
            "features": self.options.settings().to_json(),
            "normalisation": self.normalisation.to_json(),
        }
        if self.dictionary is not None:
            assets["dictionary"] = self.dictionary.text
        return assets

    @classmethod
    def restore(
        cls, options: Options, assets: Mapping[str, Any], weights: Mapping[str, Array]
    ) -> Recogniser:
        """The model, ready for sound."""
        model = AcousticModel.from_parameters(assets["model"], weights)
        return Recogniser(
            model,
            tuple(from_json(list[str], assets["symbols"], "symbols")),
            from_json(FeatureSettings, assets["features"], "features"),
            normalisation_from_json(assets["normalisation"]),
            options,
            Dictionary.parse(assets["dictionary"]) if "dictionary" in assets else None,
        )

    def report(self, trained: Recogniser, path: Path | None) -> Iterator[str]:
        """The error rates, some of what was said and heard, and what to type next."""
        hearing = self._hearing(trained, self.held_out, readers_of(trained))
        yield from hearing.errors()
        for row in range(min(_SHOWN, len(self.held_out.frames))):
            yield from (f"    {line}" for line in hearing.utterance(row))
        if path is not None:
            sound = "FILE"
            if self.options.demo:
                sound = str(write_sentence(self.held_out.words[0], path.with_suffix(".wav")))
            yield "next"
            yield f"    unrolled transcribe {path} {sound}"
            yield f"    unrolled evaluate phonemes {path} FOLDER"

    def evaluate(
        self,
        trained: Recogniser,
        sources: Sequence[Path],
        details: bool,
        precision: functional.Precision,
        *,
        dictionary: Path | None = None,
        lm: Path | None = None,
        lm_weight: float | None = None,
    ) -> Iterator[str]:
        """The error rates; with details what was said and heard in each utterance."""
        if lm is None and lm_weight is not None:
            raise ValueError("--lm-weight is about the language model of --lm")
        given = None if dictionary is None else Dictionary.read(dictionary)
        text = None if lm is None else load_text(lm)
        weight = LM_WEIGHT if lm_weight is None else lm_weight
        readers = readers_of(trained, given, text, weight)
        self.dictionary = trained.dictionary if given is None else given
        if sources:
            spoken = self._read(sources)
            if self.left_out:
                yield self.left_out.removeprefix("; ")
        else:
            yield self.load()
            spoken = self.held_out
        self.symbols, self.normalisation = trained.symbols, trained.normalisation
        spoken = spoken.meet(self.normalisation)
        with trained.model.in_precision(precision):
            hearing = self._hearing(trained, spoken, readers)
        if details:
            for row in range(len(spoken.frames)):
                yield from hearing.utterance(row)
        yield from hearing.errors()


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
            file,symbols or file,start,end,symbol and perhaps speaker; none with `demo=True`.
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
    task.dictionary = recogniser.dictionary
    write_model(path, task, recogniser.model)
