"""The benchmark tool measures the right work and writes what it measured; no time is asserted."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from unrolled import bench, functional

SHAPE = bench.Shape(steps=3, batch=2, inputs=5, hidden=7)

pytestmark = pytest.mark.usefixtures("one_roofline")


@pytest.fixture(scope="module")
def report(one_roofline: None) -> bench.Report:
    return bench.run("tiny", threads=1, peers=False, seconds=0.001)


def with_peers(case: bench.Case, **times: float) -> bench.Case:
    """The case with peers that take so many times as long as we do."""
    peers = {
        name: dataclasses.replace(case.timings["unrolled"], median=ratio * case.ours)
        for name, ratio in times.items()
    }
    return dataclasses.replace(case, timings={**case.timings, **peers})


def test_a_run_measures_every_cell_and_mode(report: bench.Report) -> None:
    suite = bench.SUITES["tiny"]
    assert [(c.mode, c.cell, c.shape) for c in report.cases] == [
        (m, c, SHAPE) for m in bench.MODES for c in suite.cells
    ]
    for case in report.cases:
        assert list(case.timings) == ["unrolled"]
        assert 0.0 < case.timings["unrolled"].best <= case.ours
        assert case.errors["unrolled"] < 1.0
        assert case.roofline_seconds > 0.0
        assert case.speedup is None


def test_a_report_survives_json(report: bench.Report) -> None:
    assert bench.Report.from_json(report.json()) == report


def test_a_report_of_another_schema_is_refused(report: bench.Report) -> None:
    record = json.loads(report.json())
    record["schema"] = 0
    with pytest.raises(ValueError, match=r"\[bench\] expected a report of schema"):
        bench.Report.from_json(json.dumps(record))


def test_text_and_markdown_hold_every_case(report: bench.Report) -> None:
    for text in (report.text(), report.markdown()):
        assert text.count(str(SHAPE)) == len(report.cases)
        assert report.machine.cpu in text
        assert report.command in text
        assert "Geometric mean" in text


def test_a_peer_is_compared_by_its_median(report: bench.Report) -> None:
    case = with_peers(report.cases[0], a=9.0, b=3.0)
    other = with_peers(report.cases[0], a=1.0, b=12.0)
    assert case.best_peer == "b"
    assert case.speedup == pytest.approx(3.0)
    assert case.speedup_over("a") == pytest.approx(9.0)
    assert case.speedup_over("a", "b") == pytest.approx(3.0)
    assert case.speedup_over("c") is None
    text = dataclasses.replace(report, cases=(case, other)).text()
    assert "3.00x b" in text
    assert "3.00 times a, 6.00 times b" in text  # geometric means


def test_what_is_slower_than_a_peer_is_listed(report: bench.Report) -> None:
    none = dataclasses.replace(report, cases=(with_peers(report.cases[0], a=2.0),))
    assert none.tables()[-1].rows == ()
    cases = tuple(with_peers(report.cases[0], a=ratio) for ratio in (0.8, 2.0, 0.5))
    table = dataclasses.replace(report, cases=cases).tables()[-1]
    assert table.title.startswith("Slower")
    assert [row[-1] for row in table.rows] == ["0.50x a", "0.80x a"]
    assert all(str(SHAPE) in row[0] for row in table.rows)


def test_run_writes_files_and_keeps_other_sections(tmp_path: Path) -> None:
    markdown, record = tmp_path / "results.md", tmp_path / "results.json"
    bench.write_section(markdown, "another", "Kept.")
    told: list[tuple[int, int, str]] = []
    for _ in range(2):
        report = bench.run(
            "tiny",
            threads=1,
            cells=["rnn_tanh"],
            peers=False,
            seconds=0.001,
            json=record,
            markdown=markdown,
            progress=lambda *what: told.append(what),
        )
    text = markdown.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert text.count("Kept.") == 1
    assert text.count("<!-- begin tiny, 1 threads -->") == 1
    assert bench.Report.from_json(record.read_text(encoding="utf-8")) == report
    assert [done for done, _, _ in told] == [0, 1, 0, 1]
    assert "--cells rnn_tanh" in report.command


def test_a_picture_is_drawn(report: bench.Report, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="a picture needs the extra [train]")
    report.draw(tmp_path / "chart.png")
    report.draw_roofline(tmp_path / "roofline.png")
    for name in ("chart.png", "roofline.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_unknown_names_and_thread_counts_are_refused() -> None:
    before = functional.get_num_threads()
    with pytest.raises(ValueError, match=r"expected a suite among .*; got 'none'"):
        bench.run("none")
    with pytest.raises(ValueError, match="nope"):
        bench.run("tiny", cells=["nope"])
    with pytest.raises(ValueError, match="threads"):
        bench.run("tiny", threads=0)
    with pytest.raises(ValueError, match=r"no case of tiny with 'H9999'"):
        bench.run("tiny", only="H9999")
    assert functional.get_num_threads() == before


@pytest.mark.parametrize("mode", bench.MODES)
def test_a_wrong_result_is_caught(narrow_cell: str, mode: str) -> None:
    problem = bench.LayerProblem.random(narrow_cell, mode, SHAPE)
    ours = bench.Ours(problem, threads=1)
    bench.check(problem, {"ours": ours.outputs})
    wrong = dict(ours.outputs())
    key = list(wrong)[-1]
    wrong[key] = 2 * wrong[key]
    with pytest.raises(ArithmeticError, match=f"broken differs from unrolled.reference: .*{key}"):
        bench.check(problem, {"ours": ours.outputs, "broken": lambda: wrong})


@pytest.mark.parametrize("mode", bench.MODES)
@pytest.mark.parametrize("peer", bench.PEERS, ids=lambda peer: peer.name)
def test_peers_do_the_same_work(peer: type[bench.Contender], narrow_cell: str, mode: str) -> None:
    problem = bench.LayerProblem.random(narrow_cell, mode, SHAPE)
    try:
        contender = peer(problem, functional.get_num_threads())
    except (ImportError, NotImplementedError, bench.UnavailableError) as reason:
        pytest.skip(str(reason))
    bench.check(problem, {contender.name: contender.outputs})


def test_the_roofline_is_the_slower_of_compute_and_memory() -> None:
    levels = bench.Level("L1", 1000, 1e9), bench.Level("memory", None, 1e6)
    roofline = bench.Roofline(1, 1e9, levels)
    # G = 4, I = 5, H = 7: 2 * 3*2 * 28 * 12 operations; 4*7*7 floats a step, 4*7*5 floats once.
    forward = bench.layer_work(4, SHAPE)
    training = bench.layer_work(4, SHAPE, training=True)
    assert forward.operations == 2 * 6 * 28 * 12
    assert training.operations == 3 * 2 * 6 * 28 * 12
    assert forward.weight_bytes == 3 * 784 + 560
    # The recurrent weights (784 bytes) fit into L1, both matrices (1344 bytes) do not.
    assert roofline.memory_seconds(forward) == pytest.approx(3 * 784 / 1e9 + 560 / 1e6)
    assert roofline.seconds(training) == pytest.approx(
        max(12096 / 1e9, 2 * (3 * 784 / 1e9 + 560 / 1e6))
    )


def test_turns_measure_every_function() -> None:
    calls = {"a": 0, "b": 0}

    def count(name: str) -> None:
        calls[name] += 1

    timings = bench.measure({n: lambda n=n: count(n) for n in calls}, seconds=0.001, min_rounds=2)
    assert list(timings) == ["a", "b"]
    tenth = timings["a"].per(10)
    assert tenth.median == timings["a"].median / 10
    assert tenth.spread == pytest.approx(timings["a"].spread)
    for name, timing in timings.items():
        assert timing.samples >= 2
        assert timing.best <= timing.low <= timing.median <= timing.high
        assert calls[name] > timing.samples


def test_times_are_those_of_the_clock() -> None:
    """Each call takes a second of a clock that nothing else moves."""
    now = 0.0

    def work() -> None:
        nonlocal now
        now += 1

    timing = bench.measure({"work": work}, seconds=8, clock=lambda: now)["work"]
    assert (timing.low, timing.median, timing.high) == (1, 1, 1)
    assert timing.samples == now - 2  # those that estimate


def test_the_machine_is_described_without_the_peers() -> None:
    machine = bench.describe_machine()
    assert machine.isa == functional.isa()
    assert machine.versions["numpy"] == np.__version__
    assert machine.cpus >= 1
    assert ("torch" in machine.versions) == (importlib.util.find_spec("torch") is not None)
    assert all(value for _, value in machine.lines())
