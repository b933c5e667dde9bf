"""What all tasks share: train, resume, load and evaluate."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from unrolled import cuda
from unrolled.layers._place import assign
from unrolled.training import (
    Array,
    Callback,
    DivergedError,
    Group,
    Metric,
    ShowProgress,
    Trainer,
    clock,
    import_extra,
    make_progress,
    mpi_group,
    on_host,
)

from ._options import TrainOptions
from ._presets import preset_options, presets
from ._reports import NoReports, Reports
from ._saved import PathLike, Saved, with_suffix, write_run
from ._task import BatchT, ModelT, OptionsT, Task, TrainedT


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
    progress: bool | None = None,
    distributed: bool = False,
    **given: Any,
) -> TrainedT:
    """Runs a task from its data to its report.

    Args:
        task_class: the task.
        sources: files and folders; none = the task's own data or, resuming, those of before.
        output: the checkpoint to write (`.safetensors`; beside it go the picture as `.png`, the
            log as `.jsonl` and the report as `.html`); default: none or, resuming, the checkpoint
            resumed from.
        resume: a checkpoint whose run goes on. Its options stay, but for those of reports, and for
            the budget, which may be given anew and counts from the very beginning.
        quiet: print nothing; else a bar on a terminal, lines elsewhere, and a report.
        progress: show the bar, or the lines, on standard error; None: unless quiet.
        distributed: train together with the other processes that mpirun started. The options are
            those of all ranks together; every rank reads the sources and `resume`, rank 0 alone
            validates, writes and prints. The number of ranks may change when a run is resumed.
        given: options by name; None stands for "not given".

    Returns:
        The best model by held-out score.

    Raises:
        ValueError: an option or the data will not do, or training diverged.
        CheckpointError: `resume` cannot be read, or belongs to something else.
        KeyboardInterrupt: Ctrl-C; where there is an output, everything was saved before.
    """
    with mpi_group() if distributed else nullcontext(Group()) as group:
        quiet = quiet or group.rank > 0
        progress = group.rank == 0 and (not quiet if progress is None else progress)
        trained = _train(
            task_class,
            sources,
            output,
            resume,
            quiet=quiet,
            progress=progress,
            group=group,
            given=given,
        )
    if trained is None:
        raise KeyboardInterrupt
    return trained


def _train(
    task_class: type[Task[OptionsT, ModelT, BatchT, TrainedT]],
    sources: PathLike | Sequence[PathLike],
    output: PathLike | None,
    resume: PathLike | None,
    *,
    quiet: bool,
    progress: bool,
    group: Group,
    given: dict[str, Any],
) -> TrainedT | None:
    """Does what `train` says; None if Ctrl-C stopped it."""
    say: Callable[[str], None] = (lambda line: None) if quiet else print
    paths = tuple(path.resolve() for path in as_paths(sources))
    target = None if output is None else with_suffix(output)
    given = {name: value for name, value in given.items() if value is not None}
    if "tensorboard" in given:  # a resumed run may start in another folder
        given["tensorboard"] = str(Path(given["tensorboard"]).resolve())
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
    task.group = group
    data = task.load()
    say(f"data       {data}")
    rng = np.random.default_rng(options.seed)
    model = _placed(task.build(rng), task)
    say(f"model      {model.num_parameters:,} parameters, {model.dtype}")
    reports = NoReports()
    if group.rank == 0:
        earlier = None if saved is None else saved.path
        reports = Reports(task, model, data, target=target, earlier=earlier)
    shown: list[Callback] = [ShowProgress(make_progress(task.metric))] if progress else []

    def save(trainer: Trainer[Any]) -> None:
        if target is not None:
            write_run(target, task, model, trainer)

    trainer = make_trainer(
        task,
        model,
        rng,
        budget=budget,
        validate=lambda: task.validate(model),
        save=save,
        callbacks=[*shown, *reports.callbacks],
    )
    if saved is not None:
        saved.load_into(trainer, task)
        _check_unfinished(trainer, saved.path)
        say(f"resumed    at update {trainer.steps:,}, after {clock(trainer.seconds)}")

    try:
        trainer.run()
    except DivergedError as error:
        for line in reports.write(trainer, str(error)):
            say(line)
        raise
    if trainer.stopped:
        for line in reports.write(trainer, "stopped by Ctrl-C"):
            say(line)
        if target is not None:
            say(f"stopped at update {trainer.steps:,}; everything is saved. To go on:")
            say(f"  unrolled train {task.name} --resume {target}")
        return None

    ending = "finished"
    if trainer.stopped_early:
        ending = f"stopped early, after {options.patience} validations without a better one"
        say(ending)
    assign(model.flat.values, best_values(trainer))
    finished = task.finish(model)
    if target is not None and finished:
        write_run(target, task, model, trainer, finished)
    weights = on_host(model.parameters)
    trained = task.restore(options, {**task.assets(model), **finished}, weights)
    if group.rank:
        return trained
    loss = task.score(model)
    samples = () if quiet and target is None else tuple(task.report(trained, target))
    drawings = () if target is None else task.pictures(trained, target)
    files = reports.write(trainer, ending, loss=loss, samples=samples, drawings=drawings)
    for line in (*_summary(trainer, task.metric, loss, target), *files, *samples):
        say(line)
    return trained


def _placed(model: ModelT, task: Task[Any, ModelT, Any, Any]) -> ModelT:
    """Returns the model where its task trains it."""
    if task.place == "cpu":
        return model
    try:
        cuda.require()
        cuda.use_device(task.group.local_rank, task.group.local_size)
        return model.to(task.place)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"this model cannot train on a CUDA device: {error}") from error


def make_trainer(
    task: Task[Any, ModelT, BatchT, Any], model: ModelT, rng: np.random.Generator, **more: Any
) -> Trainer[BatchT]:
    """Returns the trainer that a task's options ask for; `more` are further arguments of it."""
    options = task.options
    return Trainer(
        model,
        task.batches(rng),
        lambda batch, carry, rng: task.loss(model, batch, carry, rng),
        optimizer=task.optimizer(model),
        schedule=task.schedule(),
        rng=rng,
        accumulate=options.accumulate,
        clip_norm=options.clip,
        clip_value=options.clip_value,
        precision=options.precision,
        averaging=task.averaging(model),
        validations=options.validations,
        patience=options.patience,
        group=task.group,
        **more,
    )


def best_values(trainer: Trainer[Any]) -> Array:
    """Returns the parameters that validation chose, or the last ones if there was none."""
    return trainer.values if trainer.best_values is None else trainer.best_values


def _summary(
    trainer: Trainer[Any], metric: Metric, loss: float, target: Path | None
) -> Iterator[str]:
    """Yields what came of a run, as lines."""
    speed = trainer.targets / max(trainer.seconds, 1e-9)
    yield (
        f"trained    {trainer.steps:,} updates in {clock(trainer.seconds)}, "
        f"{trainer.batches.epoch:.1f} epochs, {speed:,.0f} {metric.unit}/s with validation"
    )
    yield f"held out   {metric.text(loss)} {metric.name}"
    if target is not None:
        yield f"checkpoint {target}"


def option_types(task_class: type[Task[Any, Any, Any, Any]]) -> dict[str, Any]:
    """Returns the options of a task by name, with their types."""
    types = get_type_hints(task_class.options_type)
    return {item.name: types[item.name] for item in fields(task_class.options_type)}


def make_options(
    task_class: type[Task[Any, Any, Any, Any]], given: Mapping[str, Any]
) -> TrainOptions:
    """Returns a task's options from keywords, and from a preset where one is named.

    Raises:
        ValueError: there is no such option or preset, or a value is not among its choices.
    """
    known = option_types(task_class)
    for name, value in given.items():
        if name not in known:
            raise ValueError(
                f"[train {task_class.name}] there is no option {name!r}, only {', '.join(known)}"
            )
        kinds = (known[name], *get_args(known[name]))  # Literal, or Literal | None
        choices = [c for kind in kinds if get_origin(kind) is Literal for c in get_args(kind)]
        if choices and value is not None and value not in choices:
            raise ValueError(
                f"[train {task_class.name}] expected {name} to be one of "
                f"{', '.join(map(repr, choices))}, got {value!r}"
            )
    # A flag that has a preset of its name, as a demo, brings it along.
    flags = (name for name in presets(task_class.name) if given.get(name) is True)
    preset = given.get("preset") or next(flags, None)
    chosen = {} if preset is None else preset_options(task_class.name, preset)
    return task_class.options_type(**{**chosen, **given})


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


def free_path(name: str, suffix: str = ".safetensors") -> Path:
    """Returns NAME.safetensors here, or NAME-2.safetensors and so on if that exists already."""
    path, number = Path(f"{name}{suffix}"), 1
    while path.exists():
        number += 1
        path = Path(f"{name}-{number}{suffix}")
    return path


def _check_unfinished(trainer: Trainer[Any], path: Path) -> None:
    if trainer.fraction >= 1.0:
        raise ValueError(
            f"the run in {path} is complete ({trainer.steps:,} updates, {clock(trainer.seconds)}); "
            "to go on, give it a larger --minutes, --epochs or --steps, counted from its beginning"
        )
