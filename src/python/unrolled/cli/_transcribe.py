"""`unrolled transcribe`: from a sound to segments."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ..audio import Samples, audio_blocks, read_audio
from ..tasks import language_model, phonemes
from ..tasks._segment_files import as_json, as_lines, as_textgrid
from ..tasks._speech_picture import draw_speech
from ._options import DictionaryOption


def transcribe(
    checkpoint: Annotated[
        Path, typer.Argument(help="A .safetensors file that `unrolled train phonemes` wrote.")
    ],
    sounds: Annotated[
        list[Path], typer.Argument(metavar="FILES", help="Sound files of any length.")
    ],
    words: Annotated[
        bool | None,
        typer.Option(
            "--words/--phonemes",
            help="Write words, or the model's symbols (default: words if there is a dictionary).",
            show_default=False,
        ),
    ] = None,
    dictionary: DictionaryOption = None,
    lm: Annotated[
        Path | None,
        typer.Option(help="Language model of words that takes part: `train lm --level word`."),
    ] = None,
    lm_weight: Annotated[
        float, typer.Option(help="What the language model counts beside the sound.", min=0.0)
    ] = 0.5,
    same_speaker: Annotated[
        bool,
        typer.Option(
            "--same-speaker", help="One person speaks in all files (train --normalise speaker)."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    textgrid: Annotated[
        bool, typer.Option("--textgrid", help="Write a TextGrid of Praat.")
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="PNG to draw: waveform, features, probabilities, segments; of a short sound."
        ),
    ] = None,
) -> None:
    """Say what is said in a sound: start, end and probability of each symbol or word."""
    if json and textgrid:
        raise ValueError("choose one of --json and --textgrid")
    if picture is not None and len(sounds) > 1:
        raise ValueError(f"--picture shows one sound, not {len(sounds)}")
    if words is False and (dictionary is not None or lm is not None):
        raise ValueError("--dictionary and --lm are about words, which --phonemes leaves out")
    recogniser = phonemes.load(checkpoint)
    if same_speaker and not recogniser.normalisation.by_speaker:
        raise ValueError(f"--same-speaker: {checkpoint} was not trained with --normalise speaker")
    given = None if dictionary is None else phonemes.Dictionary.read(dictionary)
    if words is None:
        words = recogniser.dictionary is not None or given is not None or lm is not None
    reader = None
    if words:
        text = None if lm is None else language_model.load(lm)
        reader = phonemes.WordReader(recogniser, dictionary=given, text=text, weight=lm_weight)
    rate, speaker = recogniser.settings.rate, recogniser.normalisation.speaker()
    for sound in sounds:
        if reader is not None:
            reader.reset()
        if not same_speaker:
            speaker.reset()
        length = _Length()
        heard = recogniser.hear(length.of(audio_blocks(sound, rate)), reader, speaker=speaker)
        if json or textgrid:
            segments = list(heard)
            print(as_json(segments) if json else as_textgrid(segments, length.samples / rate))
        else:
            if len(sounds) > 1:
                print(sound)
            segments = []
            for segment in heard:
                print(as_lines([segment]), flush=True)
                segments.append(segment)
        if picture is not None:
            draw_speech(picture, recogniser, read_audio(sound, rate), segments)


class _Length:
    """Counts the samples that pass."""

    def __init__(self) -> None:
        self.samples = 0

    def of(self, pieces: Iterator[Samples]) -> Iterator[Samples]:
        for piece in pieces:
            self.samples += len(piece)
            yield piece
