"""One task, several cells, the same budget: which of them learns it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.training import (
    Array,
    History,
    Metric,
    clock,
    import_extra,
    plot_comparison,
    plot_gradient_flow,
)

from ._run import load, make_options, option_types, train
from ._saved import PathLike, Saved
from ._task import Task

_AnyTask = type[Task[Any, Any, Any, Any]]


@dataclass(frozen=True)
class Result:
    """What one cell came to.

    Attributes:
        cell: its name, as the option `cell` of the task.
        parameters: how many the model has.
        steps: updates made.
        seconds: time spent, validation included.
        best_loss: lowest mean loss on held-out data.
        score: the line of `unrolled evaluate` that has the score.
        history: the loss curve.
        flow: the gradient flow through the model as it was made, and through the best one; None
            where the task tells none.
    """

    cell: str
    parameters: int
    steps: int
    seconds: float
    best_loss: float
    score: str
    history: History
    flow: tuple[Mapping[str, Array], Mapping[str, Array]] | None


@dataclass(frozen=True)
class Comparison:
    """What several cells came to.

    Attributes:
        task: the name of the task.
        metric: what scores are called.
        baseline: mean loss of the best answer without memory, None where the task knows none.
        results: one for each cell, in the order asked for.
    """

    task: str
    metric: Metric
    baseline: float | None
    results: tuple[Result, ...]

    def lines(self) -> list[str]:
        """Returns a table of the results."""
        lines = [f"{'cell':10}{'parameters':>12}{'updates':>10}{'time':>9}  score"]
        if self.baseline is not None:
            score = f"{self.metric.text(self.baseline)} {self.metric.name}"
            lines.append(f"{'no memory':41}  {score}")
        for result in self.results:
            lines.append(
                f"{result.cell:10}{result.parameters:12,}{result.steps:10,}"
                f"{clock(result.seconds):>9}  {result.score}"
            )
        return lines


def compare(
    task_class: _AnyTask,
    cells: Sequence[str],
    folder: PathLike,
    *,
    sources: PathLike | Sequence[PathLike] = (),
    **given: Any,
) -> Comparison:
    """Trains a task once with each cell and draws the runs into one picture.

    Writes into the folder, for each cell, what `train` writes (CELL.safetensors and its loss
    curve), then comparison.png and, where the task tells it, gradient_flow.png.

    Args:
        task_class: a task with an option `cell`.
        cells: values of that option.
        folder: where to; made if it is not there.
        sources: files and folders to train on; none = the task's own data.
        given: the other options of the task, the same for all cells.

    Raises:
        ValueError: the task has no option `cell`, or an option will not do.
        ImportError: safetensors or matplotlib is not installed.
        KeyboardInterrupt: Ctrl-C; the run under way was saved before.
    """
    if "cell" not in option_types(task_class):
        raise ValueError(f"[compare] the task {task_class.name!r} has no option cell to compare by")
    if not cells or len(set(cells)) < len(cells):
        raise ValueError(f"[compare] expected different cells, got {', '.join(cells) or 'none'}")
    for cell in cells:  # all of them before the first is trained
        make_options(task_class, {**given, "cell": cell}).budget()
    import_extra("matplotlib.figure", "train")  # missing: say so now, not after the training
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for cell in cells:
        print(f"cell       {cell}")
        path = folder / f"{cell}.safetensors"
        train(task_class, sources, output=path, cell=cell, **given)
        results.append(_result(task_class, cell, path))
    task, _ = load(path, task_class)
    task.load()
    comparison = Comparison(task.name, task.metric, task.baseline, tuple(results))
    plot_comparison(
        folder / "comparison.png",
        {result.cell: result.history for result in results},
        comparison.metric,
        baseline=comparison.baseline,
        title=f"unrolled compare {task.name}",
    )
    flows = {result.cell: result.flow for result in results if result.flow is not None}
    if flows:
        plot_gradient_flow(
            folder / "gradient_flow.png",
            {cell: before for cell, (before, _) in flows.items()},
            trained={cell: after for cell, (_, after) in flows.items()},
            title=f"unrolled compare {task.name}",
        )
    return comparison


def _result(task_class: _AnyTask, cell: str, path: Path) -> Result:
    """Reads from a checkpoint what its run came to."""
    saved = Saved.read(path, training=True)
    run = saved.run
    task, trained = load(path, task_class)
    *_, score = task.evaluate(trained, (), False, "full")
    task.load()
    model = task.build(np.random.default_rng(task.options.seed))
    before = task.gradient_flow(model)
    model.load_parameters(saved.weights)
    after = task.gradient_flow(model)
    return Result(
        cell=cell,
        parameters=model.num_parameters,
        steps=run["steps"],
        seconds=run["seconds"],
        best_loss=run["best_loss"],
        score=score,
        history=History.from_json(run["history"]),
        flow=None if before is None or after is None else (before, after),
    )
