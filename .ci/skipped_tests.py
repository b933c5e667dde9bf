"""A plugin for pytest: writes the ids of what was skipped, files or tests, to $SKIPPED_TESTS.

SKIPPED_TESTS=ids PYTHONPATH=.ci pytest -p skipped_tests && pytest @ids

With pytest-xdist (`-n auto`) the process that starts the others hears of all tests.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ids: dict[str, None] = {}


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _ids[report.nodeid] = None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        _ids[report.nodeid] = None


def pytest_sessionfinish() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    Path(os.environ["SKIPPED_TESTS"]).write_text("".join(f"{name}\n" for name in _ids))
