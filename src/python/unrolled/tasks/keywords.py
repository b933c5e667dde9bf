"""The task "keywords": which of a few words is said.

    from unrolled.tasks import keywords

    spotter = keywords.train("clips/", minutes=5)      # one folder for each word
    spotter("hello.wav")                               # [("hello", 0.98), ("yellow", 0.01), ...]
    keywords.save(spotter, "words.safetensors")        # spotter = keywords.load(...)

The same on the command line: `unrolled train keywords`, `unrolled evaluate keywords`.

A clip of any format, rate and length becomes log-mel features; recurrent layers read them, and the
mean of their outputs tells the word. Clips are changed at random in training (shifted, louder or
softer, noisy, with stretches of time and bands masked, faster or slower).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unrolled import functional
from unrolled.audio import (
    Augmentation,
    Features,
    FeatureSettings,
    Normalisation,
    Samples,
    extract_features,
    read_audio,
    resample,
)
from unrolled.models import AcousticModel
from unrolled.training import (
    Array,
    Carry,
    IndexedBatches,
    LossAndPullback,
    Metric,
    counter_rng,
    cross_entropy_vjp,
    pad_sequences,
)

from ._clips import Clip, find_clips, merge_unknown, split_clips
from ._options import CELLS, TrainOptions, option
from ._run import load as _load
from ._run import train as _train
from ._saved import PathLike, write_model
from ._task import Task, register
from ._watch import watched

#: Streams of random numbers: of the order of clips, and of their changes.
_ORDER, _CHANGES = 0, 1

#: Clips that are scored at a time.
_PART = 64


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """What can be set for keyword spotting."""

    batch: int = option(32, "clips per update")
    lr: float = option(4e-3, "highest learning rate")
    validation: str | None = option(
        None, "folder or table of clips to hold out; not given: one speaker of ten"
    )
    words: str | None = option(None, "words to tell apart, with commas; others become _unknown_")
    cell: Literal["gru", "lstm", "rnn"] = option("gru", "kind of recurrent layer")
    hidden: int = option(128, "units per recurrent layer and direction")
    layers: int = option(2, "recurrent layers")
    bidirectional: bool = option(False, "read backwards too: better, but not while someone speaks")
    dropout: float = option(0.2, "part of the recurrent outputs dropped in training, 0..1")
    features: Literal["mel", "mfcc"] = option("mel", "log energies of mel bands, or cepstra")
    bands: int = option(40, "mel bands")
    rate: int = option(16_000, "samples a second that the model works with")
    speeds: bool = option(True, "train on each clip a tenth faster and slower too")
    augment: bool = option(True, "change clips at random: place, loudness, noise, masks")

    def settings(self) -> FeatureSettings:
        """The features that were asked for."""
        return FeatureSettings(kind=self.features, bands=self.bands, rate=self.rate)


@dataclass(frozen=True)
class Sounds:
    """Clips side by side.

    Shapes: T frames, B clips, F features.

    Attributes:
        frames: (T, B, F) normalised features, zero behind the end of each.
        lengths: (B,) frames of each.
        classes: (B,) int64.
    """

    frames: Array
    lengths: Array
    classes: Array


@dataclass(frozen=True)
class Spotter:
    """A trained model, and all that it takes to use it.

    Attributes:
        model: the network.
        words: its classes.
        settings: of its features.
        normalisation: of its features.
        options: how it was trained.
    """

    model: AcousticModel
    words: tuple[str, ...]
    settings: FeatureSettings
    normalisation: Normalisation
    options: Options

    def __call__(self, sound: PathLike | Samples) -> list[tuple[str, float]]:
        """Returns every word with its probability, the most probable first.

        Args:
            sound: a file of any format, or samples (N,) of -1..1 at `settings.rate`.

        Raises:
            FileNotFoundError, AudioError: the file is not there, or is no audio.
        """
        if isinstance(sound, (str, os.PathLike)):
            sound = read_audio(sound, self.settings.rate)
        frames = self.normalisation(extract_features(sound, self.settings))
        log_p = functional.log_softmax(self.model(frames[:, None])[0].astype(np.float64))
        order = np.argsort(-log_p, kind="stable")
        return [(self.words[place], float(np.exp(log_p[place]))) for place in order]


@register
class Keywords(Task[Options, AcousticModel, Sounds, Spotter]):
    """A clip in, its word out."""

    name = "keywords"
    summary = "Keyword spotting: which of a few words is said (needs the extra [speech])."
    examples = (
        "unrolled train keywords clips/ --minutes 5",
        "unrolled train keywords train.csv --validation val.csv --epochs 30 --bidirectional",
        "unrolled train keywords speech_commands/ --words yes,no,up,down --hidden 64",
        "unrolled evaluate keywords keywords.safetensors test.csv",
    )
    options_type = Options

    def load(self) -> str:
        """Reads the clips and computes their features."""
        options = self.options
        if not self.sources:
            raise ValueError("give a folder with one folder of sound files for each word")
        clips = self._find(self.sources)
        if options.validation is None:
            training, held_out = split_clips(clips)
        else:
            training, held_out = clips, self._find([Path(options.validation)])
        self.words = tuple(sorted({clip.word for clip in training}))
        if len(self.words) < 2 or not held_out:
            raise ValueError(
                f"there are {len(training):,} clips of {len(self.words)} words to train on and "
                f"{len(held_out):,} held out: two words or more, and more clips, are needed"
            )
        settings = options.settings()
        speeds = (1.0, 0.9, 1.1) if options.speeds else (1.0,)
        self.frames, self.classes = compute(training, self.words, settings, speeds)
        self.normalisation = Normalisation.of(self.frames[: len(training)])
        self.held_out = compute(held_out, self.words, settings)
        return (
            f"{len(training):,} clips to train on, {len(held_out):,} held out, "
            f"{len(self.words)} words"
        )

    def _find(self, sources: Sequence[Path]) -> list[Clip]:
        clips = find_clips(sources)
        words = self.options.words
        return clips if words is None else merge_unknown(clips, words.split(","))

    def batches(self, rng: np.random.Generator) -> IndexedBatches[Sounds]:
        """All clips once in each epoch, in an order and with changes that follow from the seed."""
        options, size = self.options, len(self.frames)
        speeds = 3 if options.speeds else 1
        clips = size // speeds
        per_epoch = -(-clips // options.batch)
        change = Augmentation() if options.augment and options.features == "mel" else None
        hop = options.settings().hop
        group = self.group

        def make(number: int) -> Sounds:
            epoch, part = divmod(number, per_epoch)
            order = counter_rng(options.seed, _ORDER, epoch)
            # Each epoch takes each clip at one of its speeds.
            chosen = order.permutation(clips) + clips * order.integers(speeds, size=clips)
            rows = chosen[part * options.batch : (part + 1) * options.batch]
            rng = counter_rng(options.seed, _CHANGES, number)
            frames = [self.frames[row] for row in rows]
            if change is not None:
                frames = [change(each, hop, rng) for each in frames]
            mine = group.rows(len(rows))
            return self._together(frames[mine], self.classes[rows[mine]])

        return IndexedBatches(make, per_epoch=per_epoch)

    def _together(self, frames: Sequence[Features], classes: Array) -> Sounds:
        padded, lengths = pad_sequences([self.normalisation(each) for each in frames])
        return Sounds(padded, lengths, classes)

    def build(self, rng: np.random.Generator) -> AcousticModel:
        """Recurrent layers, and a linear map of their mean output."""
        options = self.options
        return AcousticModel(
            options.settings().size,
            len(self.words),
            hidden_size=options.hidden,
            num_layers=options.layers,
            cell=CELLS[options.cell],
            bidirectional=options.bidirectional,
            pooled=True,
            dropout=options.dropout,
            rng=rng,
        )

    def loss(
        self, model: AcousticModel, batch: Sounds, carry: Carry, rng: np.random.Generator
    ) -> LossAndPullback:
        """Cross-entropy of the word."""
        logits, pullback = model.vjp(batch.frames, batch.lengths, rng=rng)
        (loss, count), loss_pullback = cross_entropy_vjp(logits, batch.classes)
        return (loss, count, None), lambda dloss: pullback(loss_pullback(dloss))

    @property
    def metric(self) -> Metric:
        """Nats a clip."""
        return Metric("nats per clip", "nats/clip", "clips", lambda loss: loss)

    def validate(self, model: AcousticModel) -> float:
        """Scores all held-out clips."""
        losses = -self._log_p(model, *self.held_out)
        return float(losses[np.arange(len(losses)), self.held_out[1]].mean())

    def _log_p(self, model: AcousticModel, frames: Sequence[Features], classes: Array) -> Array:
        """Log-probabilities (N, words) of clips, which are read side by side by length."""
        result = np.empty((len(frames), len(self.words)))
        order = np.argsort([len(each) for each in frames], kind="stable")
        for start in range(0, len(order), _PART):
            rows = order[start : start + _PART]
            batch = self._together([frames[row] for row in rows], classes[rows])
            logits = model(batch.frames, batch.lengths)
            result[rows] = functional.log_softmax(logits.astype(np.float64))
        return result

    def assets(self, model: AcousticModel) -> dict[str, Any]:
        """The architecture, the words and how features are computed."""
        return {
            "model": model.config,
            "words": list(self.words),
            "features": self.options.settings().to_json(),
            "normalisation": self.normalisation.to_json(),
        }

    @classmethod
    def restore(
        cls, options: Options, assets: Mapping[str, Any], weights: Mapping[str, Array]
    ) -> Spotter:
        """The model, ready for sound."""
        model = AcousticModel.from_config(assets["model"], init="zeros")
        model.load_parameters(weights)
        return Spotter(
            model,
            tuple(assets["words"]),
            FeatureSettings.from_json(assets["features"]),
            Normalisation.from_json(assets["normalisation"]),
            options,
        )

    def report(self, trained: Spotter, path: Path | None) -> Iterator[str]:
        """How many held-out clips are understood, and what to type next."""
        yield self._accuracy(trained.model, "held out", *self.held_out)
        if path is not None:
            yield "next"
            yield f"    unrolled evaluate keywords {path} FOLDER"

    def _accuracy(
        self, model: AcousticModel, name: str, frames: Sequence[Features], classes: Array
    ) -> str:
        right = self._log_p(model, frames, classes).argmax(axis=1) == classes
        return f"right      {right.mean():.2%} of {len(classes):,} clips, {name}"

    def evaluate(
        self,
        trained: Spotter,
        sources: Sequence[Path],
        details: bool,
        precision: functional.Precision,
    ) -> Iterator[str]:
        """The share of clips that are understood; with details each clip that is not."""
        self.words, self.normalisation = trained.words, trained.normalisation
        if sources:
            clips = self._find(sources)
        else:
            own = self.options.validation
            clips = self._find([Path(own)]) if own else split_clips(self._find(self.sources))[1]
        foreign = sorted({clip.word for clip in clips} - set(self.words))
        if foreign:
            raise ValueError(f"the model does not know {', '.join(foreign)}")
        frames, classes = compute(clips, self.words, trained.settings)
        exact = self._log_p(trained.model, frames, classes)
        with trained.model.in_precision(precision):
            log_p = self._log_p(trained.model, frames, classes)
        answers = log_p.argmax(axis=1)
        if details:
            for clip, answer, row in zip(clips, answers, log_p, strict=True):
                if self.words[answer] != clip.word:
                    heard = f"{self.words[answer]} ({np.exp(row[answer]):.0%})"
                    yield f"wrong      {clip.path}: {clip.word} heard as {heard}"
        line = f"right      {(answers == classes).mean():.2%} of {len(clips):,} clips"
        if precision != "full":
            same = (answers == exact.argmax(axis=1)).mean()
            line += f", in {precision}; {same:.2%} of the answers as in full precision"
        yield line


def compute(
    clips: Sequence[Clip],
    words: Sequence[str],
    settings: FeatureSettings,
    speeds: Sequence[float] = (1.0,),
) -> tuple[list[Features], Array]:
    """Returns the features of all clips at the first speed, then at the next, and their classes.

    Raises:
        AudioError: a clip is no audio, or too short for a single frame.
    """
    number = {word: place for place, word in enumerate(words)}
    frames: list[list[Features]] = [[] for _ in speeds]
    for clip in watched(clips, "features"):
        samples = read_audio(clip.path, settings.rate)
        for place, speed in enumerate(speeds):
            # Taken as sound of a higher rate it has fewer samples and is over sooner.
            faster = resample(samples, speed * settings.rate, settings.rate)
            frames[place].append(extract_features(faster, settings))
    classes = np.array([number.get(clip.word, -1) for clip in clips], np.int64)
    return [each for part in frames for each in part], np.tile(classes, len(speeds))


def train(
    sources: PathLike | Sequence[PathLike],
    *,
    output: PathLike | None = None,
    resume: PathLike | None = None,
    quiet: bool = False,
    **options: Any,
) -> Spotter:
    """Trains a keyword spotter; see `Options` for the keywords, `--help` for their meaning.

    Args:
        sources: folders with one folder for each word, or CSV files with the columns file,class.
        output: checkpoint to write, `.safetensors`; none = keep the model in memory only.
        resume: checkpoint of a run to go on with.
        quiet: print nothing.
        options: `minutes=5` or `epochs=` or `steps=`, `hidden=`, `bidirectional=`, ...

    Raises:
        FileNotFoundError, ValueError: an option or the clips will not do.
    """
    return _train(Keywords, sources, output=output, resume=resume, quiet=quiet, **options)


def load(path: PathLike) -> Spotter:
    """Returns the keyword spotter in a checkpoint."""
    return _load(path, Keywords)[1]


def save(spotter: Spotter, path: PathLike) -> None:
    """Writes a keyword spotter into a checkpoint."""
    task = Keywords(spotter.options)
    task.words, task.normalisation = spotter.words, spotter.normalisation
    write_model(path, task, spotter.model)
