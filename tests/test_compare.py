"""`unrolled compare`: the same task with several cells, in one table and two pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from text_models import TEXT
from unrolled import tasks
from unrolled.cli import main
from unrolled.tasks.adding import Adding
from unrolled.tasks.language_model import LanguageModelling
from unrolled.training import History, Metric, Point, plot_comparison

for module in ("safetensors", "matplotlib", "typer"):
    pytest.importorskip(module, reason=f"{module} comes with the extra [train]")

SMALL = {"length": 10, "hidden": 8, "batch": 4, "steps": 6, "validations": 3}


def test_every_cell_has_the_same_budget_and_a_result(tmp_path: Path) -> None:
    comparison = tasks.compare(Adding, ["gru", "rnn"], tmp_path / "new" / "folder", **SMALL)
    folder = tmp_path / "new" / "folder"
    assert {path.name for path in folder.iterdir()} == {
        *("gru.safetensors", "gru.png", "rnn.safetensors", "rnn.png"),
        *("comparison.png", "gradient_flow.png"),
    }
    for picture in folder.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert comparison.baseline == pytest.approx(1 / 6)
    assert [result.cell for result in comparison.results] == ["gru", "rnn"]
    for result in comparison.results:
        task, trained = tasks.load(folder / f"{result.cell}.safetensors", Adding)
        task.load()
        assert trained.options.cell == result.cell
        assert result.parameters == trained.model.num_parameters
        assert result.best_loss == task.validate(trained.model)
        assert (result.steps, [p.step for p in result.history.validation]) == (6, [2, 4, 6])
        assert result.flow is not None
        before, after = (flow["h"] for flow in result.flow)
        assert before.shape == after.shape == (1, 11)
        assert np.any(before != after)
        np.testing.assert_array_equal(after, task.gradient_flow(trained.model)["h"])


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            ["compare", "adding", "--cells", "rnn, lstm", "--output", str(tmp_path)]
            + [str(word) for name, value in SMALL.items() for word in (f"--{name}", value)]
        )
    assert not ended.value.code
    *_, heading, baseline, rnn, lstm, pictures = capsys.readouterr().out.splitlines()
    assert heading.split() == ["cell", "parameters", "updates", "time", "score"]
    assert baseline.split() == ["no", "memory", "0.167", "mean", "squared", "error"]
    assert rnn.split()[:3] == ["rnn", "105", "6"]  # 8 * (2 + 8 + 1 + 1) + 8 + 1
    assert lstm.split()[:3] == ["lstm", "393", "6"]
    assert lstm.endswith("% of sums within 0.04, held out")
    assert str(tmp_path) in pictures


def test_a_task_without_baseline_and_flow(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT * 4)
    folder = tmp_path / "lm"
    comparison = tasks.compare(
        LanguageModelling, ["lstm", "gru"], folder, sources=text, hidden=8, embedding=4, batch=2,
        steps_per_update=8, steps=4, validations=2,
    )  # fmt: skip
    assert comparison.baseline is None
    assert len(comparison.lines()) == 3
    assert (folder / "comparison.png").exists()
    assert not (folder / "gradient_flow.png").exists()


def test_bad_input(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    with pytest.raises(ValueError, match=r"expected cell to be one of .*, got 'lst'"):
        tasks.compare(Adding, ["gru", "lst"], folder, **SMALL)
    with pytest.raises(ValueError, match="expected different cells, got gru, gru"):
        tasks.compare(Adding, ["gru", "gru"], folder)
    with pytest.raises(ValueError, match="expected different cells, got none"):
        tasks.compare(Adding, [], folder)
    with pytest.raises(ValueError, match="there is no option 'stepz'"):
        tasks.compare(Adding, ["gru"], folder, stepz=3)
    assert not folder.exists(), "nothing is trained before all is checked"


def test_picture_of_runs(tmp_path: Path) -> None:
    history = History(validation=[Point(1, 0.1, 0.5), Point(2, 0.2, 0.1)])
    path = tmp_path / "runs.png"
    metric = Metric("error", "error", "rows", lambda loss: loss)
    plot_comparison(path, {"one": history, "other": History()}, metric, baseline=0.2)
    assert path.read_bytes().startswith(b"\x89PNG")
