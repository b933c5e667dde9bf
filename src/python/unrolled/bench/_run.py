"""Running a suite."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from .. import functional
from ._chart import draw
from ._contender import Contender, UnavailableError
from ._machine import ForeignLoad, describe_machine
from ._ours import Ours
from ._peers import PEERS
from ._problem import TRAINING, Problem, check
from ._report import Case, Report, write_section
from ._roofline import Roofline, better, measure_roofline
from ._suites import SUITES
from ._timing import measure, wait_until_quiet

Progress = Callable[[int, int, str], None]
"""Called before each case with (cases done, cases in all, what comes next)."""


def run(
    suite: str = "quick",
    *,
    threads: int | None = None,
    cells: Iterable[str] | None = None,
    seconds: float | None = None,
    peers: bool = True,
    json: str | os.PathLike[str] | None = None,
    markdown: str | os.PathLike[str] | None = None,
    png: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measures every case of a suite: ours beside the installed peers.

    Args:
        suite: a name in `SUITES`.
        threads: for us and every peer; None = `functional.get_num_threads()`.
        cells: names of `functional.cells()`; None = the suite's own.
        seconds: the budget of a case, None = the suite's own; five rounds are the least.
        peers: whether to measure peers at all.
        json, markdown, png: where to write the report; a Markdown file keeps its other sections.
        progress: told about every case; see `Progress`.

    Returns:
        The report; `print(report.text())` shows it.

    Raises:
        ValueError: an unknown suite or cell, or threads below 1.
        ArithmeticError: a result is wrong, ours or a peer's.
        ImportError: a picture is wanted and matplotlib is missing.
    """
    if suite not in SUITES:
        raise ValueError(f"[bench] expected a suite among {', '.join(SUITES)}, got {suite!r}")
    plan = SUITES[suite]
    chosen = plan.cells if cells is None else tuple(cells)
    for cell in chosen:
        functional.cell_info(cell)
    started = time.perf_counter()
    machine, foreign = describe_machine(), ForeignLoad()
    before = functional.get_num_threads()
    threads = before if threads is None else threads
    functional.set_num_threads(threads)
    skipped: dict[str, str] = {}
    cases: list[Case] = []
    try:
        roofline = measure_roofline(threads)
        work = [(m, c, s) for m in plan.modes for c in chosen for s in plan.shapes]
        for mode, cell, shape in work:
            if progress is not None:
                progress(len(cases), len(work), f"{cell} {mode} {shape}")
            problem = Problem.random(cell, mode, shape)
            contenders = _contenders(problem, threads, skipped, peers=peers)
            cases.append(
                _measure(problem, contenders, plan.seconds if seconds is None else seconds)
            )
        wait_until_quiet()
        roofline = better(roofline, measure_roofline(threads))
    finally:
        functional.set_num_threads(before)
    options = ([] if cells is None else [f"--cells {','.join(chosen)}"]) + (
        [] if seconds is None else [f"--seconds {seconds:g}"]
    )
    report = Report(
        suite=suite,
        command=" ".join([f"unrolled bench {suite} --threads {threads}", *options]),
        date=time.strftime("%Y-%m-%d %H:%M"),
        seconds=time.perf_counter() - started,
        foreign_cpus=foreign.cpus(),
        machine=machine,
        roofline=roofline,
        cases=tuple(_with_roofline(case, roofline) for case in cases),
        skipped=skipped,
    )
    if json is not None:
        Path(json).write_text(report.json(), encoding="utf-8")
    if markdown is not None:
        write_section(markdown, f"{suite}, {threads} threads", report.markdown())
    if png is not None:
        draw(report, png)
    return report


def _contenders(
    problem: Problem, threads: int, skipped: dict[str, str], *, peers: bool
) -> list[Contender]:
    """Ours and every peer that can do the problem; `skipped` learns who is missing and why."""
    contenders: list[Contender] = [Ours(problem, threads)]
    for peer in PEERS if peers else ():
        if peer.name in skipped:
            continue
        try:
            contenders.append(peer(problem, threads))
        except (ImportError, UnavailableError) as error:
            skipped[peer.name] = str(error)
        except NotImplementedError:
            continue  # this problem only; the table shows a dash
    return contenders


def _measure(problem: Problem, contenders: list[Contender], seconds: float) -> Case:
    errors = check(problem, {contender.name: contender.outputs for contender in contenders})
    timings = measure({contender.name: contender.run for contender in contenders}, seconds=seconds)
    return Case(
        cell=problem.cell,
        mode=problem.mode,
        shape=problem.shape,
        operations=problem.operations,
        roofline_seconds=0.0,  # known when the roofline was measured for the last time
        timings=timings,
        errors=errors,
    )


def _with_roofline(case: Case, roofline: Roofline) -> Case:
    gates = len(functional.cell_info(case.cell).gates)
    training = case.mode == TRAINING
    return replace(case, roofline_seconds=roofline.seconds(gates, case.shape, training=training))
