"""The task "keywords": which of a few words is said.

    from unrolled.tasks import keywords

    spotter = keywords.train("clips/", minutes=5)      # one folder for each word
    spotter("hello.wav")                               # [("hello", 0.98), ("yellow", 0.01), ...]
    keywords.save(spotter, "words.safetensors")        # spotter = keywords.load(...)

    for heard in keywords.listen(spotter, audio_blocks("long.flac", spotter.settings.rate)):
        print(heard.seconds, heard.word, heard.probability)

The same on the command line: `unrolled train keywords`, `unrolled evaluate keywords`, `unrolled
listen`.

A clip of any format, rate and length becomes log-mel features; recurrent layers read them, and the
mean of their outputs tells the word. Clips are changed at random in training (shifted, louder or
softer, noisy, with stretches of time and bands masked, faster or slower).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unrolled import functional
from unrolled.audio import (
    Augmentation,
    FeatureSettings,
    normalisation_from_json,
    read_audio,
)
from unrolled.layers._place import move
from unrolled.models import AcousticModel
from unrolled.training import (
    Array,
    Carry,
    IndexedBatches,
    LossAndPullback,
    Metric,
    counter_rng,
    cross_entropy_vjp,
    from_json,
)

from ._clip_features import ClipFeatures, Scenes, Sounds, together
from ._clips import (
    SILENCE,
    UNKNOWN,
    Clip,
    find_clips,
    find_noises,
    find_unknown,
    merge_unknown,
    split_clips,
)
from ._listen import Detection as Detection
from ._listen import Listener as Listener
from ._listen import listen as listen
from ._nothing import foreign, silence
from ._options import CELLS, TrainOptions, option
from ._run import load as _load
from ._run import train as _train
from ._saved import PathLike, write_model
from ._speakers import fit_normalisation
from ._spotter import Spotter as Spotter
from ._task import Task, register

#: Streams of random numbers: of the order of clips, of what is made of them, of silence and of
#: unknown words.
_ORDER, _CHANGES, _SILENCE, _UNKNOWN = 0, 1, 2, 3

#: What `--unknown` may be instead of a folder.
_MADE, _NONE = "made", "none"

#: Unknown words that are made, for each clip that a keyword has.
_FOREIGN = 2

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
    unknown: str = option(
        "made",
        "what teaches _unknown_ to a model that listens: a folder of other words; made: the words "
        "themselves, backwards and in pieces; none: there is no such class",
    )
    cell: Literal["gru", "lstm", "rnn"] = option("gru", "kind of recurrent layer")
    hidden: int = option(128, "units per recurrent layer and direction")
    layers: int = option(2, "recurrent layers")
    conv: int = option(0, "channels of two convolutions before the recurrent layers, 0: none")
    bidirectional: bool = option(False, "read backwards too: better, but not while someone speaks")
    dropout: float = option(0.2, "part of the recurrent outputs dropped in training, 0..1")
    features: Literal["mel", "mfcc"] = option("mel", "log energies of mel bands, or cepstra")
    bands: int = option(40, "mel bands")
    rate: int = option(16_000, "samples a second that the model works with")
    normalise: Literal["global", "speaker"] = option(
        "global", "take from features what is common to all sounds, or also what a speaker adds"
    )
    silence: bool = option(True, "add a class _silence_, of _background_noise_ and faint noise")
    speeds: bool = option(True, "train on each clip a tenth faster and slower too")
    mixup: float = option(0.0, "mix clips with others, by Beta(mixup, mixup); 0: not")
    warp: float = option(0.0, "stretch frequencies at random by up to this part, 0..0.5")
    augment: bool = option(True, "change clips at random: place, loudness, noise, masks")

    def settings(self) -> FeatureSettings:
        """The features that were asked for."""
        few = min(FeatureSettings.coefficients, self.bands)
        return FeatureSettings(
            kind=self.features, bands=self.bands, coefficients=few, rate=self.rate
        )


@register
class Keywords(Task[Options, AcousticModel, Sounds, Spotter]):
    """A clip in, its word out."""

    name = "keywords"
    summary = "Keyword spotting: which of a few words is said (needs the extra [speech])."
    examples = (
        "unrolled train keywords clips/ --minutes 5",
        "unrolled train keywords train.csv --validation val.csv --epochs 30 --bidirectional",
        "unrolled train keywords speech_commands/ --words yes,no,up,down --hidden 64",
    )
    options_type = Options

    def load(self) -> str:
        """Reads the clips and computes their features."""
        options = self.options
        if not self.sources:
            raise ValueError("give a folder with one folder of sound files for each word")
        for name, value, most in (("mixup", options.mixup, np.inf), ("warp", options.warp, 0.5)):
            if not 0.0 <= value <= most:
                raise ValueError(f"[train keywords] expected 0 <= {name} <= {most}, got {value}")
        training, held_out = self._parts()
        words = {clip.word for clip in training}
        added = {SILENCE} - words if options.silence else set()
        if self._listens and options.unknown == _MADE:
            added |= {UNKNOWN} - words
        self.words = tuple(sorted(words | added))
        if len(words | {SILENCE} & added) < 2 or not held_out:
            raise ValueError(
                f"there are {len(training):,} clips of {len(words)} words to train on and "
                f"{len(held_out):,} held out: two words or more, and more clips, are needed"
            )
        self._check_known(held_out)
        settings = options.settings()
        speeds = (1.0, 0.9, 1.1) if options.speeds else (1.0,)
        self.training = ClipFeatures.of(training, self.words, settings, speeds)
        self.normalisation = fit_normalisation(options.normalise, self.training.frames, settings)
        self.training.meet(self.normalisation)
        self.seconds = settings.hop * float(np.mean([len(each) for each in self.training.frames]))
        self._add(added, len(training) // len(words))
        self.held_out = ClipFeatures.of(held_out, self.words, settings).meet(self.normalisation)
        return (
            f"{len(training):,} clips to train on, {len(held_out):,} held out, "
            f"{len(self.words)} words"
        )

    def _add(self, words: set[str], count: int) -> None:
        """Adds so many clips of each of `words`, made of what there is."""
        settings, clips = self.options.settings(), self.training
        keywords, classes = list(clips.frames), clips.classes
        if UNKNOWN in words:
            make = foreign(keywords, classes)
            rng = counter_rng(0, _UNKNOWN, 0)
            clips.add(_FOREIGN * count, self.words.index(UNKNOWN), make, rng)
        if SILENCE in words:
            noises = [read_audio(path, settings.rate) for path in find_noises(self.sources)]
            make = silence(noises, [len(each) for each in keywords], settings)
            clips.add(count, self.words.index(SILENCE), make, counter_rng(0, _SILENCE, 0))

    def _parts(self) -> tuple[list[Clip], list[Clip]]:
        """The clips to train on, and those that are held out."""
        options, clips = self.options, self._find(self.sources, complete=True)
        if options.validation is None:
            training, held_out = split_clips(clips)
        else:
            training, held_out = clips, self._find([Path(options.validation)])
        if options.unknown not in (_MADE, _NONE):
            more, more_held_out = split_clips(find_unknown(Path(options.unknown)))
            training, held_out = training + more, held_out + more_held_out
        return training, held_out

    def _find(self, sources: Sequence[Path], *, complete: bool = False) -> list[Clip]:
        """The clips of sources; ValueError if they are to have all `words` and lack one."""
        clips = find_clips(sources)
        words = self.options.words
        return clips if words is None else merge_unknown(clips, words.split(","), complete)

    def _check_known(self, clips: Sequence[Clip]) -> None:
        foreign = sorted({clip.word for clip in clips} - set(self.words))
        if foreign:
            raise ValueError(
                f"there are clips of {', '.join(foreign)}, but none of them to train on"
            )

    @property
    def _listens(self) -> bool:
        """Whether the model is to tell words in a stream: it then hears them one after another."""
        return self.options.silence and not self.options.bidirectional

    def batches(self, rng: np.random.Generator) -> IndexedBatches[Sounds]:
        """All clips once in each epoch, in an order and with changes that follow from the seed."""
        options, group = self.options, self.group
        per_epoch = -(-self.training.count // options.batch)
        changes = options.augment and options.features == "mel"
        scenes = Scenes(
            self.training,
            silence=self.words.index(SILENCE) if self._listens else None,
            change=Augmentation(warp=options.warp) if changes else None,
            hop=options.settings().hop,
        )

        def make(number: int) -> Sounds:
            epoch, part = divmod(number, per_epoch)
            order = self.training.order(counter_rng(options.seed, _ORDER, epoch))
            rows = order[part * options.batch : (part + 1) * options.batch]
            rng = counter_rng(options.seed, _CHANGES, number)
            made = [scenes.make(int(row), rng) for row in rows]
            mine = group.rows(len(made))
            if not options.mixup:
                return together(made[mine], self.normalisation)
            share = float(rng.beta(options.mixup, options.mixup))
            others = [made[place] for place in rng.permutation(len(made))]
            return together(made[mine], self.normalisation, others[mine], max(share, 1.0 - share))

        return IndexedBatches(make, per_epoch=per_epoch)

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
            conv=options.conv,
            pooled=True,
            dropout=options.dropout,
            rng=rng,
        )

    def loss(
        self, model: AcousticModel, batch: Sounds, carry: Carry, rng: np.random.Generator
    ) -> LossAndPullback:
        """Cross-entropy of the word."""
        logits, pullback = model.vjp(batch.frames, batch.lengths, batch.starts, rng=rng)
        (loss, count), loss_pullback = cross_entropy_vjp(logits, batch.classes)
        if batch.part == 1.0:
            return (loss, count, None), lambda dloss: pullback(loss_pullback(dloss))
        own, rest = batch.part, 1.0 - batch.part
        (other, _), other_pullback = cross_entropy_vjp(logits, batch.others)

        def mixed_pullback(dloss: float) -> None:
            pullback(loss_pullback(own * dloss) + other_pullback(rest * dloss))

        return (own * loss + rest * other, count, None), mixed_pullback

    @property
    def metric(self) -> Metric:
        """Nats a clip."""
        return Metric("nats per clip", "nats/clip", "clips", lambda loss: loss)

    def validate(self, model: AcousticModel) -> float:
        """Scores all held-out clips."""
        losses = -self._log_p(model, self.held_out)
        return float(losses[np.arange(len(losses)), self.held_out.classes].mean())

    def _log_p(self, model: AcousticModel, clips: ClipFeatures) -> Array:
        """Log-probabilities (N, words) of clips, which are read side by side by length."""
        result = np.empty((clips.count, len(self.words)))
        order = np.argsort([len(each) for each in clips.frames], kind="stable")
        for start in range(0, len(order), _PART):
            rows = order[start : start + _PART]
            batch = together([clips.scene(row) for row in rows], self.normalisation)
            logits = move(model(batch.frames, batch.lengths), "cpu")
            result[rows] = functional.log_softmax(logits.astype(np.float64))
        return result

    def assets(self, model: AcousticModel) -> dict[str, Any]:
        """The architecture, the words and how features are computed."""
        return {
            "model": model.config,
            "words": list(self.words),
            "features": self.options.settings().to_json(),
            "normalisation": self.normalisation.to_json(),
            "seconds": self.seconds,
        }

    @classmethod
    def restore(
        cls, options: Options, assets: Mapping[str, Any], weights: Mapping[str, Array]
    ) -> Spotter:
        """The model, ready for sound."""
        model = AcousticModel.from_parameters(assets["model"], weights)
        return Spotter(
            model,
            tuple(from_json(list[str], assets["words"], "words")),
            from_json(FeatureSettings, assets["features"], "features"),
            normalisation_from_json(assets["normalisation"]),
            from_json(float, assets["seconds"], "seconds"),
            options,
        )

    def report(self, trained: Spotter, path: Path | None) -> Iterator[str]:
        """How many held-out clips are understood, and what to type next."""
        right = self._log_p(trained.model, self.held_out).argmax(axis=1) == self.held_out.classes
        yield f"right      {right.mean():.2%} of {self.held_out.count:,} clips, held out"
        if path is not None:
            yield "next"
            yield f"    unrolled evaluate keywords {path} FOLDER"
            yield f"    unrolled listen {path} FILE"

    def evaluate(
        self,
        trained: Spotter,
        sources: Sequence[Path],
        details: bool,
        precision: functional.Precision,
    ) -> Iterator[str]:
        """The share of clips that are understood; with details each clip that is not."""
        self.words, self.normalisation = trained.words, trained.normalisation
        clips = self._find(sources) if sources else self._parts()[1]
        self._check_known(clips)
        features = ClipFeatures.of(clips, self.words, trained.settings).meet(self.normalisation)
        with trained.model.in_precision(precision):
            log_p = self._log_p(trained.model, features)
        answers = log_p.argmax(axis=1)
        if details:
            for clip, answer, row in zip(clips, answers, log_p, strict=True):
                if self.words[answer] != clip.word:
                    heard = f"{self.words[answer]} ({np.exp(row[answer]):.0%})"
                    yield f"wrong      {clip.path}: {clip.word} heard as {heard}"
        line = f"right      {(answers == features.classes).mean():.2%} of {len(clips):,} clips"
        if precision != "full":
            with trained.model.in_precision("full"):
                exact = self._log_p(trained.model, features)
            same = (answers == exact.argmax(axis=1)).mean()
            line += f", in {precision}; {same:.2%} of the answers as in full precision"
        yield line


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
        sources: folders with one folder for each word, or CSV files with the columns
            file,class and perhaps speaker.
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
    task.words, task.normalisation, task.seconds = (
        spotter.words,
        spotter.normalisation,
        spotter.seconds,
    )
    write_model(path, task, spotter.model)
