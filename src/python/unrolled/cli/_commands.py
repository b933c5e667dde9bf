"""The commands of `unrolled` and their options."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID
from typer.core import TyperGroup

from .. import __version__, functional, tasks
from ..functional import Precision
from ..tasks import Task
from ..tasks import language_model as lm
from ._align import align
from ._bench import bench
from ._classify import classify_series
from ._compare import compare_app
from ._export import export
from ._forecast import backtest, forecast
from ._listen import listen
from ._options import examples as _examples
from ._options import files_argument, flag, parameter, set_parameters, task_parameters
from ._transcribe import transcribe
from ._translate import translate
from ._watch import caption, classify

AnyTask = Task[Any, Any, Any, Any]

CheckpointArgument = Annotated[
    Path, typer.Argument(help="A .safetensors file that `unrolled train` wrote.")
]

PrecisionOption = Annotated[
    Precision,
    typer.Option(help="Numbers that the recurrent layers multiply; int8 is the fastest."),
]


class _TrainingFirst(TyperGroup):
    """The commands, those with tasks before the others: a newcomer begins with them."""

    def list_commands(self, ctx: Any) -> list[str]:
        names: list[str] = super().list_commands(ctx)
        return sorted(names, key=lambda name: not isinstance(self.commands[name], TyperGroup))


app = typer.Typer(
    cls=_TrainingFirst,
    help="Fast recurrent networks on the CPU: train them, use them, measure them.",
    epilog=_examples(
        "unrolled train lm --minutes 3",
        'unrolled generate lm.safetensors --prompt "The "',
        'unrolled suggest lm.safetensors "The functi"',
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
train_app = typer.Typer(no_args_is_help=True)
evaluate_app = typer.Typer(no_args_is_help=True)
app.add_typer(train_app, name="train", help="Train a model: unrolled train TASK --help tells how.")
app.add_typer(evaluate_app, name="evaluate", help="Score a trained model on files.")
app.add_typer(compare_app, name="compare", help="Train a task with several cells, in one picture.")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"unrolled {__version__}, kernels {functional.isa()}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and kernels."
        ),
    ] = False,
) -> None:
    pass


def _train_command(task: type[AnyTask]) -> Callable[..., None]:
    """Returns the function behind `unrolled train NAME`, with a parameter for each option."""

    def command(
        sources: list[Path] | None,
        output: Path | None,
        resume: Path | None,
        distributed: bool | None,
        **given: Any,
    ) -> None:
        if output is None and resume is None:
            output = tasks.free_path(task.name)
        try:
            tasks.train(
                task,
                sources or (),
                output=output,
                resume=resume,
                distributed=bool(distributed),
                **given,
            )
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    output = typer.Option(help="Checkpoint to write; report, picture and log go beside it.")
    resume = typer.Option(help="Checkpoint of a stopped run to go on with.")
    distributed = typer.Option(
        "--distributed", help="Train together with the processes that mpirun started."
    )
    parameters = [
        parameter("sources", list[Path], files_argument()),
        parameter("output", Path, output),
        parameter("resume", Path, resume),
        parameter("distributed", bool, distributed),
        *task_parameters(task),
    ]
    set_parameters(command, parameters)
    return command


def _evaluate_command(task: type[AnyTask]) -> Callable[..., None]:
    """Returns the function behind `unrolled evaluate NAME`."""

    def command(
        checkpoint: CheckpointArgument,
        sources: Annotated[
            list[Path] | None,
            typer.Argument(
                metavar="FILES OR FOLDERS",
                help="Files or folders to score; none: what was held out in training.",
            ),
        ] = None,
        tokens: Annotated[
            bool, typer.Option("--tokens", help="List the probability of every single token too.")
        ] = False,
        precision: Annotated[
            Precision | None,
            typer.Option(
                help="Numbers that the recurrent layers multiply; not given: as the file has them.",
                show_default=False,
            ),
        ] = None,
        **own: Any,
    ) -> None:
        """Score a checkpoint on files, or on what was held out when it was trained."""
        saved = tasks.Saved.read(checkpoint, training=False)
        original = task(saved.options(task), saved.sources)
        trained, chosen = saved.restore(task), precision or saved.precision
        for line in original.evaluate(trained, sources or (), tokens, chosen, **own):
            print(line)

    *common, _ = inspect.signature(command).parameters.values()
    flags = [flag(*item) for item in task.evaluate_flags.items()]
    values = [
        parameter(name, kind, typer.Option(help=escape(text), show_default=False))
        for name, (kind, text) in task.evaluate_options.items()
    ]
    set_parameters(command, [*common, *flags, *values])
    return command


for _name, _task in tasks.tasks().items():
    train_app.command(_name, help=escape(_task.summary), epilog=_examples(*_task.examples))(
        _train_command(_task)
    )
    evaluate_app.command(
        _name, epilog=_examples(f"unrolled evaluate {_name} {_name}.safetensors FILE --tokens")
    )(_evaluate_command(_task))


app.command(
    rich_help_panel="Speech",
    epilog=_examples(
        "unrolled listen keywords.safetensors recording.flac",
        "arecord -t raw -f S16_LE -r 16000 | unrolled listen keywords.safetensors -",
    ),
)(listen)
app.command(
    epilog=_examples(
        "unrolled export keywords.safetensors small.safetensors --int8",
        "unrolled listen small.safetensors recording.flac",
        "unrolled export translation.safetensors translation.onnx",
    )
)(export)
app.command(
    rich_help_panel="Time series",
    epilog=_examples(
        "unrolled forecast --demo",
        "unrolled forecast ETTh1.csv --target OT --horizon 24 --picture forecast.png",
        "unrolled forecast forecasting.safetensors newer.csv > next.csv",
        "unrolled forecast forecasting.safetensors --back 24 --picture forecast.png",
    ),
)(forecast)
app.command(
    rich_help_panel="Time series",
    epilog=_examples(
        "unrolled backtest forecasting.safetensors --picture backtest.png",
        "unrolled backtest forecasting.safetensors newer.csv",
    ),
)(backtest)
app.command(
    rich_help_panel="Speech",
    epilog=_examples(
        "unrolled transcribe phonemes.safetensors recording.wav --picture heard.png",
        "unrolled transcribe phonemes.safetensors recording.wav --textgrid > recording.TextGrid",
        "unrolled transcribe phonemes.safetensors talk.mp3 --words --lm words.safetensors",
    ),
)(transcribe)
app.command(
    rich_help_panel="Speech",
    epilog=_examples(
        "unrolled align phonemes.safetensors recordings/ --output textgrids/",
        "unrolled align phonemes.safetensors words.csv --output phonemes.csv",
    ),
)(align)
app.command(
    rich_help_panel="Text",
    epilog=_examples(
        'unrolled translate translation.safetensors "Good morning." --attention read.png',
        "unrolled translate translation.safetensors - --beam 5 < text.en > text.de",
    ),
)(translate)

app.command(
    rich_help_panel="Time series",
    epilog=_examples(
        "unrolled classify-series classification.safetensors new.ts",
        "unrolled classify-series classification.safetensors new.ts --all",
    ),
)(classify_series)
app.command(
    rich_help_panel="Video",
    epilog=_examples(
        "unrolled classify video.safetensors clip.mp4 --picture seen.png",
        "unrolled classify video.safetensors camera.mkv --stream",
    ),
)(classify)
app.command(
    rich_help_panel="Video",
    epilog=_examples(
        "unrolled caption video.safetensors clip.mp4 --picture seen.png",
        "unrolled caption lips.safetensors *.mp4 --times",
    ),
)(caption)


@app.command(
    rich_help_panel="Text",
    epilog=_examples(
        'unrolled generate lm.safetensors --prompt "The "',
        "unrolled generate lm.safetensors --length 2000 --temperature 0.6 --seed 1",
    ),
)
def generate(
    checkpoint: CheckpointArgument,
    prompt: Annotated[str, typer.Option(help="How the text begins, of any length.")] = "",
    length: Annotated[int, typer.Option(help="Characters or words to write.", min=0)] = 500,
    temperature: Annotated[
        float, typer.Option(help="0: always the most probable; 1: as predicted.", min=0.0)
    ] = 0.8,
    top_k: Annotated[
        int, typer.Option(help="Draw from so many most probable only; 0: from all.", min=0)
    ] = 0,
    top_p: Annotated[
        float,
        typer.Option(help="Draw from the most probable with this sum.", min=0.0, max=1.0),
    ] = 1.0,
    stop: Annotated[
        bool, typer.Option("--stop", help="End where the model ends the document.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same text.", show_default=False)
    ] = None,
    precision: PrecisionOption = "full",
) -> None:
    """Write text with a language model, shown as it is written."""
    model = lm.load(checkpoint)
    model.model.rnn.precision = precision
    pieces = lm.write(
        model,
        prompt,
        length=length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=stop,
        seed=seed,
    )
    _show(prompt)
    try:
        for piece in pieces:
            _show(piece)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    finally:
        _show("\n")


@app.command(
    rich_help_panel="Text",
    epilog=_examples(
        'unrolled suggest lm.safetensors "The functi"',
        'unrolled suggest lm.safetensors "The function " --count 10',
    ),
)
def suggest(
    checkpoint: CheckpointArgument,
    text: Annotated[str, typer.Argument(help="The text typed so far.")],
    count: Annotated[int, typer.Option(help="How many words.", min=1)] = 3,
) -> None:
    """Suggest the next word, or the rest of the word under way, like a phone's keyboard."""
    suggestions = lm.suggest(lm.load(checkpoint), text, count)
    if not suggestions:
        print("no known word begins like this", file=sys.stderr)
    for suggestion in suggestions:
        print(f"{suggestion.probability:6.1%}  {suggestion.word}")


@app.command(
    epilog=_examples(
        "unrolled tokenize huge_texts/ --output huge.tokens",
        "unrolled train lm huge.tokens --minutes 600",
    )
)
def tokenize(
    sources: Annotated[
        list[Path], typer.Argument(metavar="FILES OR FOLDERS...", help="Texts of any size.")
    ],
    output: Annotated[Path, typer.Option(help="The .tokens file to write.")],
    level: Annotated[lm.Level, typer.Option(help="What the model will read and write.")] = "char",
    vocabulary: Annotated[
        int, typer.Option(help="Largest number of different characters or words.", min=1)
    ] = 20_000,
    min_count: Annotated[
        int, typer.Option(help="Rarer characters or words become <unk>.", min=1)
    ] = 3,
) -> None:
    """Turn texts larger than memory into a file that `unrolled train lm` reads piece by piece."""
    with Progress(console=Console(stderr=True)) as bar:
        stages: dict[str, TaskID] = {}

        def show(stage: str, part: float) -> None:
            if stage not in stages:
                stages[stage] = bar.add_task(stage, total=1.0)
            bar.update(stages[stage], completed=part)

        path = lm.tokenize(
            sources,
            output,
            level=level,
            vocabulary=vocabulary,
            min_count=min_count,
            progress=show,
        )
    print(f"tokens     {path}")
    print(f"next       unrolled train lm {path}{' --level word' if level == 'word' else ''}")


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


app.command(
    epilog=_examples(
        "unrolled bench",
        "unrolled bench quick --cells gru --png gru.png",
        'unrolled bench deepbench --only "server: gru"',
    )
)(bench)
