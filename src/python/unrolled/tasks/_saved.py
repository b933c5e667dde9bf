"""What a task's checkpoint holds: the best weights, how to use them, and the state of the run.

Arrays: `model.NAME` for each parameter of the best model; `trainer.NAME` for what `Trainer.state`
returns. Metadata: the task, its options and sources, its assets (`Task.assets`), what was told of
the model at the end (`Task.finish`), the values of `Trainer.state`, and the version of this
package. A file without the trainer's part is a model that can be used, but not trained on.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

from unrolled.layers import Layer
from unrolled.training import (
    Array,
    CheckpointError,
    Trainer,
    carry_of,
    from_json,
    load_checkpoint,
    on_host,
    save_checkpoint,
)

from ._options import TrainOptions
from ._quantised import dequantised, quantised
from ._task import Task, TrainedT

PathLike: TypeAlias = str | os.PathLike[str]

_WEIGHTS, _TRAINER = "model.", "trainer."

#: Options that a resumed run may change: it is given more time, or less, and reports otherwise or
#: runs elsewhere.
_BUDGET = ("minutes", "epochs", "steps")
_OTHERS = ("statistics", "tensorboard", "device")


def with_suffix(path: PathLike) -> Path:
    """Returns where a checkpoint goes: `.safetensors` is added where it is missing."""
    path = Path(path)
    return path if path.suffix == ".safetensors" else Path(f"{path}.safetensors")


def write_model(path: PathLike, task: Task[Any, Any, Any, Any], model: Layer) -> None:
    """Writes a model without the state of its training."""
    weights = {_WEIGHTS + name: array for name, array in model.parameters.items()}
    save_checkpoint(path, weights, _metadata(task, model))


def write_run(
    path: PathLike,
    task: Task[Any, Any, Any, Any],
    model: Layer,
    trainer: Trainer[Any],
    finished: Mapping[str, Any] | None = None,
) -> None:
    """Writes the best model so far, and all that the run needs to go on.

    All ranks of a group call it; rank 0 writes.

    Args:
        finished: what `Task.finish` returned, at the end; the model is then as it is, not the best.
    """
    state, values = trainer.state()
    if task.group.rank > 0:
        return
    best = trainer.values if trainer.best_values is None else trainer.best_values
    best = best if finished is None else model.flat.values
    arrays = {
        **{_WEIGHTS + name: array for name, array in on_host(model.flat.views(best)).items()},
        **{_TRAINER + name: array for name, array in state.items()},
    }
    metadata = {**_metadata(task, model), "trainer": values, "finished": dict(finished or {})}
    save_checkpoint(path, arrays, metadata)


def _metadata(task: Task[Any, Any, Any, Any], model: Layer) -> dict[str, Any]:
    return {
        "unrolled": version("unrolled"),
        "task": task.name,
        "options": asdict(task.options),
        "sources": [str(path) for path in task.sources],
        "assets": task.assets(model),
    }


@dataclass(frozen=True)
class _Metadata:
    unrolled: str
    task: str
    options: dict[str, Any]
    sources: list[str]
    assets: dict[str, Any]
    finished: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] | None = None
    precision: Literal["full", "int8"] = "full"


@contextmanager
def _reading(path: PathLike, wrong: str = "is damaged, or other code wrote it") -> Iterator[None]:
    """Says of what code finds wrong with a file's content that it is wrong with the file.

    The errors are those of looking things up in, and computing with, values of another kind than
    were written.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} {wrong}: {error}") from error


@dataclass(frozen=True)
class Saved:
    """The content of a task's checkpoint.

    Attributes:
        path: the file.
        arrays: arrays by their names in the file.
        metadata: what else it says.
    """

    path: Path
    arrays: dict[str, Array]
    metadata: _Metadata

    @classmethod
    def read(cls, path: PathLike, *, training: bool) -> "Saved":
        """Reads a checkpoint, with the state of the training or without.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: it cannot be read, or no task wrote it.
        """
        checkpoint = load_checkpoint(path, "" if training else _WEIGHTS)
        with _reading(path, "is not the checkpoint of a task"):
            metadata = from_json(_Metadata, checkpoint.metadata, "metadata")
        return cls(Path(path), checkpoint.arrays, metadata)

    @property
    def task_name(self) -> str:
        """The task that wrote it."""
        return self.metadata.task

    @property
    def sources(self) -> tuple[Path, ...]:
        """What the task was trained on; nothing = its own data."""
        return tuple(Path(source) for source in self.metadata.sources)

    @property
    def weights(self) -> dict[str, Array]:
        """The best parameters, by name."""
        return dequantised(self._part(_WEIGHTS))

    @property
    def precision(self) -> Literal["full", "int8"]:
        """What the model's recurrent layers are kept, and multiply, in."""
        return self.metadata.precision

    def write_model(self, path: PathLike, precision: Literal["full", "int8"]) -> None:
        """Writes the model alone, see `export`.

        Raises:
            ValueError: the model is in 8 bits already, and full precision is asked for.
        """
        if precision != self.precision == "int8":
            raise ValueError(f"{self.path} is in int8: what was rounded away does not come back")
        metadata = asdict(replace(self.metadata, trainer=None, precision=precision))
        weights = quantised(self.weights) if precision == "int8" else self.weights
        save_checkpoint(path, {_WEIGHTS + n: array for n, array in weights.items()}, metadata)

    @property
    def run(self) -> Mapping[str, Any]:
        """The values of `Trainer.state`.

        Raises:
            CheckpointError: the file holds no training.
        """
        if self.metadata.trainer is None:
            raise CheckpointError(f"{self.path} holds a model, but no training to resume")
        return self.metadata.trainer

    def _part(self, prefix: str) -> dict[str, Array]:
        return {
            name.removeprefix(prefix): array
            for name, array in self.arrays.items()
            if name.startswith(prefix)
        }

    def check_task(self, task_class: type[Task[Any, Any, Any, Any]]) -> None:
        """Raises CheckpointError if another task wrote it."""
        if self.task_name != task_class.name:
            raise CheckpointError(
                f"{self.path} belongs to the task {self.task_name!r}, not {task_class.name!r}"
            )

    def options(self, task_class: type[Task[Any, Any, Any, Any]]) -> TrainOptions:
        """Returns the options of the run."""
        self.check_task(task_class)
        with _reading(self.path, "has options unknown here"):
            return from_json(task_class.options_type, self.metadata.options, "options")

    def resumed_options(
        self, task_class: type[Task[Any, Any, Any, Any]], given: Mapping[str, Any]
    ) -> TrainOptions:
        """Returns the options to go on with: those of the run, but budget and reports if given.

        Raises:
            ValueError: `given` changes something else.
        """
        before = asdict(self.options(task_class))
        changed = [
            f"--{name.replace('_', '-')} {value} (the run has {before.get(name)})"
            for name, value in given.items()
            if name not in _BUDGET + _OTHERS and value != before.get(name)
        ]
        if changed:
            raise ValueError(
                f"{self.path} cannot be resumed with {', '.join(changed)}; "
                f"only {', '.join(_BUDGET + _OTHERS)} may change"
            )
        if any(name in given for name in _BUDGET):
            before.update({name: given.get(name) for name in _BUDGET})
        before.update({name: given[name] for name in _OTHERS if name in given})
        return task_class.options_type(**before)

    def restore(self, task_class: type[Task[Any, Any, Any, TrainedT]]) -> TrainedT:
        """Returns the trained model.

        Raises:
            CheckpointError: the file does not hold one, or another task wrote it.
        """
        options = self.options(task_class)
        with _reading(self.path):
            assets = {**self.metadata.assets, **self.metadata.finished}
            trained = task_class.restore(options, assets, self.weights)
            if self.precision != "full":
                trained.model.set_precision(self.precision)
        return trained

    def load_into(self, trainer: Trainer[Any], task: Task[Any, Any, Any, Any]) -> None:
        """Puts a new trainer where the run stopped.

        Raises:
            CheckpointError: the file holds no training, or the data have changed since.
        """
        values, model = self.run, trainer.model
        if self.metadata.assets != json.loads(json.dumps(task.assets(model))):
            raise CheckpointError(
                f"{self.path} cannot be resumed: the data are not those it was trained on"
            )
        with _reading(self.path):
            model.load_parameters(self.weights)
            best_values, arrays = model.flat.values.copy(), self._part(_TRAINER)
            task.check_carry(model, carry_of(arrays, task.group))
            trainer.load_state(arrays, values, best_values)
