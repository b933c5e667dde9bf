"""Parameters of commands, made from the options of tasks."""

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from .. import tasks
from ..tasks import Task, TrainOptions

DictionaryOption = Annotated[
    Path | None,
    typer.Option(help="Words and phonemes instead of those that the model was trained with."),
]


def examples(*lines: str) -> str:
    """Returns the end of a command's help."""
    # An empty line between them: the help joins neighbouring lines.
    return "\n\n".join(["For example:", *lines])


def files_argument() -> Any:
    """Returns what there is to say about the files that a task trains on."""
    return typer.Argument(
        help="Files or folders to train on; none: the task's own data.",
        metavar="FILES OR FOLDERS",
    )


def parameter(name: str, kind: Any, info: Any) -> inspect.Parameter:
    """Returns a parameter of a command; None stands for "not given"."""
    # A resumed run has to tell that from the default.
    annotation = Annotated[kind | None, info]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def flag(name: str, text: str) -> inspect.Parameter:
    """Returns a parameter of a command that is off unless its name is given."""
    annotation = Annotated[bool, typer.Option(f"--{name}", help=escape(text))]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation
    )


def task_parameters(
    task: type[Task[Any, Any, Any, Any]], leave_out: Collection[str] = ()
) -> list[inspect.Parameter]:
    """Returns a parameter for each option of a task."""
    shared = {item.name for item in fields(TrainOptions)}
    types = tasks.option_types(task)
    presets = tasks.presets(task.name)
    parameters = []
    for item in fields(task.options_type):
        if item.name in leave_out:
            continue
        text = item.metadata["help"]
        if item.name == "preset":
            text += "".join(f"; {name}: {preset.summary}" for name, preset in presets.items())
        default = "" if item.default is None else f" (default {item.default})"
        info = typer.Option(
            # Escaped: the help takes the [name] of an extra for a style, and does not show it.
            help=escape(f"{text[0].upper()}{text[1:]}{default}."),
            rich_help_panel="Training" if item.name in shared else "This task",
            hidden=item.name == "preset" and not presets,
        )
        parameters.append(parameter(item.name, types[item.name], info))
    return parameters


def set_parameters(command: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> None:
    """Gives a function with **keywords the parameters that typer is to see."""
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
