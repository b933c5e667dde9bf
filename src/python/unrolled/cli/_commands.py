"""The commands of `unrolled` and their options."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import tasks
from ..functional import Precision
from ..tasks import Task, TrainOptions
from ..tasks import language_model as lm

AnyTask = Task[Any, Any, Any, Any]

CheckpointArgument = Annotated[
    Path, typer.Argument(help="A .safetensors file that `unrolled train` wrote.")
]

PrecisionOption = Annotated[
    Precision,
    typer.Option(help="Numbers that the recurrent layers multiply; int8 is the fastest."),
]


def _examples(*lines: str) -> str:
    # An empty line between them: the help joins neighbouring lines.
    return "\n\n".join(["For example:", *lines])


app = typer.Typer(
    help="Fast recurrent networks on the CPU: train, write text, suggest words, evaluate, measure.",
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


def _train_command(task: type[AnyTask]) -> Callable[..., None]:
    """Returns the function behind `unrolled train NAME`, with a parameter for each option."""

    def command(
        sources: list[Path] | None, output: Path | None, resume: Path | None, **given: Any
    ) -> None:
        if output is None and resume is None:
            output = tasks.free_path(task.name)
        try:
            tasks.train(task, sources or (), output=output, resume=resume, **given)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    files = typer.Argument(
        help="Files or folders to train on; none: the task's own data.",
        metavar="FILES OR FOLDERS",
    )
    output = typer.Option(help="Checkpoint to write; report, picture and log go beside it.")
    resume = typer.Option(help="Checkpoint of a stopped run to go on with.")
    parameters = [
        _parameter("sources", list[Path], files),
        _parameter("output", Path, output),
        _parameter("resume", Path, resume),
    ]
    shared = {item.name for item in fields(TrainOptions)}
    types = tasks.option_types(task)
    for item in fields(task.options_type):
        text = item.metadata["help"]
        default = "" if item.default is None else f" (default {item.default})"
        info = typer.Option(
            help=f"{text[0].upper()}{text[1:]}{default}.",
            rich_help_panel="Training" if item.name in shared else "This task",
        )
        parameters.append(_parameter(item.name, types[item.name], info))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _parameter(name: str, kind: Any, info: Any) -> inspect.Parameter:
    # None stands for "not given", which a resumed run has to tell from the default.
    annotation = Annotated[kind | None, info]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


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
        precision: PrecisionOption = "full",
    ) -> None:
        """Score a checkpoint on files, or on what was held out when it was trained."""
        original, trained = tasks.load(checkpoint, task)
        for line in original.evaluate(trained, sources or (), tokens, precision):
            print(line)

    return command


for _name, _task in tasks.tasks().items():
    train_app.command(_name, help=_task.summary, epilog=_examples(*_task.examples))(
        _train_command(_task)
    )
    evaluate_app.command(
        _name, epilog=_examples(f"unrolled evaluate {_name} {_name}.safetensors FILE --tokens")
    )(_evaluate_command(_task))


@app.command(
    epilog=_examples(
        'unrolled generate lm.safetensors --prompt "The "',
        "unrolled generate lm.safetensors --length 2000 --temperature 0.6 --seed 1",
    )
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
    epilog=_examples(
        'unrolled suggest lm.safetensors "The functi"',
        'unrolled suggest lm.safetensors "The function " --count 10',
    )
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


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@app.command(
    epilog=_examples(
        "unrolled bench",
        "unrolled bench quick --cells gru --png gru.png",
        'unrolled bench deepbench --only "server: gru"',
    )
)
def bench(
    suite: Annotated[
        str,
        typer.Argument(
            help="Which cases to measure: tiny, quick, peers, deepbench (DeepBench's list), "
            "streaming (step by step), ragged (different lengths), precision (bf16, int8), or "
            "scaling (longer, larger, busy machine)."
        ),
    ] = "quick",
    threads: Annotated[
        int | None, typer.Option(help="Threads of every library.", show_default=False)
    ] = None,
    cells: Annotated[
        str | None, typer.Option(help="Cells, separated by commas.", show_default=False)
    ] = None,
    only: Annotated[
        str, typer.Option(help="Cases whose text has this part.", show_default=False)
    ] = "",
    seconds: Annotated[
        float | None,
        typer.Option(help="Time for each case; a few rounds at least.", show_default=False),
    ] = None,
    peers: Annotated[bool, typer.Option(help="Measure installed peers too.")] = True,
    json: Annotated[
        Path | None, typer.Option(help="Write the report as JSON.", show_default=False)
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the report as Markdown.", show_default=False)
    ] = None,
    png: Annotated[
        Path | None, typer.Option(help="Write the report as a picture.", show_default=False)
    ] = None,
    roofline: Annotated[
        Path | None,
        typer.Option(help="Draw every case below the machine's limits.", show_default=False),
    ] = None,
) -> None:
    """Measure this library beside torch, onnxruntime and jax, where they are installed."""
    from .. import bench as benchmarks  # no other command needs it

    report = benchmarks.run(
        suite,
        threads=threads,
        cells=None if cells is None else cells.split(","),
        only=only,
        seconds=seconds,
        peers=peers,
        json=json,
        markdown=markdown,
        png=png,
        roofline=roofline,
        progress=_show_case,
    )
    print(report.text())


def _show_case(done: int, total: int, text: str) -> None:
    print(f"{done + 1:3d}/{total}  {text}", file=sys.stderr, flush=True)
