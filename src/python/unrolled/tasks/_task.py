"""The contract of a task: what a file in this folder says, so that all the rest can be shared.

A task is one file with one subclass of `Task`. It says where its data come from and how they
become arrays (`load`, `batches`), which model (`build`), which loss (`loss`), which score
(`metric`, `validate`, `score`), what a checkpoint must hold to use the model again (`assets`,
`restore`) and what it reports (`report`, `evaluate`). The loop, checkpoints, resuming, progress,
reports and the command line are shared: `register` is all it takes to get
`unrolled train NAME` and `unrolled evaluate NAME` with an option for each field of its options.

`language_model.py` is the one to copy from.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from unrolled import functional
from unrolled.layers import Layer, Place
from unrolled.training import (
    Array,
    Averaging,
    Batches,
    Carry,
    Group,
    LossAndPullback,
    Metric,
    Optimizer,
    Schedule,
    Score,
)

from ._options import TrainOptions

ModelT = TypeVar("ModelT", bound=Layer)
OptionsT = TypeVar("OptionsT", bound=TrainOptions)
BatchT = TypeVar("BatchT")


class Trained(Protocol):
    """What a user gets and works with: a model with what it takes to use it."""

    @property
    def model(self) -> Layer: ...


TrainedT = TypeVar("TrainedT", bound=Trained)


class Task(ABC, Generic[OptionsT, ModelT, BatchT, TrainedT]):
    """One training pipeline; `TrainedT` is what a user gets and works with in the end.

    Attributes:
        name: the word on the command line.
        summary: one line of `--help`.
        examples: command lines to begin with.
        options_type: `OptionsT`, a frozen dataclass derived from `TrainOptions`.
        evaluate_flags: flags of `unrolled evaluate` that this task has beyond the common ones, with
            their lines of `--help`; `evaluate` gets them as keywords.
        evaluate_options: the same of options with a value: its type and the line of `--help`;
            `evaluate` gets None for one that is not given.

    Args:
        options: what was asked for.
        sources: files and folders, none = the task's own data, if it has any.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    examples: ClassVar[tuple[str, ...]]
    options_type: ClassVar[type[TrainOptions]]
    evaluate_flags: ClassVar[Mapping[str, str]] = {}
    evaluate_options: ClassVar[Mapping[str, tuple[type, str]]] = {}

    #: The processes that train together; `batches` gives each of them its share.
    group: Group = Group()

    def __init__(self, options: OptionsT, sources: Sequence[Path] = ()) -> None:
        self.options = options
        self.sources = tuple(sources)

    # Where the data come from, and how they become arrays.

    @abstractmethod
    def load(self) -> str:
        """Reads the data into attributes of the task; returns one line about them.

        Raises:
            ValueError: the data cannot be trained on; the text says why and what to do.
        """

    @abstractmethod
    def batches(self, rng: np.random.Generator) -> Batches[BatchT]:
        """Returns the training batches; called after `load`."""

    # Which model, and how it learns.

    @abstractmethod
    def build(self, rng: np.random.Generator) -> ModelT:
        """Returns a new model; called after `load`."""

    @property
    def place(self) -> Place:
        """Where the model lies while it is trained, scored and finished; see `Layer.to`."""
        return self.options.device

    @abstractmethod
    def loss(
        self, model: ModelT, batch: BatchT, carry: Carry, rng: np.random.Generator
    ) -> LossAndPullback:
        """The loss of one batch; see `unrolled.training.LossFunction`."""

    def check_carry(self, model: ModelT, carry: Carry) -> None:
        """Raises ValueError or TypeError if `loss` cannot go on from a carry out of a file."""
        if carry is not None:
            raise ValueError(f"the task {self.name!r} carries nothing from batch to batch")

    def optimizer(self, model: ModelT) -> Optimizer:
        """Returns the optimizer, by default the one that the options name."""
        return self.options.make_optimizer(model)

    def schedule(self) -> Schedule:
        """Returns the learning-rate schedule, by default the one that the options name."""
        return self.options.make_schedule()

    def averaging(self, model: ModelT) -> Averaging | None:
        """Returns the averaging of parameters, by default the one that the options name."""
        return self.options.make_averaging(model)

    # Which score.

    @property
    @abstractmethod
    def metric(self) -> Metric:
        """What the score is called and how it follows from the mean loss."""

    @abstractmethod
    def validate(self, model: ModelT) -> float | Score:
        """Returns the mean held-out loss while training; a part of the data will do.

        A `Score` has the part of answers that are wrong beside it, by which models are chosen.
        """

    def score(self, model: ModelT) -> float:
        """Returns the mean loss on all held-out data, once at the end."""
        return Score.of(self.validate(model)).loss

    @property
    def baseline(self) -> float | None:
        """The mean loss of the best answer that needs no memory, a line in pictures; None: no line.

        Asked for after `load`.
        """
        return None

    def gradient_flow(self, model: ModelT) -> Mapping[str, Array] | None:
        """Returns how much of the loss's gradient is left t steps after the start; None: not told.

        See `unrolled.training.gradient_flow`; called after `load`.
        """
        return None

    # What is kept, and what is reported.

    @abstractmethod
    def assets(self, model: ModelT) -> dict[str, Any]:
        """Returns, as JSON-able values, what `restore` needs besides options and weights."""

    def finish(self, model: ModelT) -> dict[str, Any]:
        """Returns what the held-out data say of the best model, once, at the end of a training.

        JSON-able values that `restore` finds among the assets, and a checkpoint that is complete
        holds; a model may be changed too. By default there is nothing.
        """
        return {}

    @classmethod
    @abstractmethod
    def restore(
        cls, options: OptionsT, assets: Mapping[str, Any], weights: Mapping[str, Array]
    ) -> TrainedT:
        """Returns the trained thing a user works with, from the content of a checkpoint."""

    @abstractmethod
    def report(self, trained: TrainedT, path: Path | None) -> Iterator[str]:
        """Yields the lines to end a training with: samples, and which commands come next.

        Args:
            trained: the best model of the run.
            path: its checkpoint, None if there is none.
        """

    def pictures(self, trained: TrainedT, path: Path) -> Iterator[tuple[str, Path]]:
        """Draws pictures of the task's own beside the checkpoint; yields names and files.

        Args:
            trained: the best model of the run.
            path: its checkpoint.

        Raises:
            ImportError: what draws is not installed; the report does without.
        """
        yield from ()

    @abstractmethod
    def evaluate(
        self,
        trained: TrainedT,
        sources: Sequence[Path],
        details: bool,
        precision: functional.Precision,
    ) -> Iterator[str]:
        """Yields the lines of `unrolled evaluate`.

        Args:
            trained: a model from a checkpoint whose options and sources this task has.
            sources: what to score; none = the held-out part of what it was trained on.
            details: list every single prediction too.
            precision: of the recurrent layers; unless "full", what it costs is told.
        """


_registry: dict[str, type[Task[Any, Any, Any, Any]]] = {}

TaskT = TypeVar("TaskT", bound=type[Task[Any, Any, Any, Any]])


def register(task: TaskT) -> TaskT:
    """Makes a task known under its name; a class decorator."""
    _registry[task.name] = task
    return task


def tasks() -> Mapping[str, type[Task[Any, Any, Any, Any]]]:
    """Returns all tasks by name."""
    return dict(_registry)


def find_task(name: str) -> type[Task[Any, Any, Any, Any]]:
    """Returns a task by name.

    Raises:
        ValueError: there is none.
    """
    if name not in _registry:
        raise ValueError(f"there is no task {name!r}, only {', '.join(sorted(_registry))}")
    return _registry[name]
