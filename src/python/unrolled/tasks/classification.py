"""The task "classification": what a whole series of numbers is, out of some classes.

    from unrolled.tasks import classification

    classify = classification.train("Vowels_TRAIN.ts", minutes=1)
    classify(series)                    # series (C, T) -> [("7", 0.98), ("2", 0.01), ...]
    classification.save(classify, "vowels.safetensors")      # classify = classification.load(...)

The same on the command line: `unrolled train classification`, `unrolled evaluate classification`,
`unrolled classify-series`; `tasks.series.classifier.SeriesClassifier` follows scikit-learn.

Series come in the `.ts` format (`series/ts_format.py`): any number of channels, each series as long
as it is, values may be missing. Recurrent layers read in both directions what convolutions make of
them; the mean and the maximum of their outputs over time tell the class. Few series are the rule,
so they are changed at random in training: shifted, made noisy, longer or shorter, as much as they
differ by themselves.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from unrolled import functional
from unrolled.models import SeriesModel, series_strides
from unrolled.training import (
    Array,
    Carry,
    IndexedBatches,
    LossAndPullback,
    Metric,
    counter_rng,
    cross_entropy_vjp,
    from_json,
    pad_sequences,
)

from ._options import CELLS, TrainOptions, option
from ._run import load as _load
from ._run import train as _train
from ._saved import PathLike, write_model
from ._task import Task, register
from .series.changes import Changes
from .series.channels import Channels
from .series.labelled import read_labelled, split
from .series.trained_classifier import Classifier as Classifier
from .series.trained_classifier import log_probabilities

#: Streams of random numbers: of the order of series, and of what is made of them.
_ORDER, _CHANGES = 0, 1


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """What can be set for the classification of series."""

    batch: int = option(32, "series per update, of all ranks together")
    lr: float = option(5e-3, "highest learning rate")
    validation: str | None = option(
        None, ".ts file of series to hold out; not given: one of ten of each class"
    )
    cell: Literal["gru", "lstm", "rnn"] = option("gru", "kind of recurrent layer")
    hidden: int = option(64, "units per recurrent layer and direction")
    layers: int = option(1, "recurrent layers")
    conv: int = option(64, "channels of two convolutions before the recurrent layers; 0: none")
    resolution: int = option(
        32, "steps of a series, about, that convolutions leave to recurrent layers, if it has more"
    )
    bidirectional: bool = option(True, "read backwards too")
    dropout: float = option(0.3, "part of the recurrent outputs dropped in training, 0..1")
    shift: float = option(
        0.5, "shift channels at random, by so many deviations of the means of series"
    )
    jitter: float = option(
        0.3, "add noise to values, of so many deviations from the values beside them"
    )
    stretch: float = option(0.2, "make series longer or shorter at random by up to this part")

    default_minutes: ClassVar[float] = 1.0

    def changes(self) -> Changes:
        """The changes that were asked for."""
        return Changes(shift=self.shift, jitter=self.jitter, stretch=self.stretch)


@dataclass(frozen=True)
class Labelled:
    """Series as the model reads them, and their classes.

    Attributes:
        encoded: (T, I) float32 each.
        targets: (N,) int64.
    """

    encoded: list[Array]
    targets: Array


@dataclass(frozen=True)
class Batch:
    """Series side by side.

    Attributes:
        inputs: (T, B, I) float32.
        lengths: (B,) int64.
        targets: (B,) int64.
    """

    inputs: Array
    lengths: Array
    targets: Array


@register
class Classification(Task[Options, SeriesModel, Batch, Classifier]):
    """A series in, its class out."""

    name = "classification"
    summary = "Time series: which of some classes a series is; .ts files, any lengths and channels."
    examples = (
        "unrolled train classification Vowels_TRAIN.ts --minutes 1",
        "unrolled train classification a.ts --validation b.ts --cell lstm --layers 2 --epochs 100",
    )
    options_type = Options

    def load(self) -> str:
        """Reads the series and splits them."""
        if not self.sources:
            raise ValueError("give a .ts file with the series to train on")
        training = read_labelled(self.sources)
        if self.options.validation is None:
            training, held_out = split(training)
        else:
            held_out = read_labelled([Path(self.options.validation)])
        series, labels = training
        self.classes = tuple(sorted(set(labels)))
        gaps = any(np.isnan(each).any() for each in held_out[0])
        self.learn(series, self._numbers(labels), gaps=gaps)
        self.held_out = self.encode(*held_out)
        lengths = [len(each) for each in self.training.encoded]
        return (
            f"{len(lengths):,} series of {min(lengths):,} to {max(lengths):,} steps to train on, "
            f"{len(self.held_out.encoded):,} held out, {self.channels.count} channels"
            + (" with missing values" if self.channels.gaps else "")
            + f", {len(self.classes)} classes"
        )

    def learn(self, series: Sequence[Array], targets: Array, *, gaps: bool = False) -> None:
        """Takes series (C, T) and the numbers (N,) of their `classes`, to train on all of them.

        Args:
            series: NaN where a value is missing.
            targets: places in `classes`, which is set before.
            gaps: see `Channels.of`.

        Raises:
            ValueError: they will not do.
        """
        if len(self.classes) < 2:
            raise ValueError(
                f"there are {len(series):,} series of one class, {', '.join(self.classes)}, to "
                "train on: two classes or more are needed"
            )
        self.channels = Channels.of(series, gaps=gaps)
        self.training = Labelled(self._encoded(series), targets)
        encoded = self.training.encoded
        self.changes = self.options.changes().fitted(encoded, self.channels.count)
        for name in ("resolution", "batch"):
            if getattr(self.options, name) < 1:
                raise ValueError(f"expected {name} of 1 or more, got {getattr(self.options, name)}")
        steps = float(np.median([len(each) for each in encoded]))
        self.strides = series_strides(steps / self.options.resolution if self.options.conv else 1.0)

    def encode(self, series: Sequence[Array], labels: Sequence[str]) -> Labelled:
        """Returns series as the model reads them; called after `learn`.

        Raises:
            ValueError: a series or a class does not fit those that are trained on.
        """
        foreign = sorted(set(labels) - set(self.classes))
        if foreign:
            raise ValueError(
                f"there are series of the class {', '.join(foreign)}, but none to train on; "
                f"known are {', '.join(self.classes)}"
            )
        return Labelled(self._encoded(series), self._numbers(labels))

    def _encoded(self, series: Sequence[Array]) -> list[Array]:
        return [self.channels.encode(each, place) for place, each in enumerate(series)]

    def _numbers(self, labels: Sequence[str]) -> Array:
        numbers = {name: number for number, name in enumerate(self.classes)}
        return np.array([numbers[label] for label in labels], np.int64)

    def batches(self, rng: np.random.Generator) -> IndexedBatches[Batch]:
        """All series once in each epoch, in an order and with changes that follow from the seed."""
        options, training, group = self.options, self.training, self.group
        size = len(training.targets)
        per_epoch = -(-size // options.batch)

        def make(number: int) -> Batch:
            epoch, part = divmod(number, per_epoch)
            order = counter_rng(options.seed, _ORDER, epoch).permutation(size)
            rows = order[part * options.batch : (part + 1) * options.batch]
            rng = counter_rng(options.seed, _CHANGES, number)
            changed = [
                self.changes(training.encoded[row], self.channels.count, rng) for row in rows
            ]
            mine = group.rows(len(rows))
            return Batch(*pad_sequences(changed[mine]), training.targets[rows[mine]])

        return IndexedBatches(make, per_epoch=per_epoch)

    def build(self, rng: np.random.Generator) -> SeriesModel:
        """Convolutions, recurrent layers, and a linear map of what they say over time."""
        options = self.options
        return SeriesModel(
            self.channels.input_size,
            len(self.classes),
            hidden_size=options.hidden,
            num_layers=options.layers,
            cell=CELLS[options.cell],
            bidirectional=options.bidirectional,
            conv=options.conv,
            strides=self.strides,
            dropout=options.dropout,
            rng=rng,
        )

    def loss(
        self, model: SeriesModel, batch: Batch, carry: Carry, rng: np.random.Generator
    ) -> LossAndPullback:
        """Cross-entropy of the class."""
        logits, pullback = model.vjp(batch.inputs, batch.lengths, rng=rng)
        if self.group.size > 1:
            self._agree(model)
        (loss, count), loss_pullback = cross_entropy_vjp(logits, batch.targets)
        return (loss, count, None), lambda dloss: pullback(loss_pullback(dloss))

    def _agree(self, model: SeriesModel) -> None:
        """Gives norms the mean of what all ranks saw, so that the ranks stay one model."""
        running = [values for name, values in model.parameters.items() if "running_" in name]
        sums = iter(self.group.sum([float(value) for values in running for value in values]))
        for values in running:
            values[...] = [next(sums) / self.group.size for _ in values]

    @property
    def metric(self) -> Metric:
        """Nats a series."""
        return Metric("nats per series", "nats/series", "series", lambda loss: loss)

    def validate(self, model: SeriesModel) -> float:
        """Scores all held-out series."""
        return _scores(log_probabilities(model, self.held_out.encoded), self.held_out.targets)[0]

    @property
    def baseline(self) -> float:
        """Each class as often as it is trained on, whatever the series."""
        counts = np.bincount(self.training.targets, minlength=len(self.classes))
        log_p = np.log(counts / counts.sum())
        return -float(log_p[self.held_out.targets].mean())

    def assets(self, model: SeriesModel) -> dict[str, Any]:
        """The architecture, the classes and what the channels are."""
        return {
            "model": model.config,
            "classes": list(self.classes),
            "channels": self.channels.to_json(),
        }

    @classmethod
    def restore(
        cls, options: Options, assets: Mapping[str, Any], weights: Mapping[str, Array]
    ) -> Classifier:
        """The model, ready for series."""
        return Classifier(
            SeriesModel.from_parameters(assets["model"], weights),
            tuple(from_json(list[str], assets["classes"], "classes")),
            Channels.from_json(assets["channels"]),
            options,
        )

    def report(self, trained: Classifier, path: Path | None) -> Iterator[str]:
        """How many held-out series are told right, and what to type next."""
        log_p = log_probabilities(trained.model, self.held_out.encoded)
        yield f"right      {_right(log_p, self.held_out.targets)}, held out"
        if path is not None:
            yield "next"
            yield f"    unrolled evaluate classification {path} TEST.ts"
            yield f"    unrolled classify-series {path} FILE.ts"

    def evaluate(
        self,
        trained: Classifier,
        sources: Sequence[Path],
        details: bool,
        precision: functional.Precision,
    ) -> Iterator[str]:
        """The share of series that are told right; with details each that is not."""
        self.classes, self.channels = trained.classes, trained.channels
        if sources:
            scored = self.encode(*read_labelled(sources))
        elif self.options.validation is not None:
            scored = self.encode(*read_labelled([Path(self.options.validation)]))
        else:
            scored = self.encode(*split(read_labelled(self.sources))[1])
        with trained.model.in_precision(precision):
            log_p = log_probabilities(trained.model, scored.encoded)
        if details:
            yield from self._wrong(log_p, scored.targets)
        loss, _ = _scores(log_p, scored.targets)
        line = f"right      {_right(log_p, scored.targets)}, {self.metric.text(loss)} "
        line += self.metric.name
        if precision != "full":
            with trained.model.in_precision("full"):
                exact = log_probabilities(trained.model, scored.encoded)
            same = (log_p.argmax(axis=1) == exact.argmax(axis=1)).mean()
            line += f", in {precision}; {same:.2%} of the answers as in full precision"
        yield line

    def _wrong(self, log_p: Array, targets: Array) -> Iterator[str]:
        """Yields a line for each series whose class is not the most probable one."""
        for place in np.flatnonzero(log_p.argmax(axis=1) != targets):
            answer = log_p[place].argmax()
            told = f"{self.classes[answer]} ({np.exp(log_p[place, answer]):.0%})"
            yield f"wrong      series {place + 1}: {self.classes[targets[place]]} told as {told}"


def _scores(log_p: Array, targets: Array) -> tuple[float, int]:
    """Returns the mean loss, and how many of the answers are right."""
    loss = -float(log_p[np.arange(len(targets)), targets].mean())
    return loss, int((log_p.argmax(axis=1) == targets).sum())


def _right(log_p: Array, targets: Array) -> str:
    _, right = _scores(log_p, targets)
    return f"{right / len(targets):.2%} of {len(targets):,} series"


def train(
    sources: PathLike | Sequence[PathLike],
    *,
    output: PathLike | None = None,
    resume: PathLike | None = None,
    quiet: bool = False,
    **options: Any,
) -> Classifier:
    """Trains a classifier of series; see `Options` for the keywords, `--help` for their meaning.

    Args:
        sources: `.ts` files.
        output: checkpoint to write, `.safetensors`; none = keep the model in memory only.
        resume: checkpoint of a run to go on with.
        quiet: print nothing.
        options: `minutes=1` or `epochs=` or `steps=`, `hidden=`, `cell=`, `shift=`, ...

    Raises:
        FileNotFoundError, ValueError: an option or the series will not do.
    """
    return _train(Classification, sources, output=output, resume=resume, quiet=quiet, **options)


def load(path: PathLike) -> Classifier:
    """Returns the classifier in a checkpoint."""
    return _load(path, Classification)[1]


def save(classifier: Classifier, path: PathLike) -> None:
    """Writes a classifier into a checkpoint."""
    task = Classification(classifier.options)
    task.classes, task.channels = classifier.classes, classifier.channels
    write_model(path, task, classifier.model)
