"""What a run leaves beside its checkpoint: a log, pictures, and a page to read."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from unrolled.layers import Layer
from unrolled.training import (
    Callback,
    JsonLog,
    Statistics,
    TensorBoard,
    Trainer,
    plot_loss_curve,
    plot_statistics,
)

from ._report_page import Picture, write_report
from ._run_facts import RunFacts
from ._task import Task


class NoReports:
    """The reports of a process that leaves them to another."""

    callbacks: Sequence[Callback] = ()

    def write(
        self,
        trainer: Trainer[Any],
        ending: str,
        *,
        loss: float | None = None,
        samples: Sequence[str] = (),
        drawings: Iterable[tuple[str, Path]] = (),
    ) -> list[str]:
        """Writes nothing; see `Reports.write`."""
        return []


class Reports(NoReports):
    """The reports of one run: what its options ask for, and where they go.

    Beside `lm.safetensors` go `lm.jsonl` (as the run goes on), and when it ends `lm.png`,
    `lm-statistics.png` (with statistics) and `lm.html`.

    Args:
        task: with its data loaded.
        model: what it trains.
        data: the line about the data.
        target: the checkpoint, None = there is none, and so no files beside it.
        earlier: the checkpoint that the run goes on from, if it does.

    Attributes:
        callbacks: what makes them; for the trainer.

    Raises:
        ImportError: TensorBoard's files are wanted, and tensorboardX is not installed.
        ValueError: statistics are wanted, and there is no place for them, or the log would replace
            something else.
    """

    def __init__(
        self,
        task: Task[Any, Any, Any, Any],
        model: Layer,
        data: str,
        *,
        target: Path | None,
        earlier: Path | None = None,
    ) -> None:
        options, metric = task.options, task.metric
        if options.statistics and target is None and options.tensorboard is None:
            raise ValueError("statistics go beside the checkpoint: give an output")
        self._target = target
        self._log: JsonLog | None = None
        self._statistics = Statistics() if options.statistics else None
        # Statistics first: the others write what they have measured.
        callbacks: list[Callback] = [] if self._statistics is None else [self._statistics]
        self.callbacks = callbacks
        if target is not None:
            self._facts = RunFacts.gather(task, model, data)
            self._log = JsonLog(
                target.with_suffix(".jsonl"),
                metric,
                self._facts.to_json(),
                earlier=None if earlier is None else earlier.with_suffix(".jsonl"),
                statistics=self._statistics,
            )
            callbacks.append(self._log)
        if options.tensorboard is not None:
            board = TensorBoard(options.tensorboard, metric, statistics=self._statistics)
            callbacks.append(board)

    def write(
        self,
        trainer: Trainer[Any],
        ending: str,
        *,
        loss: float | None = None,
        samples: Sequence[str] = (),
        drawings: Iterable[tuple[str, Path]] = (),
    ) -> list[str]:
        """Writes score, pictures and page; returns a line about each file.

        Args:
            trainer: after its run.
            ending: why it ended, in words.
            loss: mean loss of the best model on all held-out data, if it was scored.
            samples: the lines of `Task.report`.
            drawings: the pictures of `Task.pictures`, drawn as they are asked for.
        """
        if self._target is None or self._log is None:
            return []
        if loss is not None:
            self._log.scored(trainer, loss)
        measurements = () if self._statistics is None else self._statistics.measurements
        pictures: list[Picture] = []
        try:
            pictures.extend(self._draw(trainer, self._target))
            pictures.extend(Picture(*drawing) for drawing in drawings)
            lines = [f"{picture.name:10} {picture.path}" for picture in pictures]
        except ImportError as error:
            lines = [f"no pictures: {error}"]
        page = self._target.with_suffix(".html")
        write_report(
            page,
            self._facts,
            trainer,
            self._target,
            ending=ending,
            loss=loss,
            samples=samples,
            pictures=pictures,
            measurements=measurements,
        )
        return [*lines, f"report     {page}"]

    def _draw(self, trainer: Trainer[Any], target: Path) -> Iterator[Picture]:
        """Draws what there is to draw."""
        task = self._facts.task
        title = f"unrolled train {task.name}"
        path = target.with_suffix(".png")
        plot_loss_curve(path, trainer.history, task.metric, title=title)
        yield Picture("loss curve", path)
        if self._statistics is not None and self._statistics.measurements:
            path = target.with_name(f"{target.stem}-statistics.png")
            plot_statistics(path, self._statistics.measurements, title=title)
            yield Picture("statistics", path)
