"""Running a suite."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import functional
from ._case import Case
from ._contender import Contender, UnavailableError
from ._machine import ForeignLoad, describe_machine
from ._problem import OURS, Problem, check, library
from ._report import Report, write_section
from ._roofline import Roofline, better, measure_roofline
from ._suite import Suite, Trial
from ._timing import measure, wait_until_quiet
from .suites import SUITES

Progress = Callable[[int, int, str], None]
"""Called before each case with (cases done, cases in all, what comes next)."""


def run(
    suite: str | Suite = "quick",
    *,
    threads: int | None = None,
    cells: Iterable[str] | None = None,
    only: str = "",
    seconds: float | None = None,
    peers: bool = True,
    json: str | os.PathLike[str] | None = None,
    markdown: str | os.PathLike[str] | None = None,
    png: str | os.PathLike[str] | None = None,
    roofline: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measures every case of a suite: ours beside the installed peers.

    Args:
        suite: a name in `SUITES`, or one of them with other sizes.
        threads: for us and every peer; None = `functional.get_num_threads()`.
        cells: names of `functional.cells()`; None = the suite's own.
        only: a part of the text of the wanted cases, as "server: gru" or "B16 H512"; "" = all.
        seconds: the budget of a case, None = the suite's own; it has a least number of rounds.
        peers: whether to measure peers at all.
        json, markdown, png: where to write the report; a Markdown file keeps its other sections.
        roofline: where to draw every case below the limits of the machine.
        progress: told about every case; see `Progress`.

    Returns:
        The report; `print(report.text())` shows it.

    Raises:
        ValueError: an unknown suite or cell, threads below 1, or no case left to measure.
        ArithmeticError: a result is wrong, ours or a peer's.
        ImportError: a picture is wanted and matplotlib is missing.
    """
    plan = _find(suite)
    chosen = plan.cells if cells is None else tuple(cells)
    for cell in chosen:
        functional.cell_info(cell)
    trials = [trial for trial in plan.trials(chosen) if only in trial.text]
    if not trials:
        raise ValueError(f"[bench] no case of {plan.name} with {only!r} and {', '.join(chosen)}")
    started = time.perf_counter()
    machine, foreign = describe_machine(), ForeignLoad()
    before = functional.get_num_threads()
    threads = before if threads is None else threads
    functional.set_num_threads(threads)
    skipped: dict[str, str] = {}
    measured: dict[object, Case] = {}
    try:
        limits = measure_roofline(threads)
        for done, trial in enumerate(trials):
            if progress is not None:
                progress(done, len(trials), trial.text)
            if trial.measurement not in measured:
                measured[trial.measurement] = _measure(
                    trial,
                    threads,
                    skipped,
                    peers=peers,
                    seconds=plan.seconds if seconds is None else seconds,
                    min_rounds=plan.min_rounds,
                )
        functional.set_num_threads(threads)
        wait_until_quiet()
        limits = better(limits, measure_roofline(threads))
    finally:
        functional.set_num_threads(before)
    options = [
        f"--threads {threads}",
        "" if cells is None else f"--cells {','.join(chosen)}",
        f'--only "{only}"' if only else "",
        "" if seconds is None else f"--seconds {seconds:g}",
        "" if peers else "--no-peers",
    ]
    report = Report(
        suite=plan.name,
        command=" ".join(["unrolled bench", plan.name, *filter(None, options)]),
        date=time.strftime("%Y-%m-%d %H:%M"),
        seconds=time.perf_counter() - started,
        foreign_cpus=foreign.cpus(),
        machine=machine,
        roofline=limits,
        cases=tuple(_shown(measured[trial.measurement], trial, limits) for trial in trials),
        skipped=skipped,
    )
    if json is not None:
        Path(json).write_text(report.json(), encoding="utf-8")
    if markdown is not None:
        section = f"{plan.name}, {threads} threads" + (f", {only}" if only else "")
        write_section(markdown, section, report.markdown())
    if png is not None:
        report.draw(png)
    if roofline is not None:
        report.draw_roofline(roofline)
    return report


def _find(suite: str | Suite) -> Suite:
    if isinstance(suite, Suite):
        return suite
    if suite not in SUITES:
        known = ", ".join(f"{plan.name} ({plan.help})" for plan in SUITES.values())
        raise ValueError(f"[bench] expected a suite among {known}; got {suite!r}")
    return SUITES[suite]


def _shown(case: Case, trial: Trial, limits: Roofline) -> Case:
    """The measurement under the name of one of the trials that it answers."""
    least = limits.seconds(case.work)
    return replace(case, group=trial.group, label=trial.label, roofline_seconds=least)


def _measure(
    trial: Trial,
    threads: int,
    skipped: dict[str, str],
    *,
    peers: bool,
    seconds: float,
    min_rounds: int,
) -> Case:
    """Checks and times everybody who can do the trial."""
    problem, condition = trial.problem(), trial.condition
    contenders = _contenders(trial, problem, condition.threads or threads, skipped, peers=peers)
    errors = check(problem, {contender.name: contender.outputs for contender in contenders})
    with _busy_processes(condition.neighbours):
        timings = measure(
            {contender.name: contender.run for contender in contenders},
            seconds=seconds,
            min_rounds=min_rounds,
        )
    return Case(
        group=trial.group,
        label=trial.label,
        cell=trial.cell,
        mode=trial.mode,
        shape=trial.shape,
        condition=condition.name,
        work=problem.work,
        roofline_seconds=0.0,  # known when the roofline was measured for the last time
        timings={name: timing.per(problem.units) for name, timing in timings.items()},
        errors=errors,
    )


def _contenders(
    trial: Trial, problem: Problem, threads: int, skipped: dict[str, str], *, peers: bool
) -> list[Contender[Any]]:
    """All who can do the problem; `skipped` learns which library is missing, and why."""
    contenders: list[Contender[Any]] = []
    for kind in trial.contenders:
        name = library(kind.name)
        if name in skipped or not (peers or name == OURS):
            continue
        try:
            contenders.append(kind(problem, threads))
        except (ImportError, UnavailableError) as error:
            skipped[name] = str(error)
        except NotImplementedError:
            continue  # this problem only; the table shows a dash
    return contenders


@contextmanager
def _busy_processes(count: int) -> Iterator[None]:
    """Keeps so many CPUs busy; the processes end with this one, however it ends."""
    code = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        if processes:
            time.sleep(0.1)  # until the interpreters have started
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
