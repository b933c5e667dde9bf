"""The page about one run, for people: what was run, what came of it, and how to go on."""

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from unrolled.training import Measurement, Metric, ParameterStatistics, Trainer, clock

from . import _html_page as html
from ._run_facts import RunFacts


@dataclass(frozen=True)
class Picture:
    """A PNG file, and what it shows."""

    name: str
    path: Path


def write_report(
    path: str | os.PathLike[str],
    facts: RunFacts,
    trainer: Trainer[Any],
    checkpoint: Path,
    *,
    ending: str,
    loss: float | None,
    samples: Sequence[str],
    pictures: Sequence[Picture],
    measurements: Sequence[Measurement],
) -> None:
    """Writes the page: one file that needs no other.

    Args:
        path: where to.
        facts: about the run.
        trainer: after its run.
        checkpoint: where the run is saved.
        ending: why it ended, in words.
        loss: mean loss on all held-out data, if it was scored.
        samples: the lines of `Task.report`.
        pictures: shown in this order.
        measurements: statistics of the parameters, if they were measured.
    """
    title = f"unrolled train {facts.task.name}"
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    sections = [
        html.section("Result", *_result(facts.task.metric, trainer, loss)),
        *(_picture(picture) for picture in pictures),
        *_samples(samples),
        *_validations(facts.task.metric, trainer),
        *_statistics(measurements),
        html.section("What was run", *_what_was_run(facts)),
        *_how_to_go_on(facts, trainer, checkpoint),
    ]
    html.write_page(path, title, f"{ending}, {now}", sections)


def _result(metric: Metric, trainer: Trainer[Any], loss: float | None) -> Iterator[html.Html]:
    speed = trainer.targets / max(trainer.seconds, 1e-9)
    scores = []
    if loss is not None:
        scores.append((f"held out, {metric.name}", metric.text(loss)))
    elif trainer.best_loss is not None:
        scores.append((f"best validation, {metric.name}", metric.text(trainer.best_loss)))
    yield html.facts(
        [
            *scores,
            ("updates", f"{trainer.steps:,}"),
            ("epochs", f"{trainer.batches.epoch:.1f}"),
            ("time", clock(trainer.seconds)),
            (f"{metric.unit}/s with validation", f"{speed:,.0f}"),
        ]
    )
    skipped = trainer.skipped
    if skipped:
        yield html.paragraph(
            f"{skipped:,} of {trainer.steps:,} updates were skipped: their loss or gradients were "
            "not finite. A lower learning rate usually helps."
        )


def _picture(picture: Picture) -> html.Html:
    content = html.picture(picture.path.read_bytes(), picture.name)
    return html.section(picture.name.capitalize(), content)


def _samples(lines: Sequence[str]) -> Iterator[html.Html]:
    if lines:
        yield html.section("Samples", html.preformatted("\n".join(lines)))


def _validations(metric: Metric, trainer: Trainer[Any]) -> Iterator[html.Html]:
    points = trainer.history.validation
    if points:
        best = len(points) - 1 - trainer.history.validations_since_best()
        rows = [
            (
                f"{point.step:,}",
                clock(point.seconds),
                f"{point.loss:.4f}",
                metric.text(point.loss) + (" (best)" if index == best else ""),
            )
            for index, point in enumerate(points)
        ]
        header = ("update", "time", "loss", metric.name)
        yield html.section("Validations", html.table(rows, header))


def _statistics(measurements: Sequence[Measurement]) -> Iterator[html.Html]:
    if measurements:
        rows = [
            _medians(name, [measurement.parameters[name] for measurement in measurements])
            for name in measurements[0].parameters
        ]
        header = ("parameter", "gradient", "zeros in it", "values", "update", "update / values")
        text = f"Norms, each the median of {len(measurements):,} measurements."
        yield html.section("Parameters", html.paragraph(text), html.table(rows, header))


def _medians(name: str, measured: Sequence[ParameterStatistics]) -> tuple[str, ...]:
    ratios = [m.update_ratio for m in measured if m.update_ratio is not None]
    return (
        name,
        f"{median(m.grad_norm for m in measured):.2e}",
        f"{median(m.zeros for m in measured):.1%}",
        f"{median(m.value_norm for m in measured):.2e}",
        f"{median(m.update_norm for m in measured):.2e}",
        f"{median(ratios):.2e}" if ratios else "",
    )


def _what_was_run(facts: RunFacts) -> Iterator[html.Html]:
    yield html.preformatted(facts.command)
    model = facts.model
    yield html.table(
        [
            ("data", facts.data),
            ("model", f"{model['kind']}, {model['parameters']:,} parameters, {model['dtype']}"),
            *((name, version) for name, version in facts.versions.items()),
            *((name, str(value)) for name, value in facts.machine.items()),
        ]
    )
    options = asdict(facts.task.options).items()
    rows = [
        (name.replace("_", " "), "" if value is None else str(value)) for name, value in options
    ]
    yield html.folded("All options", html.table(rows))


def _how_to_go_on(facts: RunFacts, trainer: Trainer[Any], checkpoint: Path) -> Iterator[html.Html]:
    command = ["unrolled", "train", facts.task.name, "--resume", str(checkpoint)]
    if trainer.fraction >= 1.0:
        name, value = trainer.budget.limit
        command += [f"--{name}", str(2 * value)]
        text = f"The {name} count from the beginning of the run:"
    elif trainer.stopped or trainer.stopped_early:
        text = "The run goes on where it ended, as if it had never stopped:"
    else:
        return  # it would only fail again
    yield html.section("How to go on", html.paragraph(text), html.preformatted(shlex.join(command)))
