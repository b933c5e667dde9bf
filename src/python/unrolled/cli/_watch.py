"""`unrolled classify` and `unrolled caption`: what videos show."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..tasks import video
from ..tasks._contact_sheet import draw_contact_sheet
from ..tasks._segment_files import as_json, as_lines
from ..tasks._watcher import Watcher
from ..tasks.footage.data import Reading
from ..video import read_frames

_Checkpoint = Annotated[
    Path, typer.Argument(help="A .safetensors file that `unrolled train video` wrote.")
]
_Clips = Annotated[
    list[Path],
    typer.Argument(metavar="CLIPS", help="Videos, folders of images, or .npy arrays (T, H, W, C)."),
]
_Picture = Annotated[
    Path | None,
    typer.Option(help="PNG to draw of one clip: its frames, and what the model saw in each."),
]


def classify(
    checkpoint: _Checkpoint,
    clips: _Clips,
    every: Annotated[
        bool, typer.Option("--all", help="Show every class with its probability.")
    ] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Say what is seen while frames come, in constant memory; for models trained with "
            "--no-bidirectional.",
        ),
    ] = False,
    picture: _Picture = None,
) -> None:
    """Say which class a video is of, or what happens in it from when to when."""
    watch = _opened(checkpoint, picture, clips)
    if not watch.classes:
        raise ValueError(f"{checkpoint} writes {watch.answer.kind}s: unrolled caption shows them")
    for clip in clips:
        name = f"{clip}\t" if len(clips) > 1 else ""
        if stream:
            for time, p in watch.watch(clip):
                best = int(np.argmax(p))
                print(f"{name}{time:.3f}\t{watch.classes[best]}\t{p[best]:.4f}", flush=True)
            continue
        reading = watch(clip)
        if watch.about_clips:
            found = [(reading.text, reading.probability), *reading.others]
            for label, sure in found if every else found[:1]:
                print(f"{name}{label}\t{sure:.4f}")
        else:
            print(as_lines(reading.segments))
        if picture is not None:
            _draw(picture, watch, clip, reading)


def caption(
    checkpoint: _Checkpoint,
    clips: _Clips,
    every: Annotated[
        bool, typer.Option("--all", help="Show the other captions that were found, too.")
    ] = False,
    times: Annotated[
        bool, typer.Option("--times", help="Show when each word is said, as JSON; of sentences.")
    ] = False,
    picture: _Picture = None,
) -> None:
    """Write what a video shows, or what is said in it: captions, lip reading."""
    watch = _opened(checkpoint, picture, clips)
    if watch.classes:
        raise ValueError(f"{checkpoint} knows classes, no texts: unrolled classify shows them")
    if times and watch.answer.kind != "sentence":
        raise ValueError("--times are known of sentences alone (train video --answer sentence)")
    for clip in clips:
        reading = watch(clip)
        name = f"{clip}\t" if len(clips) > 1 else ""
        if times:
            print(as_json(list(reading.segments)))
        else:
            print(f"{name}{reading.text}")
        for text, sure in reading.others if every else ():
            print(f"{name}    {sure:.4f}  {text}")
        if picture is not None:
            _draw(picture, watch, clip, reading)


def _opened(checkpoint: Path, picture: Path | None, clips: list[Path]) -> Watcher:
    if picture is not None and len(clips) > 1:
        raise ValueError(f"--picture shows one clip, not {len(clips)}")
    watch = video.load(checkpoint)
    watch.eyes.check()
    return watch


def _draw(picture: Path, watch: Watcher, clip: Path, reading: Reading) -> None:
    images, times = read_frames(clip, watch.eyes.settings)
    draw_contact_sheet(picture, images, times, reading.text, reading.names, reading.rows)
