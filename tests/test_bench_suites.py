"""Every suite of `unrolled bench` measures what it says, at tiny sizes; no time is asserted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import bench, functional
from unrolled.bench import SUITES, DeepBenchRow, Shape

pytestmark = pytest.mark.usefixtures("threads", "one_roofline")

SMALL = {
    "tiny": {},
    "quick": {"shapes": (Shape(3, 2, 5, 7),)},
    "peers": {"shapes": (Shape(3, 2, 5, 7), Shape(2, 1, 3, 3))},
    "deepbench": {
        "rows": (
            DeepBenchRow("training", "lstm", Shape(6, 2, 5, 5)),
            DeepBenchRow("training", "lstm", Shape(9, 2, 5, 5)),
            DeepBenchRow("server", "gru", Shape(2, 1, 3, 3)),
        ),
        "min_steps": 4,
        "max_operations": 1.0,
    },
    "streaming": {
        "hidden": (4, 5),
        "steps": 3,
        "text": bench.TextProblem(vocabulary=7, embedding=3, hidden=5, tokens=4),
    },
    "ragged": {"shape": Shape(6, 4, 3, 5), "shortest": 1},
    "precision": {"shapes": (Shape(6, 4, 3, 5),), "training_shapes": (Shape(3, 2, 5, 4),)},
    "scaling": {
        "cells": ("lstm",),
        "hidden": 3,
        "steps": (2, 4),
        "batches": (1, 2, 3),
        "steps_of_batches": 2,
        "busy_shapes": (Shape(2, 2, 3, 3),),
    },
}


def run(name: str, **options: Any) -> bench.Report:
    return bench.run(replace(SUITES[name], **SMALL[name]), seconds=0.001, **options)


@pytest.fixture(scope="module", params=SUITES)
def report(request: pytest.FixtureRequest, one_roofline: None) -> bench.Report:
    return run(request.param)


def test_every_case_is_checked_and_timed(report: bench.Report) -> None:
    for case in report.cases:
        assert case.errors.keys() == case.timings.keys()
        assert all(error <= 1.0 for error in case.errors.values())
        assert case.ours > 0.0
        assert case.roofline_seconds > 0.0
    assert bench.Report.from_json(report.json()) == report


def test_every_case_is_shown(report: bench.Report) -> None:
    for text in (report.text(), report.markdown()):
        assert all(case.label in text for case in report.cases)
    for table in report.tables():
        assert all(len(row) == len(table.header) for row in table.rows)


def test_pictures_are_drawn(report: bench.Report, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="a picture needs the extra [train]")
    report.draw(tmp_path / "chart.png")
    report.draw_roofline(tmp_path / "roofline.png")
    for name in ("chart.png", "roofline.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", SUITES)
def test_absent_peers_are_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torch", "onnxruntime", "onnx", "jax"):
        monkeypatch.setitem(sys.modules, module, None)
    report = run(name)
    contenders = {name for case in report.cases for name in case.timings}
    assert {name.partition(" ")[0] for name in contenders} == {"unrolled"}
    assert all(case.speedup is None for case in report.cases)
    for peer in report.skipped:
        assert f"{peer} left out" in report.text()
    assert report.text()


def test_a_part_of_a_suite(tmp_path: Path) -> None:
    path = tmp_path / "part.md"
    report = run("deepbench", only="server", peers=False, markdown=path)
    assert [case.cell for case in report.cases] == ["gru"]
    assert '--only "server"' in report.command
    assert "--no-peers" in report.command
    assert "server: gru, forward" in path.read_text(encoding="utf-8")


# Contenders --------------------------------------------------------------------------------------


def ready(kind: type[bench.Contender[Any]], problem: bench.Problem) -> bench.Contender[Any]:
    try:
        return kind(problem, functional.get_num_threads())
    except (ImportError, NotImplementedError, bench.UnavailableError) as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("kind", bench.ON_STEPS, ids=lambda kind: kind.name)
def test_steps_carry_the_state(kind: type[bench.Contender[Any]], narrow_cell: str) -> None:
    problem = bench.LayerProblem.random(narrow_cell, bench.STEP, Shape(5, 1, 3, 4))
    contender = ready(kind, problem)
    contender.run()  # and outputs begin anew all the same
    bench.check(problem, {contender.name: contender.outputs})
    assert problem.units == 5
    assert problem.work.tokens == 1


@pytest.mark.parametrize("mode", bench.MODES)
@pytest.mark.parametrize("kind", bench.ON_RAGGED_BATCHES, ids=lambda kind: kind.name)
def test_ragged_batches(kind: type[bench.Contender[Any]], mode: str, narrow_cell: str) -> None:
    lengths = np.array([2, 5, 1, 5, 3])
    problem = bench.LayerProblem.random(narrow_cell, mode, Shape(5, 5, 3, 4), lengths=lengths)
    contender = ready(kind, problem)
    bench.check(problem, {contender.name: contender.outputs})
    assert problem.work.tokens == 16


@pytest.mark.parametrize("mode", bench.MODES)
@pytest.mark.parametrize("kind", bench.IN_PRECISIONS, ids=lambda kind: kind.name)
def test_precisions(kind: type[bench.Contender[Any]], mode: str, narrow_cell: str) -> None:
    problem = bench.LayerProblem.random(narrow_cell, mode, Shape(5, 64, 48, 48), reduced=True)
    contender = ready(kind, problem)
    errors = bench.check(problem, {contender.name: contender.outputs})
    reduced = contender.name.partition(" ")[2] in ("bf16", "int8")
    assert (max(errors.values()) > 1e-3) == reduced
    with pytest.raises(ArithmeticError, match="differs"):
        bench.check(
            problem, {"wrong": lambda: {k: 1.2 * v for k, v in contender.outputs().items()}}
        )


def test_everybody_writes_the_same_text() -> None:
    problem = bench.TextProblem(vocabulary=11, embedding=3, hidden=8, tokens=12)
    ours = bench.OursText(problem, 1)
    torch = ready(bench.TorchText, problem)
    torch.run()
    assert len(ours.run()) == problem.units == 12
    bench.check(problem, {"unrolled": ours.outputs, "torch": torch.outputs})


def test_another_text_is_caught() -> None:
    problem = bench.TextProblem(vocabulary=11, embedding=3, hidden=8, tokens=12)
    text = bench.OursText(problem, 1).outputs()["text"]
    with pytest.raises(ArithmeticError, match=r"unrolled differs from .*: 2x8 E3 V11: text"):
        bench.check(problem, {"unrolled": lambda: {"text": (text + 1) % 11}})


# DeepBench ---------------------------------------------------------------------------------------


def test_deepbench_has_its_125_rows() -> None:
    rows = bench.DEEPBENCH
    assert len(set(rows)) == len(rows) == 125
    parts = [row.part for row in rows]
    assert [parts.count(part) for part in ("training", "server", "device")] == [53, 69, 3]


def test_every_row_of_deepbench_is_a_case() -> None:
    suite = SUITES["deepbench"]
    trials = list(suite.trials(suite.cells))
    assert len(trials) == 2 * 53 + 69 + 3
    assert len({trial.measurement for trial in trials}) < len(trials)


@pytest.mark.parametrize("row", bench.DEEPBENCH, ids=str)
def test_rows_are_sampled_by_their_steps_alone(row: DeepBenchRow) -> None:
    suite = SUITES["deepbench"]
    shape = suite.sampled(row)
    assert replace(shape, steps=row.shape.steps) == row.shape
    assert min(suite.min_steps, row.shape.steps) <= shape.steps <= row.shape.steps
    if shape.steps > suite.min_steps:
        gates = len(functional.cell_info(row.cell).gates)
        work = bench.layer_work(gates, shape, training=row.part == "training")
        assert work.operations <= suite.max_operations
    larger = replace(suite, max_operations=1e18, max_bytes=1e18)
    assert larger.sampled(row) == row.shape
    assert replace(suite, max_bytes=1.0).sampled(row).steps <= suite.min_steps


def test_sampled_rows_say_so_and_share_a_measurement() -> None:
    told: list[str] = []
    report = run("deepbench", peers=False, progress=lambda _, __, text: told.append(text))
    forward = [case for case in report.cases if case.group == "training: lstm, forward"]
    assert [case.label for case in forward] == ["T4 of 6 B2 H5", "T4 of 9 B2 H5"]
    assert forward[0].timings == forward[1].timings
    assert report.cases[-1].label == "T2 B1 H3"
    assert len(told) == len(report.cases) == 5


# Figures of the tables ---------------------------------------------------------------------------


def with_medians(case: bench.Case, **medians: float) -> bench.Case:
    """The case with other times; "_" stands for a blank in a name."""
    timing = case.timings["unrolled"]
    timings = {k.replace("_", " "): replace(timing, median=m) for k, m in medians.items()}
    return replace(case, timings=timings)


def columns(report: bench.Report, title: str) -> Iterator[dict[str, str]]:
    """The rows of a table, by their heading."""
    for table in report.tables():
        if table.title.startswith(title):
            for row in table.rows:
                yield dict(zip(table.header, row, strict=True))


def test_ragged_figures() -> None:
    report = run("ragged", peers=False, only="lstm")
    case = replace(report.cases[0], work=replace(report.cases[0].work, tokens=12))  # of 6 * 4
    times = {"unrolled": 1.1, "unrolled_padded": 2.0, "torch_packed": 4.4, "torch_sorted": 3.3}
    report = replace(report, cases=(with_medians(case, **times),))
    (row,) = columns(report, "ragged batch")
    assert row["filled"] == "50%"
    assert row["of linear"] == "1.10"
    assert row["over packed"] == "3.00x"
    assert row["torch padded"] == "-"
    assert report.cases[0].best_peer == "torch sorted"


def test_growth_figures() -> None:
    report = run("scaling", peers=False, only="more steps")
    medians = {2: 1.0, 4: 3.0}
    cases = [with_medians(case, unrolled=medians[case.shape.steps]) for case in report.cases]
    rows = list(columns(replace(report, cases=tuple(cases)), "more steps"))
    assert [row["of linear"] for row in rows] == ["1.00", "1.50"] * 4  # two modes, two batches


def test_busy_figures() -> None:
    report = run("scaling", peers=False, only="busy machine")
    medians = {"": 1.0, "2x threads": 2.0, "neighbour": 5.0}
    cases = [with_medians(case, unrolled=medians[case.condition]) for case in report.cases]
    rows = list(columns(replace(report, cases=tuple(cases)), "busy machine"))
    assert len(rows) == len(bench.MODES)
    for row in rows:
        assert row["unrolled 2x threads"] == "2.00x"
        assert row["unrolled neighbour"] == "5.00x"


def test_text_is_shown_in_tokens_a_second() -> None:
    report = run("streaming", peers=False, only="text")
    cases = (with_medians(report.cases[0], unrolled=1e-3, torch=2e-3),)
    (row,) = columns(replace(report, cases=cases), "text")
    assert row["tokens/s unrolled"] == "1,000"
    assert row["tokens/s torch"] == "500"
