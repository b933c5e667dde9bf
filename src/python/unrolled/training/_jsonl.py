"""A log that programs read: one JSON object a line."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ._callbacks import Update
from ._history import Point
from ._metrics import Metric
from ._statistics import Statistics
from ._summaries import Summarizer, Summary

if TYPE_CHECKING:
    from ._loop import Trainer

#: How every log begins.
_BEGIN = '{"event": "run"'


class JsonLog(Summarizer):
    """Writes what happens in a run, each line as soon as it is known.

    Each line is an object whose `event` says what the others of its keys mean:

    * `run`: a run began, or went on after update `step`: `started` (UTC), `metric` and what `run`
      says.
    * `update`: a `Summary`: updates since the `update` line before, about a thousand in a run.
    * `statistics`: the newest `Measurement` of `statistics`.
    * `validation`: `step`, `seconds`, `loss`, `score` in the metric, `error` (the part of answers
      that is wrong; null where it is not measured) and whether it is the `best`.
    * `end`: the `reason` ("finished", "stopped early", "stopped" by Ctrl-C, or "failed" with an
      `error`), `best_loss`.
    * `score`: after the end, the best model's `loss` and `score` on all held-out data (`scored`).

    It is strict JSON: a number that is not finite becomes null. A resumed run takes over what the
    log says up to the update that it goes on from and drops the rest, so that nothing stands there
    twice.

    Args:
        path: where to; the folder must exist. A new run replaces a log of that name.
        metric: the score.
        run: JSON-able values about the run: its task, options, machine, versions, ...
        earlier: where a resumed run has its log from; default: `path`.
        statistics: measurements to write; it stands before this one among the callbacks. A resumed
            run gives it those of before.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: there is a file of that name which is not such a log.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        metric: Metric,
        run: Mapping[str, Any],
        *,
        earlier: str | os.PathLike[str] | None = None,
        statistics: Statistics | None = None,
    ) -> None:
        super().__init__()
        self._path = Path(path)
        self._earlier = self._path if earlier is None else Path(earlier)
        self._metric = metric
        self._run = run
        self._statistics = statistics
        self._file: TextIO | None = None
        _check_place(self._path)

    def started(self, trainer: Trainer[Any]) -> None:
        """Begins the log, or goes on with it."""
        super().started(trainer)
        self._outer_error = sys.exc_info()[1]
        kept = _lines_up_to(self._earlier, trainer.steps) if trainer.steps else []
        if self._statistics is not None:
            self._statistics.load(line for line in kept if line["event"] == "statistics")
        partial = self._path.with_name(f".{self._path.name}.partial")
        partial.write_text("".join(_line(values) for values in kept), encoding="utf-8")
        os.replace(partial, self._path)
        self._file = self._path.open("a", encoding="utf-8", buffering=1)  # flushes each line
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._write("run", step=trainer.steps, started=now, metric=self._metric.name, **self._run)

    def summarized(self, trainer: Trainer[Any], summary: Summary) -> None:
        """Writes an `update` line."""
        self._write("update", **asdict(summary))

    def updated(self, trainer: Trainer[Any], update: Update) -> None:
        """Writes a `statistics` line if this update was measured."""
        super().updated(trainer, update)
        if self._statistics is not None:
            measurement = self._statistics.of(update)
            if measurement is not None:
                self._write("statistics", **measurement.to_json())

    def validated(self, trainer: Trainer[Any], point: Point, best: bool) -> None:
        """Writes a `validation` line."""
        score = self._metric.from_loss(point.loss)
        self._write("validation", **asdict(point), score=score, best=best)

    def ended(self, trainer: Trainer[Any]) -> None:
        """Writes the `end` line."""
        if self._file is None:  # something before this callback failed to start
            return
        super().ended(trainer)
        error = sys.exc_info()[1]
        if error is self._outer_error:
            error = None
        reason = "stopped" if trainer.stopped else "finished"
        reason = "stopped early" if trainer.stopped_early else reason
        self._write(
            "end",
            step=trainer.steps,
            epoch=trainer.batches.epoch,
            seconds=trainer.seconds,
            reason=reason if error is None else "failed",
            error=None if error is None else f"{type(error).__name__}: {error}",
            best_loss=trainer.best_loss,
        )
        self._file.close()
        self._file = None

    def scored(self, trainer: Trainer[Any], loss: float) -> None:
        """Writes a `score` line; for whoever scores the best model once the run has ended.

        Args:
            trainer: after its run.
            loss: mean loss on all held-out data.
        """
        values = {"step": trainer.steps, "loss": loss, "score": self._metric.from_loss(loss)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line({"event": "score", **values}))

    def _write(self, event: str, **values: Any) -> None:
        assert self._file is not None
        self._file.write(_line({"event": event, **values}))


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(_finite(values), allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """Returns JSON-able values with None for every number that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _check_place(path: Path) -> None:
    """Keeps a run from replacing somebody's data, which .jsonl files often are."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"[JsonLog] there is no folder {path.parent}")
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            begin = file.read(len(_BEGIN))
        if begin and begin != _BEGIN:
            raise ValueError(
                f"{path} is no log of a training run and would be replaced by one; move it, or "
                "choose another output"
            )


def _lines_up_to(path: Path, step: int) -> list[dict[str, Any]]:
    """Returns what a log says up to update `step`, but for an end; nothing if there is no log.

    Lines that cannot be read are left out: a run that is killed leaves half a line.
    """
    if not path.is_file():
        return []
    kept = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if line["event"] not in ("end", "score") and line["step"] <= step:
            kept.append(line)
    return kept
