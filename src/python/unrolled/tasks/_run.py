"""What all tasks share: train, resume, load and evaluate."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from unrolled.training import (
    SilentProgress,
    Trainer,
    clock,
    import_extra,
    make_progress,
    plot_loss_curve,
)

from ._saved import PathLike, Saved, write_run
from ._task import BatchT, ModelT, OptionsT, Task, TrainedT, TrainOptions


def as_paths(sources: PathLike | Sequence[PathLike]) -> tuple[Path, ...]:
    """Returns one source or several as paths."""
    if isinstance(sources, (str, os.PathLike)):
        return (Path(sources),)
    return tuple(Path(source) for source in sources)


def train(
    task_class: type[Task[OptionsT, ModelT, BatchT, TrainedT]],
    sources: PathLike | Sequence[PathLike] = (),
    *,
    output: PathLike | None = None,
    resume: PathLike | None = None,
    quiet: bool = False,
    **given: Any,
) -> TrainedT:
    """Runs a task from its data to its report.

    Args:
        task_class: the task.
        sources: files and folders; none = the task's own data or, resuming, those of before.
        output: the checkpoint to write (`.safetensors`; the picture goes beside it as `.png`);
            default: none or, resuming, the checkpoint resumed from.
        resume: a checkpoint whose run goes on. Its options stay, but for the budget, which may be
            given anew and counts from the very beginning.
        quiet: print nothing; else a bar on a terminal, lines elsewhere, and a report.
        given: options by name; None stands for "not given".

    Returns:
        The best model by held-out score.

    Raises:
        ValueError: an option or the data will not do, or training diverged.
        CheckpointError: `resume` cannot be read, or belongs to something else.
        KeyboardInterrupt: Ctrl-C; where there is an output, everything was saved before.
    """
    say: Callable[[str], None] = (lambda line: None) if quiet else print
    paths = tuple(path.resolve() for path in as_paths(sources))
    target = None if output is None else _with_suffix(Path(output))
    given = {name: value for name, value in given.items() if value is not None}
    saved = None if resume is None else Saved.read(resume, training=True)
    options: Any  # OptionsT, which mypy cannot know of a class attribute
    if saved is None:
        options = make_options(task_class, given)
    else:
        options = saved.resumed_options(task_class, given)
        paths = paths or saved.sources
        target = target or saved.path
    budget = options.budget()
    if target is not None:
        import_extra("safetensors", "train")  # missing: say so now, not after the training

    task = task_class(options, paths)
    say(f"data       {task.load()}")
    rng = np.random.default_rng(options.seed)
    model = task.build(rng)
    say(f"model      {model.num_parameters:,} parameters, {model.dtype}")

    def save(trainer: Trainer[Any]) -> None:
        if target is not None:
            write_run(target, task, model, trainer)

    trainer = Trainer(
        model,
        task.batches(rng),
        lambda batch, carry, rng: task.loss(model, batch, carry, rng),
        optimizer=task.optimizer(model),
        schedule=task.schedule(),
        budget=budget,
        rng=rng,
        clip_norm=options.clip,
        validate=lambda: task.validate(model),
        validations=options.validations,
        save=save,
        progress=SilentProgress() if quiet else make_progress(task.metric),
    )
    if saved is not None:
        saved.load_into(trainer, task)
        _check_unfinished(trainer, saved.path)
        say(f"resumed    at update {trainer.steps:,}, after {clock(trainer.seconds)}")

    trainer.run()
    if trainer.stopped:
        if target is not None:
            say(f"stopped at update {trainer.steps:,}; everything is saved. To go on:")
            say(f"  unrolled train {task.name} --resume {target}")
        raise KeyboardInterrupt

    if trainer.best_values is not None:
        model.flat.values[...] = trainer.best_values
    metric = task.metric
    speed = trainer.targets / max(trainer.seconds, 1e-9)
    say(
        f"trained    {trainer.steps:,} updates in {clock(trainer.seconds)}, "
        f"{trainer.batches.epoch:.1f} epochs, {speed:,.0f} {metric.unit}/s with validation"
    )
    say(f"held out   {metric.text(task.score(model))} {metric.name}")
    if target is not None:
        say(f"checkpoint {target}")
        picture = target.with_suffix(".png")
        try:
            plot_loss_curve(picture, trainer.history, metric, title=f"unrolled train {task.name}")
            say(f"loss curve {picture}")
        except ImportError as error:
            say(f"loss curve not drawn: {error}")
    trained = task.restore(options, task.assets(model), model.parameters)
    if not quiet:
        for line in task.report(trained, target):
            say(line)
    return trained


def option_types(task_class: type[Task[Any, Any, Any, Any]]) -> dict[str, Any]:
    """Returns the options of a task by name, with their types."""
    types = get_type_hints(task_class.options_type)
    return {item.name: types[item.name] for item in fields(task_class.options_type)}


def make_options(
    task_class: type[Task[Any, Any, Any, Any]], given: Mapping[str, Any]
) -> TrainOptions:
    """Returns a task's options from keywords.

    Raises:
        ValueError: there is no such option, or a value is not among its choices.
    """
    known = option_types(task_class)
    for name, value in given.items():
        if name not in known:
            raise ValueError(
                f"[train {task_class.name}] there is no option {name!r}, only {', '.join(known)}"
            )
        if get_origin(known[name]) is Literal and value not in get_args(known[name]):
            choices = ", ".join(map(repr, get_args(known[name])))
            raise ValueError(
                f"[train {task_class.name}] expected {name} to be one of {choices}, got {value!r}"
            )
    return task_class.options_type(**given)


def load(
    path: PathLike, task_class: type[Task[Any, Any, Any, TrainedT]]
) -> tuple[Task[Any, Any, Any, TrainedT], TrainedT]:
    """Returns the trained model in a checkpoint, and its task as it was when trained.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it cannot be read, or is one of another task.
    """
    saved = Saved.read(path, training=False)
    return task_class(saved.options(task_class), saved.sources), saved.restore(task_class)


def free_path(name: str) -> Path:
    """Returns NAME.safetensors here, or NAME-2.safetensors and so on if that exists already."""
    path, number = Path(f"{name}.safetensors"), 1
    while path.exists():
        number += 1
        path = Path(f"{name}-{number}.safetensors")
    return path


def _with_suffix(path: Path) -> Path:
    return path if path.suffix == ".safetensors" else Path(f"{path}.safetensors")


def _check_unfinished(trainer: Trainer[Any], path: Path) -> None:
    if trainer.fraction >= 1.0:
        raise ValueError(
            f"the run in {path} is complete ({trainer.steps:,} updates, {clock(trainer.seconds)}); "
            "to go on, give it a larger --minutes, --epochs or --steps, counted from its beginning"
        )
