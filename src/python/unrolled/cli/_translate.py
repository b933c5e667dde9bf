"""`unrolled translate`: a text, or lines as they come."""

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from ..tasks import translation
from ..tasks._attention_picture import draw_attention

#: Lines of a file that are translated together.
_TOGETHER = 64


def translate(
    checkpoint: Annotated[
        Path, typer.Argument(help="A .safetensors file that `unrolled train translation` wrote.")
    ],
    text: Annotated[
        str,
        typer.Argument(metavar="TEXT or -", help="A text, or - for lines on standard input."),
    ] = "-",
    beam: Annotated[
        int | None,
        typer.Option(help="Hypotheses that are kept; 1: greedy (default 5 or as trained).", min=1),
    ] = None,
    nbest: Annotated[
        int, typer.Option(help="Show so many translations with their scores.", min=1)
    ] = 1,
    length_penalty: Annotated[
        float | None,
        typer.Option(
            help="How much longer translations are preferred, 0..1 (default 1 or as trained).",
            min=0.0,
        ),
    ] = None,
    coverage_penalty: Annotated[
        float, typer.Option(help="How much it costs to leave parts unread.", min=0.0)
    ] = 0.0,
    no_repeat: Annotated[
        int, typer.Option(help="Never write so many tokens in a row twice; 0: do.", min=0)
    ] = 0,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw a translation instead of searching the best.")
    ] = False,
    temperature: Annotated[
        float, typer.Option(help="Of --sample; 0: always the most probable.", min=0.0)
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Of --sample.", show_default=False)] = None,
    attention: Annotated[
        Path | None, typer.Option(help="PNG to draw: what each word was written from.")
    ] = None,
) -> None:
    """Translate a text, or each line of standard input: of a file or a pipe 64 at a time."""
    if beam is not None and nbest > beam:
        raise ValueError(f"--nbest {nbest} needs a --beam of at least as many, not {beam}")
    if sample and nbest > 1:
        raise ValueError("choose one of --sample and --nbest")
    if attention is not None and text == "-":
        raise ValueError("--attention shows one text: give it on the command line")
    translator = translation.load(checkpoint)
    options = translator.options
    width = max(options.beam, nbest) if beam is None else beam
    penalty = options.length_penalty if length_penalty is None else length_penalty
    for texts in [[text]] if text != "-" else _lines():
        if sample:
            found = [
                [each] for each in translator.sample(texts, temperature=temperature, seed=seed)
            ]
        else:
            found = translator.translate(
                texts,
                width=width,
                length_penalty=penalty,
                coverage_penalty=coverage_penalty,
                no_repeat=no_repeat,
            )
        for translations in found:
            for each in translations[:nbest]:
                print(f"{each.score:8.3f}  {each.text}" if nbest > 1 else each.text)
        sys.stdout.flush()
        if attention is not None:
            draw_attention(attention, *translator.attention(text, found[0][0].text))


def _lines() -> Iterator[list[str]]:
    """Lines of standard input: each as it comes from a terminal, else many together."""
    together = 1 if sys.stdin.isatty() else _TOGETHER
    lines = (line.rstrip("\n") for line in sys.stdin)
    while texts := list(islice(lines, together)):
        yield texts
