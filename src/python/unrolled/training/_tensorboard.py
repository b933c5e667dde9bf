"""Event files for TensorBoard."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .._extras import import_extra
from ._callbacks import Update
from ._history import Point
from ._metrics import Metric
from ._statistics import Statistics
from ._summaries import Summarizer, Summary

if TYPE_CHECKING:
    from ._loop import Trainer


class TensorBoard(Summarizer):
    """Writes curves for TensorBoard: `tensorboard --logdir FOLDER` shows them while a run goes on.

    Tags: `train/loss`, `train/grad_norm`, `train/lr`, `train/rate` (targets per second),
    `validation/loss` and `validation/score`; with statistics also `grad_norm/NAME` and
    `update_ratio/NAME` for each parameter. The horizontal axis is updates made.

    Args:
        folder: where to, one for each run; what an earlier run wrote there beyond the update that
            this one begins at is no longer shown.
        metric: the score.
        statistics: measurements to write; it stands before this one among the callbacks.

    Raises:
        ImportError: tensorboardX is not installed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        metric: Metric,
        *,
        statistics: Statistics | None = None,
    ) -> None:
        super().__init__()
        self._module = import_extra("tensorboardX", "tensorboard")
        self._folder = os.fspath(folder)
        self._metric = metric
        self._statistics = statistics
        self._writer: Any = None

    def started(self, trainer: Trainer[Any]) -> None:
        """Opens a new event file; TensorBoard reads those of a folder as one."""
        super().started(trainer)
        # The suffix keeps parts of a run that begin in the same second apart.
        self._writer = self._module.SummaryWriter(
            self._folder,
            purge_step=trainer.steps + 1,
            flush_secs=5,
            filename_suffix=f".{os.getpid()}.{trainer.steps}",
        )

    def summarized(self, trainer: Trainer[Any], summary: Summary) -> None:
        """Writes the curves of training."""
        if summary.skipped < summary.updates:
            self._write("train/loss", summary.loss, summary.step)
            self._write("train/grad_norm", summary.grad_norm, summary.step)
        self._write("train/lr", summary.lr, summary.step)
        self._write("train/rate", summary.rate, summary.step)

    def updated(self, trainer: Trainer[Any], update: Update) -> None:
        """Writes the statistics of each parameter if this update was measured."""
        super().updated(trainer, update)
        measurement = None if self._statistics is None else self._statistics.of(update)
        if measurement is None:
            return
        for name, parameter in measurement.parameters.items():
            self._write(f"grad_norm/{name}", parameter.grad_norm, update.step)
            if parameter.update_ratio is not None:
                self._write(f"update_ratio/{name}", parameter.update_ratio, update.step)

    def validated(self, trainer: Trainer[Any], point: Point, best: bool) -> None:
        """Writes the score."""
        self._write("validation/loss", point.loss, point.step)
        self._write("validation/score", self._metric.from_loss(point.loss), point.step)
        if point.error is not None:
            self._write("validation/error", point.error, point.step)

    def ended(self, trainer: Trainer[Any]) -> None:
        """Closes the file."""
        if self._writer is None:  # something before this callback failed to start
            return
        super().ended(trainer)
        self._writer.close()
        self._writer = None

    def _write(self, tag: str, value: float, step: int) -> None:
        self._writer.add_scalar(tag, value, step)
