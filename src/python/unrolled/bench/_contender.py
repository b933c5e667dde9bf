"""What every contender of a measurement is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from ._problem import Outputs, Problem

ProblemT = TypeVar("ProblemT", bound=Problem)


class UnavailableError(Exception):
    """A library is there and cannot take part in this process; the text says why."""


class Contender(ABC, Generic[ProblemT]):
    """One problem, ready to be run by one library in one way.

    Args:
        problem: what to do, with its arrays.
        threads: how many threads the library may use.

    Raises:
        ImportError: the library is not installed.
        UnavailableError: the library cannot take part in this process.
        NotImplementedError: the library cannot do this problem.
    """

    name: ClassVar[str]
    """The library's name, and after a blank the way of doing it where there are several."""

    @abstractmethod
    def __init__(self, problem: ProblemT, threads: int) -> None: ...

    @abstractmethod
    def run(self) -> object:
        """The call that is timed; returns when the results are there."""

    @abstractmethod
    def outputs(self) -> Outputs:
        """The arrays of one call that begins anew, by name."""
