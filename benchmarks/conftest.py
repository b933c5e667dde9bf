"""Options and fixtures of the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from unrolled import bench, functional


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--threads",
        type=int,
        default=functional.get_num_threads(),
        help="threads of ours and of every peer",
    )


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    machine_info["unrolled"] = {
        "threads": config.getoption("--threads"),
        **asdict(bench.describe_machine()),
    }


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """How many threads to use; ours are set back afterwards."""
    before = functional.get_num_threads()
    wanted: int = request.config.getoption("--threads")
    functional.set_num_threads(wanted)
    yield wanted
    functional.set_num_threads(before)
