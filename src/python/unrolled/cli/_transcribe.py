"""`unrolled transcribe`: from a sound to segments."""

from pathlib import Path
from typing import Annotated

import typer

from ..audio import read_audio
from ..tasks import phonemes
from ..tasks._segment_files import as_json, as_lines, as_textgrid
from ..tasks._speech_picture import draw_speech


def transcribe(
    checkpoint: Annotated[
        Path, typer.Argument(help="A .safetensors file that `unrolled train phonemes` wrote.")
    ],
    sounds: Annotated[list[Path], typer.Argument(metavar="FILES", help="Sound files.")],
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    textgrid: Annotated[
        bool, typer.Option("--textgrid", help="Write a TextGrid of Praat.")
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(help="PNG to draw: waveform, features, probabilities, segments."),
    ] = None,
) -> None:
    """Say what is said in a sound: start, end and probability of each symbol."""
    if json and textgrid:
        raise ValueError("choose one of --json and --textgrid")
    if picture is not None and len(sounds) > 1:
        raise ValueError(f"--picture shows one sound, not {len(sounds)}")
    recogniser = phonemes.load(checkpoint)
    rate = recogniser.settings.rate
    for sound in sounds:
        samples = read_audio(sound, rate)
        logits = recogniser.logits(samples)
        segments = recogniser.segments(logits)
        if len(sounds) > 1 and not (json or textgrid):
            print(sound)
        if json:
            print(as_json(segments))
        elif textgrid:
            print(as_textgrid(segments, len(samples) / rate))
        else:
            print(as_lines(segments))
        if picture is not None:
            draw_speech(picture, recogniser, samples, logits, segments)
