"""The task "video": what a clip shows, what is said in it, or a text about it.

    from unrolled.tasks import video

    watch = video.train("clips/", minutes=10)         # a folder of clips for each label
    print(watch("new.mp4").text)

On the command line: `unrolled train video`, `unrolled evaluate video`, `unrolled classify`,
`unrolled caption`. `--demo` trains on digits that move about.

A convolutional network looks at each frame, recurrent layers read what it saw, and the loss at the
end trains all of it: from nothing (`--network small`), or from weights that know photographs
(`--network efficientnet-lite0`), all of them, the last stage or none (`--finetune`). What a frozen
part saw is kept on disk, so that it looks at every frame only once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import functional
from unrolled.layers import Layer
from unrolled.models import VideoEncoderConfig
from unrolled.training import (
    Array,
    Carry,
    IndexedBatches,
    LossAndPullback,
    Metric,
    Optimizer,
    Score,
)
from unrolled.video import Normalisation, measured_normalisation

from ._contact_sheet import draw_contact_sheet
from ._options import CELLS
from ._run import load as _load
from ._run import train as _train
from ._saved import PathLike, write_model
from ._task import Task, register
from ._video_clips import VideoClip, find_videos, split_videos
from ._video_options import Options as Options
from ._watcher import Watcher as Watcher
from .footage.answers import Answer
from .footage.batches import ClipBatches, in_parts
from .footage.data import Batch, Reading, Shot
from .footage.eyes import Eyes
from .footage.kinds import answer_from_json, answer_of
from .footage.shots import demo_shots, look_at

#: Training clips whose frames are measured for the normalisation.
_MEASURED = 200


@register
class VideoTask(Task[Options, Layer, Batch, Watcher]):
    """A clip in; a label, a sentence or a caption out."""

    name = "video"
    summary = "Video: labels, lip reading, captions of clips (needs the extra [video])."
    examples = (
        "unrolled train video --demo",
        "unrolled train video clips/ --network efficientnet-lite0 --minutes 10",
        "unrolled train video table.csv --answer caption --height 96 --width 96 --minutes 60",
        "unrolled train video grid/ --preset lips --minutes 90",
    )
    options_type = Options

    answer: Answer
    normalisation: Normalisation

    def load(self) -> str:
        """Finds the clips, reads what is not in the cache, and learns what may be said."""
        options = self.options
        self.eyes = options.eyes()
        self.training, self.held_out = self._find()
        if not self.training or not self.held_out:
            raise ValueError(
                f"there are {len(self.training):,} clips to train on and {len(self.held_out):,} "
                "held out, too few"
            )
        self.answer = answer_of(options.answer, self.training, options)
        measured = self.training[:: -(-len(self.training) // _MEASURED)]
        self.normalisation = self.eyes.normalisation() or measured_normalisation(
            shot.read() for shot in measured
        )
        frames = sum(len(shot.times) for shot in self.training)
        return (
            f"{len(self.training):,} clips ({frames:,} frames) to train on, "
            f"{len(self.held_out):,} held out, answers: {self.answer.kind}"
        )

    def _find(self) -> tuple[list[Shot], list[Shot]]:
        options = self.options
        if options.demo:
            if self.sources or options.validation:
                raise ValueError("--demo makes its own clips: name no files")
            return demo_shots(options.clips, self.eyes)
        if not self.sources:
            raise ValueError(
                "give a folder with a folder of clips for each label, a folder of clips with files "
                "that say what is said in each, a table, or --demo"
            )
        clips = find_videos(self.sources)
        if options.validation is None:
            clips, held_out = split_videos(clips)
        else:
            held_out = find_videos([Path(options.validation)])
        return self._look_at(clips), self._look_at(held_out)

    def _look_at(self, clips: Sequence[VideoClip]) -> list[Shot]:
        return look_at(clips, self.eyes, self.options.cache)

    @property
    def _image(self) -> tuple[int, ...]:
        """The shape of what the trained network reads."""
        shape = self.eyes.shape()
        if not self.eyes.raw:
            return shape
        return self.options.height, self.options.width, shape[2]

    def batches(self, rng: np.random.Generator) -> IndexedBatches[Batch]:
        """All clips once in each epoch, changed at random where they come as frames."""
        make = ClipBatches(
            self.training,
            self.answer,
            self.normalisation,
            self.options.augmentation() if self.eyes.raw else None,
            self.options.batch,
            self.options.seed,
            self.group,
        )
        return IndexedBatches(make, per_epoch=make.per_epoch)

    def build(self, rng: np.random.Generator) -> Layer:
        """A network over frames, with its pretrained weights if there are some, and the rest."""
        options = self.options
        encoder = VideoEncoderConfig(
            image=self._image,
            network=self.eyes.trained,
            channels=tuple(int(each) for each in options.channels.split(",")),
            pooled=options.pooled,
            context=options.context,
            features=options.features,
            hidden_size=options.hidden,
            num_layers=options.layers,
            cell=CELLS[options.cell],
            bidirectional=options.bidirectional,
            dropout=options.dropout,
        )
        model = self.answer.build(encoder, options, rng)
        for name, array in self.eyes.pretrained_part().items():
            model.parameters[f"encoder.network.{name}"][...] = array
        return model

    def optimizer(self, model: Layer) -> Optimizer:
        """The one that the options name; what is pretrained learns more slowly."""
        optimizer = super().optimizer(model)
        if self.eyes.pretrained_part():
            optimizer.slow_down("encoder.network.", self.options.network_lr)
        return optimizer

    def loss(
        self, model: Layer, batch: Batch, carry: Carry, rng: np.random.Generator
    ) -> LossAndPullback:
        """The loss of the answer."""
        (loss, count), pullback = self.answer.loss_vjp(
            model, batch.images, batch.lengths, batch.targets, rng
        )
        return (loss, count, None), pullback

    @property
    def metric(self) -> Metric:
        """Nats a clip, a frame, a symbol or a token."""
        unit = self.answer.unit
        return Metric(f"nats per {unit[:-1]}", f"nats/{unit[:-1]}", unit, lambda loss: loss)

    def _prepare(self, model: Any) -> Callable[[NDArray[Any]], Array]:
        image, normalisation = model.encoder.image, self.normalisation
        return lambda frames: self.eyes.prepared(frames, image, normalisation)

    def validate(self, model: Any) -> Score:
        """Scores all held-out clips, by what is read in them too where errors choose the model."""
        total, count, readings = 0.0, 0, list[Reading]()
        for some, images, lengths in in_parts(self.held_out, self._prepare(model)):
            targets = self.answer.together([self.answer.target(s, s.times) for s in some])
            times = [shot.times for shot in some]
            (loss, targeted), read = self.answer.score(model, images, lengths, targets, times)
            total, count = total + loss * targeted, count + targeted
            readings += read
        error = self.answer.wrong(self.held_out, readings) if readings else None
        return Score(total / max(count, 1), error)

    def read(self, trained: Watcher, shots: Sequence[Shot]) -> list[Reading]:
        """Returns what a model says of each clip."""
        readings: list[Reading] = []
        for some, images, lengths in in_parts(shots, trained.prepared):
            times = [shot.times for shot in some]
            readings += trained.answer.read(trained.model, images, lengths, times)
        return readings

    def assets(self, model: Any) -> dict[str, Any]:
        """The architecture, what is read, its figures, and what may be said."""
        return {
            "model": model.config,
            "eyes": self.eyes.to_json(),
            "normalisation": self.normalisation.to_json(),
            "answer": {"kind": self.answer.kind, **self.answer.to_json()},
        }

    @classmethod
    def restore(
        cls, options: Options, assets: Mapping[str, Any], weights: Mapping[str, Array]
    ) -> Watcher:
        """The model, ready for video."""
        answer = answer_from_json(assets["answer"])
        return Watcher(
            answer.restore(assets["model"], weights),
            Eyes.from_json(assets["eyes"]),
            Normalisation.from_json(assets["normalisation"]),
            answer,
            options,
        )

    def report(self, trained: Watcher, path: Path | None) -> Iterator[str]:
        """How often the answers are right, some of them, and what to type next."""
        readings = self.read(trained, self.held_out)
        yield from self.answer.errors(self.held_out, readings)
        for shot, reading in list(zip(self.held_out, readings, strict=True))[:3]:
            yield f"    true     {shot.text or shot.label}"
            yield f"    answer   {reading.text}"
        if path is not None:
            command = "caption" if self.answer.kind in ("caption", "sentence") else "classify"
            yield "next"
            yield f"    unrolled {command} {path} CLIP"
            yield f"    unrolled evaluate video {path}"

    def pictures(self, trained: Watcher, path: Path) -> Iterator[tuple[str, Path]]:
        """A contact sheet of the first held-out clip."""
        shot = self.held_out[0]
        reading = self.read(trained, [shot])[0]
        picture = path.with_name(f"{path.stem}-clip.png")
        frames = shot.read()
        if frames.ndim == 4 and frames.dtype == np.uint8:
            draw_contact_sheet(
                picture, frames, shot.times, reading.text, reading.names, reading.rows
            )
            yield "clip", picture

    def evaluate(
        self,
        trained: Watcher,
        sources: Sequence[Path],
        details: bool,
        precision: functional.Precision,
    ) -> Iterator[str]:
        """How often the answers are right; with details every one of them."""
        self.eyes, self.answer = trained.eyes, trained.answer
        self.normalisation = trained.normalisation
        shots = self._look_at(find_videos(sources)) if sources else self._find()[1]
        with trained.model.in_precision(precision):
            readings = self.read(trained, shots)
        if details:
            for shot, reading in zip(shots, readings, strict=True):
                truth = shot.text or shot.label
                yield f"{'right' if truth == reading.text else 'wrong'}      {shot.name}"
                yield f"    true     {truth}"
                yield f"    answer   {reading.text}"
        yield from self.answer.errors(shots, readings)


def train(
    sources: PathLike | Sequence[PathLike] = (),
    *,
    output: PathLike | None = None,
    resume: PathLike | None = None,
    quiet: bool = False,
    **options: Any,
) -> Watcher:
    """Trains a model of video; see `Options` for the keywords, `--help` for their meaning.

    Args:
        sources: folders and tables of clips; see `--help`. None with `demo=True`.
        output: checkpoint to write, `.safetensors`; none = keep the model in memory only.
        resume: checkpoint of a run to go on with.
        quiet: print nothing.
        options: `minutes=10` or `epochs=` or `steps=`, `network=`, `answer=`, ...

    Raises:
        FileNotFoundError, ValueError: an option or the clips will not do.
    """
    return _train(VideoTask, sources, output=output, resume=resume, quiet=quiet, **options)


def load(path: PathLike) -> Watcher:
    """Returns the model in a checkpoint."""
    return _load(path, VideoTask)[1]


def save(watcher: Watcher, path: PathLike) -> None:
    """Writes a model into a checkpoint."""
    task = VideoTask(watcher.options)
    task.eyes, task.answer = watcher.eyes, watcher.answer
    task.normalisation = watcher.normalisation
    write_model(path, task, watcher.model)
