"""How a training run shows where it is: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from .._extras import import_extra
from ._history import Point
from ._metrics import Metric


@dataclass(frozen=True)
class Status:
    """Where a training run is.

    Attributes:
        step: updates made.
        epoch: times gone through the data.
        fraction: part of the budget used, 0..1.
        seconds_left: estimate, None before there is one.
        loss: training loss, smoothed; None before there is one.
        rate: targets per second; None before it is known.
    """

    step: int
    epoch: float
    fraction: float
    seconds_left: float | None
    loss: float | None
    rate: float | None


class Progress(Protocol):
    """What the training loop tells; every method must return quickly."""

    def update(self, status: Status) -> None:
        """Called a few times per second."""

    def validated(self, status: Status, point: Point, best: bool) -> None:
        """Called after each validation; `best`: no earlier one was better."""

    def skipped(self, status: Status, loss: float, grad_norm: float) -> None:
        """Called after an update that changed nothing, its loss or gradients not being finite."""

    def close(self) -> None:
        """Called once, when the run ends for whatever reason."""


class SilentProgress:
    """Shows nothing."""

    def update(self, status: Status) -> None:
        """Does nothing."""

    def validated(self, status: Status, point: Point, best: bool) -> None:
        """Does nothing."""

    def skipped(self, status: Status, loss: float, grad_norm: float) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class PlainProgress:
    """Writes a line now and then.

    Args:
        metric: unit of the losses.
        stream: where to; default standard error.
        every_seconds: time between two lines.
    """

    def __init__(
        self, metric: Metric, stream: TextIO | None = None, *, every_seconds: float = 10.0
    ) -> None:
        self._metric = metric
        self._stream = sys.stderr if stream is None else stream
        self._every = every_seconds
        self._last = -every_seconds

    def update(self, status: Status) -> None:
        """Writes a line if the last is old enough."""
        if time.monotonic() - self._last >= self._every:
            self._write(f"{_head(status)}  {describe(status, self._metric)}")

    def validated(self, status: Status, point: Point, best: bool) -> None:
        """Writes the score."""
        self._write(_validation(status, self._metric, point, best))

    def skipped(self, status: Status, loss: float, grad_norm: float) -> None:
        """Writes what was skipped."""
        self._write(_skipped(status, loss, grad_norm))

    def close(self) -> None:
        """Does nothing."""

    def _write(self, line: str) -> None:
        self._last = time.monotonic()
        print(line, file=self._stream, flush=True)


class RichProgress:
    """Draws a live bar on a terminal.

    Args:
        metric: unit of the losses.

    Raises:
        ImportError: rich is not installed.
    """

    def __init__(self, metric: Metric) -> None:
        rich: Any = import_extra("rich.progress", "train")
        console = import_extra("rich.console", "train").Console(stderr=True)
        self._metric = metric
        self._bar = rich.Progress(
            rich.TextColumn("{task.percentage:>3.0f}%"),
            rich.BarColumn(bar_width=16),  # all fits into 80 columns
            rich.TextColumn("{task.description}", markup=False),
            console=console,
        )
        self._task = self._bar.add_task("starting", total=1.0)
        self._bar.start()

    def update(self, status: Status) -> None:
        """Redraws the bar."""
        self._bar.update(
            self._task, completed=status.fraction, description=describe(status, self._metric)
        )

    def validated(self, status: Status, point: Point, best: bool) -> None:
        """Writes the score above the bar."""
        self._bar.console.print(_validation(status, self._metric, point, best), highlight=False)

    def skipped(self, status: Status, loss: float, grad_norm: float) -> None:
        """Writes what was skipped above the bar."""
        self._bar.console.print(_skipped(status, loss, grad_norm), highlight=False)

    def close(self) -> None:
        """Leaves the last state of the bar on the screen."""
        self._bar.stop()


def make_progress(metric: Metric) -> Progress:
    """Returns a live bar where standard error is a terminal and rich is installed, else lines."""
    if not sys.stderr.isatty():
        return PlainProgress(metric)
    try:
        return RichProgress(metric)
    except ImportError:
        return PlainProgress(metric)


def describe(status: Status, metric: Metric) -> str:
    """Returns loss, speed and time left as one line."""
    parts = []
    if status.loss is not None:
        parts += [f"loss {status.loss:.3f}", f"{metric.text(status.loss)} {metric.short}"]
    if status.rate is not None:
        parts.append(f"{status.rate:,.0f} {metric.unit}/s")
    if status.seconds_left is not None:
        parts.append(f"{clock(status.seconds_left)} left")
    return "  ".join(parts)


def clock(seconds: float) -> str:
    """Returns a duration as 1:02:03 or 2:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _validation(status: Status, metric: Metric, point: Point, best: bool) -> str:
    text = f"held out {metric.text(point.loss)} {metric.name}"
    text += "" if point.error is None else f", {point.error:.2%} wrong"
    return f"{_head(status)}  {text}{' (best)' if best else ''}"


def _skipped(status: Status, loss: float, grad_norm: float) -> str:
    return f"{_head(status)}  skipped: loss {loss}, gradient norm {grad_norm}"


def _head(status: Status) -> str:
    return f"{status.fraction:4.0%}  update {status.step:,}"
