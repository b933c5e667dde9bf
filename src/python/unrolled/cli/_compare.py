"""The command `unrolled compare`: a task trained with several cells, in one picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import typer

from .. import tasks
from ..tasks import Task
from ._options import examples, files_argument, parameter, set_parameters, task_parameters

compare_app = typer.Typer(no_args_is_help=True)


def _compare_command(task: type[Task[Any, Any, Any, Any]]) -> Callable[..., None]:
    """Returns the function behind `unrolled compare NAME`."""
    choices = get_args(tasks.option_types(task)["cell"])

    def command(
        sources: list[Path] | None, cells: str | None, output: Path | None, **given: Any
    ) -> None:
        chosen = choices if cells is None else [name.strip() for name in cells.split(",")]
        folder = tasks.free_path(f"compare-{task.name}", suffix="") if output is None else output
        given = {name: value for name, value in given.items() if value is not None}
        try:
            comparison = tasks.compare(task, chosen, folder, sources=sources or (), **given)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        for line in comparison.lines():
            print(line)
        print(f"pictures   {folder}")

    named = typer.Option(help=f"Cells, separated by commas (default {','.join(choices)}).")
    output = typer.Option(help=f"Folder to write to (default compare-{task.name}).")
    parameters = [
        parameter("sources", list[Path], files_argument()),
        parameter("cells", str, named),
        parameter("output", Path, output),
        *task_parameters(task, leave_out=("cell",)),
    ]
    set_parameters(command, parameters)
    return command


for _name, _task in tasks.tasks().items():
    if "cell" in tasks.option_types(_task):
        compare_app.command(
            _name,
            help=f"Train the task {_name} once with each cell and draw all runs into one picture.",
            epilog=examples(
                f"unrolled compare {_name}",
                f"unrolled compare {_name} --cells lstm,gru --steps 500",
            ),
        )(_compare_command(_task))
