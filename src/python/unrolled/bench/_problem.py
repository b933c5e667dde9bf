"""What the contenders of a case have to do, and the test of what they made of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ._roofline import Work

Array = npt.NDArray[np.float32]
Values = npt.NDArray[Any]
Outputs = Mapping[str, Values]

FORWARD = "forward"
TRAINING = "forward+backward"
STEP = "step"
TEXT = "text"

OURS = "unrolled"

MODES = (FORWARD, TRAINING)
"""What is done with whole sequences."""


class Problem(ABC):
    """The data that every contender of a case gets."""

    @property
    @abstractmethod
    def work(self) -> Work:
        """The work of one unit."""

    @property
    def units(self) -> int:
        """How many units (steps, tokens) one call of a contender does; times are those of one."""
        return 1

    @abstractmethod
    def truth(self, *, alone: bool) -> Outputs | None:
        """What the outputs have to be; None where finding out would take too long.

        Args:
            alone: no peer takes part, whose outputs could decide.
        """

    @abstractmethod
    def error(self, key: str, actual: Values, expected: Values) -> float:
        """The largest difference of an output as a part of what rounding explains."""


def library(contender: str) -> str:
    """The library behind the name of a contender, as "torch" behind "torch packed"."""
    return contender.partition(" ")[0]


def check(problem: Problem, outputs: Mapping[str, Callable[[], Outputs]]) -> dict[str, float]:
    """Compares all contenders with one truth, so that they provably did the same work.

    The truth is that of the problem or, where it has none, the first peer, or else ours.

    Args:
        outputs: for each contender the function that gives its arrays; ours comes first.

    Returns:
        The largest error of each contender, as a part of what is allowed.

    Raises:
        ArithmeticError: an output has another shape, or differs by more than rounding explains.
    """
    produced = {name: function() for name, function in outputs.items()}
    first = next(iter(produced))
    peers = [name for name in produced if library(name) != library(first)]
    truth_name, truth = "unrolled.reference", problem.truth(alone=not peers)
    if truth is None:
        truth_name = [*peers, first][0]
        truth = produced[truth_name]
    worst = {}
    for name, arrays in produced.items():
        worst[name] = 0.0
        for key, expected in truth.items():
            actual = arrays[key]
            if actual.shape != expected.shape:
                raise ArithmeticError(
                    f"[bench] {name}: {key} has shape {actual.shape}, not {expected.shape}"
                )
            error = problem.error(key, actual, expected)
            if not error <= 1.0:
                raise ArithmeticError(
                    f"[bench] {name} differs from {truth_name}: {problem}: "
                    f"{key} by {error:.2g} times what rounding explains"
                )
            worst[name] = max(worst[name], error)
    return worst
