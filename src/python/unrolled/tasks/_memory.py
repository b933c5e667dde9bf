"""What the tasks about long memory share: one sequence in, an answer from its last state or steps.

Such a task says how its sequences look (`load`, `batches`), what the answer is (`output_size`,
`every_step`, `right`) and what can be guessed without memory (`baseline`).
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from unrolled import functional
from unrolled.layers import chrono
from unrolled.layers._place import move
from unrolled.models import SequenceModel
from unrolled.training import (
    Array,
    Carry,
    Group,
    IndexedBatches,
    LossAndPullback,
    counter_rng,
    cross_entropy_vjp,
    gradient_flow,
    mse_vjp,
)

from ._options import CELLS, TrainOptions, option
from ._task import Task

OptionsT = TypeVar("OptionsT", bound="MemoryOptions")

#: Streams of random numbers: of training batches, and of the held-out set.
_TRAINING, _HELD_OUT = 0, 1

#: Generated sequences that are held out, in parts of so many that are scored at a time.
_HELD_OUT_PARTS, _PART = 10, 100

#: Generated sequences that count as one time through the data, as in Le et al. 2015.
_EPOCH_SEQUENCES = 100_000


@dataclass(frozen=True, kw_only=True)
class MemoryOptions(TrainOptions):
    """What can be set for every task about long memory."""

    batch: int = option(32, "sequences per update")
    lr: float = option(1e-2, "highest learning rate")
    weight_decay: float = option(0.0, "how strongly matrices are pulled to zero")
    cell: Literal["lstm", "gru", "rnn"] = option("lstm", "kind of recurrent layer; rnn is tanh")
    hidden: int = option(64, "units per recurrent layer")
    layers: int = option(1, "recurrent layers")
    init: Literal["chrono", "orthogonal"] = option(
        "chrono", "initial weights; chrono: gates that remember for up to the whole sequence"
    )


@dataclass(frozen=True)
class Examples:
    """Sequences and what to answer.

    Shapes: T steps, B sequences, I inputs, O outputs.

    Attributes:
        inputs: (T, B, I) float32.
        targets: numbers (B, O) float32, or classes (B,) int64, with one for each step (T, B).
    """

    inputs: Array
    targets: Array

    def share(self, group: Group) -> "Examples":
        """Returns the sequences that belong to this process of those that train together.

        All get the same number, give or take one: the last batch of an epoch may be any size.
        """
        rows = group.rows(self.inputs.shape[1])
        every_step = self.targets.dtype.kind != "f" and self.targets.ndim == 2
        targets = self.targets[:, rows] if every_step else self.targets[rows]
        return Examples(self.inputs[:, rows], targets)


class MemoryTask(Task[OptionsT, SequenceModel, Examples, "Predictor"]):
    """A sequence in, an answer out; squared error for numbers, cross-entropy for classes.

    Attributes:
        input_size: I, numbers per step.
        output_size: O, numbers or classes to answer with.
        every_step: whether there is an answer at each step or one after the last.
        counted: what share of the answers is reported as right.
        held_out: examples to validate on, in parts; `load` sets it.
    """

    input_size: ClassVar[int]
    output_size: ClassVar[int]
    every_step: ClassVar[bool] = False
    counted: ClassVar[str]
    held_out: Sequence[Examples]

    @classmethod
    @abstractmethod
    def encode(cls, options: OptionsT, raw: Array) -> Array:
        """Returns the inputs (T, B, I) float32 that stand for raw data as a user has them."""

    @classmethod
    @abstractmethod
    def decode(cls, outputs: Array) -> Array:
        """Returns the answers in what the model puts out: (B, O) or, every_step, (T, B, O)."""

    @classmethod
    @abstractmethod
    def right(cls, outputs: Array, targets: Array) -> Array:
        """Returns which answers are right, bool in the shape of `decode`."""

    def check_sources(self, sources: Sequence[Path]) -> None:
        """Raises ValueError if there are any: these tasks bring their data along."""
        if sources:
            raise ValueError(
                f"the task {self.name!r} brings its own data and takes no files, "
                f"got {', '.join(map(str, sources))}"
            )

    def build(self, rng: np.random.Generator) -> SequenceModel:
        """Recurrent layers and a linear map."""
        options = self.options
        return SequenceModel(
            self.input_size,
            self.output_size,
            hidden_size=options.hidden,
            num_layers=options.layers,
            cell=CELLS[options.cell],
            every_step=self.every_step,
            init=chrono(len(self.held_out[0].inputs)) if options.init == "chrono" else options.init,
            rng=rng,
        )

    def loss(
        self, model: SequenceModel, batch: Examples, carry: Carry, rng: np.random.Generator
    ) -> LossAndPullback:
        """Squared error or cross-entropy; every sequence starts from a state of zero."""
        outputs, pullback = model.vjp(batch.inputs)
        (loss, count), loss_pullback = _loss_vjp(outputs, batch.targets)

        def pull(dloss: float) -> None:
            pullback(loss_pullback(dloss), needs_dx=False)

        return (loss, count, None), pull

    def validate(self, model: SequenceModel) -> float:
        """Scores all held-out sequences."""
        return self.scores(model)[0]

    def scores(self, model: SequenceModel) -> tuple[float, float]:
        """Returns the mean held-out loss and the share of answers that are right, 0..1."""
        total, targets, right = 0.0, 0, []
        for part in self.held_out:
            outputs = move(model(part.inputs), "cpu")
            (loss, count), _ = _loss_vjp(outputs, part.targets)
            total, targets = total + loss * count, targets + count
            right.append(self.right(outputs, part.targets).mean())
        return total / targets, float(np.mean(right))

    def gradient_flow(self, model: SequenceModel) -> Mapping[str, Array]:
        """The flow back from the loss of the last answer, over some of the held-out sequences."""
        part = self.held_out[0]
        hidden, _ = model.rnn(part.inputs)
        targets = part.targets[-1] if self.every_step else part.targets
        _, pullback = _loss_vjp(model.head(hidden[-1]), targets)
        dhidden = np.zeros_like(hidden)
        dhidden[-1] = pullback(1.0) @ model.head.parameters["weight"]
        return gradient_flow(model.rnn, part.inputs, dhidden)

    def assets(self, model: SequenceModel) -> dict[str, Any]:
        """The architecture."""
        return {"model": model.config}

    @classmethod
    def restore(
        cls, options: OptionsT, assets: Mapping[str, Any], weights: Mapping[str, Array]
    ) -> "Predictor":
        """The model, ready for raw data."""
        model = SequenceModel.from_parameters(assets["model"], weights)
        return Predictor(model, options, cls)

    def report(self, trained: "Predictor", path: Path | None) -> Iterator[str]:
        """How many answers are right, and what to type next."""
        yield f"right      {self.scores(trained.model)[1]:.1%} of {self.counted}"
        if path is not None:
            yield "next"
            yield f"    unrolled evaluate {self.name} {path}"
            yield f"    unrolled compare {self.name} --cells rnn,lstm,gru"

    def evaluate(
        self,
        trained: "Predictor",
        sources: Sequence[Path],
        details: bool,
        precision: functional.Precision,
    ) -> Iterator[str]:
        """The score of the held-out sequences; with details each answer too."""
        self.check_sources(sources)
        yield self.load()
        with trained.model.in_precision(precision):
            if details:
                yield from self._answers(trained.model)
            loss, share = self.scores(trained.model)
        line = (
            f"{self.metric.text(loss)} {self.metric.name}, {share:.1%} of {self.counted}, held out"
        )
        if precision != "full":
            exact_loss, _ = self.scores(trained.model)
            line += f", in {precision} {loss / exact_loss - 1:+.2%} of the loss"
        yield line

    def _answers(self, model: SequenceModel) -> Iterator[str]:
        """Yields a line for each held-out sequence: what was answered, and whether it is right."""
        for part in self.held_out:
            outputs = model(part.inputs)
            right = self.right(outputs, part.targets)
            for answer, hit in zip(self.decode(outputs).T, right.T, strict=True):
                yield f"{'right' if np.all(hit) else 'wrong'}  {answer}"


class GeneratedTask(MemoryTask[OptionsT]):
    """A task whose sequences are made as they are needed, so that none is seen twice."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        """Returns so many new sequences."""

    def load(self) -> str:
        """Makes the held-out sequences, the same ones for every seed."""
        self.check_sources(self.sources)
        self.held_out = [
            self.draw(counter_rng(0, _HELD_OUT, number), _PART) for number in range(_HELD_OUT_PARTS)
        ]
        return (
            f"new sequences of {len(self.held_out[0].inputs):,} steps all the time, "
            f"{_HELD_OUT_PARTS * _PART:,} held out"
        )

    def batches(self, rng: np.random.Generator) -> IndexedBatches[Examples]:
        """New sequences that follow from the seed and the number of the update."""
        options = self.options

        def make(number: int) -> Examples:
            rng = counter_rng(options.seed, _TRAINING, number)
            return self.draw(rng, options.batch).share(self.group)

        return IndexedBatches(
            make,
            per_epoch=-(-_EPOCH_SEQUENCES // options.batch),
        )


@dataclass(frozen=True)
class Predictor:
    """A trained model that takes raw data.

    Attributes:
        model: the network.
        options: how it was trained.
        task: knows what stands for what.
    """

    model: SequenceModel
    options: MemoryOptions
    task: type[MemoryTask[Any]]

    def __call__(self, raw: Array) -> Array:
        """Returns the answers for raw data; see `encode` and `decode` of the task."""
        return self.task.decode(self.model(self.task.encode(self.options, raw)))


def _loss_vjp(outputs: Array, targets: Array) -> tuple[tuple[float, int], Callable[[float], Array]]:
    """Mean squared error for numbers, cross-entropy for classes; see training/_losses.py."""
    if targets.dtype.kind == "f":
        return mse_vjp(outputs, targets)
    score, pullback = cross_entropy_vjp(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))
    return score, lambda dloss: pullback(dloss).reshape(outputs.shape)
