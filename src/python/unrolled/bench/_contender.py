"""What every contender of a measurement is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from ._problem import Outputs, Problem


class UnavailableError(Exception):
    """A library is there and cannot take part in this process; the text says why."""


class Contender(ABC):
    """One problem, ready to be run by one library.

    Args:
        problem: the arrays.
        threads: how many threads the library may use.

    Raises:
        ImportError: the library is not installed.
        UnavailableError: the library cannot take part in this process.
        NotImplementedError: the library cannot do this problem.
    """

    name: ClassVar[str]

    @abstractmethod
    def __init__(self, problem: Problem, threads: int) -> None: ...

    @abstractmethod
    def run(self) -> object:
        """The call that is timed; returns when the results are there."""

    @abstractmethod
    def outputs(self) -> Outputs:
        """The arrays of one call, by name."""
