"""Tasks train on a CUDA device what they train on the host, and give back a model of the host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import tasks
from unrolled.tasks import adding, classification, translation

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree"
)


def flat(trained: Any) -> np.ndarray:
    values: np.ndarray = trained.model.flat.values
    assert type(values) is np.ndarray
    return values


def check(train: Callable[..., Any]) -> None:
    """A few updates: parameters are alike, and have moved from where they began."""
    begin, host, there = (
        flat(train(device=device, lr=lr))
        for device, lr in (("cpu", 1e-9), ("cpu", 1e-3), ("cuda", 1e-3))
    )
    moved = np.abs(host - begin)
    assert np.median(moved) > 1e-4
    # Adam's quotients do not see how large a gradient is: where it is small, so are they as errors.
    assert np.quantile(np.abs(there - host), 0.98) < 0.05 * np.median(moved)


def test_translation(emulated_device: Any, tmp_path: Path) -> None:
    source, target = tmp_path / "pairs.a", tmp_path / "pairs.b"
    words = [f"{a} {b} end" for a in ("one", "two", "three") for b in ("red", "green", "blue")]
    source.write_text("\n".join(words * 3))
    target.write_text("\n".join(" ".join(reversed(line.split())) for line in words * 3))

    def train(**options: Any) -> Any:
        sizes = {"hidden": 4, "embedding": 4, "batch": 4, "validations": 1, "steps": 3}
        return translation.train(
            source=source, target=target, tokens="word", quiet=True, **sizes, **options
        )

    check(train)


def test_classification(emulated_device: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["@problemName x", "@univariate true", "@classLabel true a b", "@data"]
    for row in range(20):
        values = rng.standard_normal(8) + 2 * (row % 2)
        lines.append(",".join(f"{value:.3f}" for value in values) + ":" + "ab"[row % 2])
    path = tmp_path / "series.ts"
    path.write_text("\n".join(lines) + "\n")

    def train(**options: Any) -> Any:
        sizes = {"hidden": 4, "conv": 4, "batch": 6, "validations": 1, "steps": 3}
        return classification.train(path, quiet=True, **sizes, **options)

    check(train)


def test_adding(emulated_device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.tasks._memory._HELD_OUT_PARTS", 1)
    monkeypatch.setattr("unrolled.tasks._memory._PART", 3)

    def train(**options: Any) -> Any:
        sizes = {"hidden": 4, "length": 5, "batch": 4, "validations": 1, "steps": 3}
        return tasks.train(adding.Adding, quiet=True, **sizes, **options)

    check(train)


def test_all_tasks_have_the_option() -> None:
    for name, task in tasks.tasks().items():
        assert "device" in tasks.option_types(task), name
